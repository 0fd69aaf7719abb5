//! The cloud's own firewall in front of a server, such as EC2's security groups.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::iptables::{Firewall, Ports, Source};

/// What the cloud lets through to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudFirewall {
    /// Its name in messages: ``security group `web` ``. Several are separated by commas.
    pub name: String,
    /// The rules. A rule for all addresses of IPv4 counts as one for everywhere.
    pub rules: Firewall,
    /// The ports that are open to something that has no address of its own, such as another group.
    pub open_to_groups: BTreeSet<Ports>,
    /// The rules that are there for this server alone, if hitc changes them with what it publishes.
    pub managed: Option<Firewall>,
}

/// All addresses of IPv4.
pub const ALL_V4: &str = "0.0.0.0/0";
/// All addresses of IPv6.
pub const ALL_V6: &str = "::/0";

impl CloudFirewall {
    /// Adds a rule of the cloud for TCP (`tcp`), UDP (`udp`) or every protocol (`*`). Rules without ports,
    /// such as those for ICMP, and sources that are no networks are left out.
    pub fn add<'a>(
        &mut self,
        protocol: &str,
        first: u16,
        last: u16,
        sources: impl IntoIterator<Item = &'a str>,
    ) {
        let ports = ports(protocol, first, last);
        for source in sources {
            let source = match source {
                ALL_V4 => Some(Source::Everywhere),
                other => other.parse().ok(),
            };
            for ports in &ports {
                if let Some(source) = source {
                    self.rules.add(*ports, source);
                }
            }
        }
    }

    /// Adds a rule whose source is a group.
    pub fn add_group(&mut self, protocol: &str, first: u16, last: u16) {
        self.open_to_groups.extend(ports(protocol, first, last));
    }

    /// Adds another firewall in front of the same server: what either admits gets through.
    pub fn join(&mut self, other: &CloudFirewall) {
        let both = [&self.name, &other.name].into_iter();
        let named: Vec<&str> = both
            .map(String::as_str)
            .filter(|name| !name.is_empty())
            .collect();
        self.name = named.join(", ");
        self.rules = self.rules.and(&other.rules);
        self.open_to_groups.extend(&other.open_to_groups);
    }

    /// The rules of a server's own firewall whose packets do not reach it.
    pub fn missing(&self, wanted: &Firewall) -> Firewall {
        let mut missing = Firewall::default();
        for (ports, source) in wanted.rules() {
            let mut rules = self.rules.rules();
            let is_open = rules.any(|(open, from)| open.includes(ports) && from.includes(&source));
            let by_group =
                is_private(&source) && self.open_to_groups.iter().any(|open| open.includes(ports));
            if !is_open && !by_group {
                missing.add(ports, source);
            }
        }
        missing
    }
}

/// Whether only servers of the same cloud have these addresses.
fn is_private(source: &Source) -> bool {
    match source {
        Source::Network(IpNet::V4(network)) => network.addr().is_private(),
        Source::Network(IpNet::V6(network)) => network.addr().is_unique_local(),
        Source::Everywhere => false,
    }
}

fn ports(protocol: &str, first: u16, last: u16) -> Vec<Ports> {
    let text = match (first, last) {
        (0 | 1, u16::MAX) => format!("*/{protocol}"),
        _ => format!("{}-{last}/{protocol}", first.max(1)),
    };
    Ports::parse(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_reach_the_server() {
        let mut cloud = CloudFirewall::default();
        cloud.add("tcp", 22, 22, [ALL_V4, ALL_V6]);
        cloud.add("tcp", 8000, 8100, ["10.0.0.0/8"]);
        cloud.add("udp", 0, 65535, ["192.0.2.1/32", "pl-1"]);
        cloud.add("icmp", 8, 8, [ALL_V4]);
        cloud.add_group("*", 0, 65535);
        let lines = "22/tcp *\n80/tcp *\n80/tcp 10.0.0.1\n8000-8050/tcp 10.1.0.0/16\n8000/tcp *\n\
                     53/udp 192.0.2.1\n53/udp *\n443/tcp 192.0.2.1\n";
        let wanted = Firewall::from_lines(lines).unwrap();
        let missing = cloud.missing(&wanted);
        assert_eq!(
            missing.to_lines(),
            "53/udp *\n80/tcp *\n443/tcp 192.0.2.1\n8000/tcp *\n"
        );
    }
}
