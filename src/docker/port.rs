//! Published ports: `CONTAINER[:[ADDRESS:]PUBLIC][/PROTO]`.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::core::value::{Data, Value};

/// A port of a container and the port of the server under which it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The port inside the container.
    pub container: u16,
    /// The port of the server.
    pub public: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address of the server on which it is published; none for all addresses.
    pub address: Option<IpAddr>,
}

/// The address `internal` of a port: the server's internal address.
const INTERNAL: &str = "internal";
/// The address `localhost` of a port.
const LOCALHOST: &str = "localhost";

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, the default.
    Tcp,
    /// UDP.
    Udp,
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            _ => Err(format!("invalid protocol `{text}`; known are tcp and udp")),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.parse::<u16>() {
            Ok(0) | Err(_) => Err(format!("invalid port number `{text}`")),
            Ok(port) => Ok(port),
        };
        let (ports, protocol) = match text.split_once('/') {
            Some((ports, protocol)) => (ports, protocol.parse()?),
            None => (text, Protocol::Tcp),
        };
        let (container, address, public) = split(ports);
        let container = number(container)?;
        Ok(Port {
            container,
            public: public.map_or(Ok(container), number)?,
            protocol,
            address: address.map(parse_address).transpose()?,
        })
    }
}

/// Splits `CONTAINER[:[ADDRESS:]PUBLIC]`.
fn split(ports: &str) -> (&str, Option<&str>, Option<&str>) {
    match ports.split_once(':') {
        None => (ports, None, None),
        Some((container, rest)) => match rest.rsplit_once(':') {
            None => (container, None, Some(rest)),
            Some((address, public)) => (container, Some(address), Some(public)),
        },
    }
}

/// Parses an address: an IPv6 address is in brackets, an IPv4 address may be.
fn parse_address(text: &str) -> Result<IpAddr, String> {
    if text == LOCALHOST {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    match inner.unwrap_or(text).parse() {
        Ok(IpAddr::V6(_)) if inner.is_none() => {
            Err(format!("IPv6 address `{text}` without brackets"))
        }
        Ok(address) => Ok(address),
        Err(_) if inner == Some("") || text == INTERNAL => {
            Err("the server has no internal address".to_owned())
        }
        Err(_) => Err(format!("invalid address `{text}`")),
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Port {
    /// Replaces the address `internal` in the value of `ports` by another address, or by a variable
    /// for one.
    pub fn replace_internal(value: &mut Value, address: &str) {
        match &mut value.data {
            Data::Text(text) | Data::Argument(text) => {
                let ports = text.split(',').map(|port| {
                    let replaced = Port::with_internal(port, address);
                    replaced.map_or(Cow::Borrowed(port), Cow::Owned)
                });
                *text = ports.collect::<Vec<_>>().join(",");
            }
            Data::List(items) => {
                for item in items {
                    Port::replace_internal(item, address);
                }
            }
            _ => {}
        }
    }

    /// The text of a port with another address instead of `internal`; none if it has no such
    /// address.
    fn with_internal(text: &str, address: &str) -> Option<String> {
        let (ports, protocol) = match text.split_once('/') {
            Some((ports, protocol)) => (ports, format!("/{protocol}")),
            None => (text, String::new()),
        };
        match split(ports) {
            (container, Some(INTERNAL), Some(public)) => {
                Some(format!("{container}:[{address}]:{public}{protocol}"))
            }
            _ => None,
        }
    }

    /// Whether two ports cannot be published at the same time.
    pub fn conflicts_with(&self, other: &Port) -> bool {
        let is_all = |port: &Port| port.address.is_none_or(|address| address.is_unspecified());
        (self.public, self.protocol) == (other.public, other.protocol)
            && (self.address == other.address || is_all(self) || is_all(other))
    }

    /// Whether the port is published on addresses that other networks may reach: all addresses, or
    /// one that is not reserved for private use (RFC 1918, 4193, 6598) or for the host itself.
    pub fn is_public(&self) -> bool {
        match self.address {
            None => true,
            Some(IpAddr::V4(address)) => {
                let [first, second, ..] = address.octets();
                let is_shared = first == 100 && second & 0xc0 == 64;
                !(address.is_loopback()
                    || address.is_private()
                    || address.is_link_local()
                    || is_shared)
            }
            Some(IpAddr::V6(address)) => {
                !(address.is_loopback()
                    || address.is_unique_local()
                    || address.is_unicast_link_local())
            }
        }
    }

    /// The container's side as the engine writes it: `80/tcp`.
    pub(super) fn key(self) -> String {
        format!("{}/{}", self.container, self.protocol)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            None => write!(f, "{}:{}", self.container, self.public)?,
            Some(IpAddr::V4(address)) => {
                write!(f, "{}:{address}:{}", self.container, self.public)?;
            }
            Some(IpAddr::V6(address)) => {
                write!(f, "{}:[{address}]:{}", self.container, self.public)?;
            }
        }
        match self.protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => f.write_str("/udp"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms() {
        let text = |port: &str| port.parse::<Port>().map(|port| port.to_string());
        assert_eq!(text("80").unwrap(), "80:80");
        assert_eq!(text("3306:3366").unwrap(), "3306:3366");
        assert_eq!(text("1234/tcp").unwrap(), "1234:1234");
        assert_eq!(text("1234:2345/udp").unwrap(), "1234:2345/udp");
        assert_eq!(text("0").unwrap_err(), "invalid port number `0`");
        assert_eq!(text("x:1").unwrap_err(), "invalid port number `x`");
        assert_eq!(text("70000").unwrap_err(), "invalid port number `70000`");
        assert!(text("1/sctp").is_err());
    }

    #[test]
    fn addresses() {
        let text = |port: &str| port.parse::<Port>().map(|port| port.to_string());
        for (port, canonical) in [
            ("80:127.0.0.1:8080", "80:127.0.0.1:8080"),
            ("80:localhost:8080/udp", "80:127.0.0.1:8080/udp"),
            ("80:[10.0.0.1]:8080", "80:10.0.0.1:8080"),
            ("80:[fd00::1]:8080", "80:[fd00::1]:8080"),
            ("80:0.0.0.0:80", "80:0.0.0.0:80"),
        ] {
            assert_eq!(text(port).unwrap(), canonical);
            assert_eq!(text(canonical).unwrap(), canonical);
        }
        let error = |port| text(port).unwrap_err();
        assert_eq!(error("80:web:80"), "invalid address `web`");
        assert_eq!(
            error("80:fd00::1:80"),
            "IPv6 address `fd00::1` without brackets"
        );
        assert_eq!(error("80:10.0.0.1:"), "invalid port number ``");
        assert_eq!(error("80:[]:80"), "the server has no internal address");
        assert_eq!(
            error("80:internal:80"),
            "the server has no internal address"
        );
    }

    #[test]
    fn the_internal_address() {
        let with = |port| Port::with_internal(port, "fd00::1");
        assert_eq!(with("80:internal:81/udp").unwrap(), "80:[fd00::1]:81/udp");
        assert_eq!(with("80:internal"), None);
        assert_eq!(with("80:10.0.0.1:80"), None);
        assert_eq!(with("80:${host.internal_ip}:80"), None);
    }

    #[test]
    fn conflicts() {
        let conflict = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|port| port.parse::<Port>().unwrap());
            assert_eq!(one.conflicts_with(&other), other.conflicts_with(&one));
            one.conflicts_with(&other)
        };
        assert!(conflict("1:80", "2:80"));
        assert!(conflict("1:80", "2:10.0.0.1:80"));
        assert!(conflict("1:0.0.0.0:80", "2:10.0.0.1:80"));
        assert!(conflict("1:10.0.0.1:80", "2:10.0.0.1:80"));
        assert!(!conflict("1:10.0.0.2:80", "2:10.0.0.1:80"));
        assert!(!conflict("1:80", "2:80/udp"));
        assert!(!conflict("1:80", "1:81"));
    }

    #[test]
    fn ports_that_face_the_world() {
        let is_public = |port: &str| port.parse::<Port>().unwrap().is_public();
        for port in [
            "80",
            "80:0.0.0.0:80",
            "80:8.8.8.8:80",
            "80:[::]:80",
            "80:[2001:db8::1]:80",
        ] {
            assert!(is_public(port), "{port}");
        }
        for address in [
            "localhost",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
            "100.64.0.1",
        ] {
            assert!(!is_public(&format!("80:{address}:80")), "{address}");
        }
        for address in ["[::1]", "[fd00::1]", "[fe80::1]"] {
            assert!(!is_public(&format!("80:{address}:80")), "{address}");
        }
    }
}
