//! Where packets may come from: an address, a network, or everywhere.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The source of a rule. Canonical: `10.1.2.3/8` is `10.0.0.0/8`, and an address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Everywhere, over IPv4 and IPv6.
    Everywhere,
    /// A network.
    Network(IpNet),
}

impl Source {
    /// Whether packets of an address come from it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Source::Everywhere => true,
            Source::Network(network) => network.contains(&address.to_canonical()),
        }
    }

    /// Whether it includes all of another source.
    pub fn includes(&self, other: &Source) -> bool {
        match (self, other) {
            (Source::Everywhere, _) => true,
            (Source::Network(own), Source::Network(other)) => own.contains(other),
            (Source::Network(_), Source::Everywhere) => false,
        }
    }
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Source::Network(address.to_canonical().into())
    }
}

impl FromStr for Source {
    type Err = String;

    /// Parses `*`, an address, or a network as `ADDRESS/LENGTH`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Source::Everywhere);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        let network: IpNet = text
            .parse()
            .map_err(|_| format!("invalid source `{text}`"))?;
        // An IPv4 network in the form of an IPv6 one: `::ffff:10.0.0.0/104`.
        let canonical = match (network.addr().to_canonical(), network.prefix_len()) {
            (IpAddr::V4(address), length @ 96..) if network.addr().is_ipv6() => {
                Ipv4Net::new(address, length - 96).map(IpNet::V4)
            }
            _ => Ok(network),
        };
        let network = canonical.unwrap_or(network).trunc();
        let all_v4 = IpNet::V4(Ipv4Net::default());
        let all_v6 = IpNet::V6(Ipv6Net::default());
        if network == all_v4 || network == all_v6 {
            let family = if network == all_v4 { "IPv4" } else { "IPv6" };
            return Err(format!(
                "`{text}` is every {family} address: write \"*\" for everywhere"
            ));
        }
        Ok(Source::Network(network))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Everywhere => f.write_str("*"),
            Source::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                write!(f, "{}", network.addr())
            }
            Source::Network(network) => write!(f, "{network}"),
        }
    }
}
