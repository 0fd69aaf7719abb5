//! Published ports: `CONTAINER[:PUBLIC][/PROTO]`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A port of a container and the port of the server under which it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The port inside the container.
    pub container: u16,
    /// The port of the server.
    pub public: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

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
        let (container, public) = match ports.split_once(':') {
            Some((container, public)) => (number(container)?, number(public)?),
            None => (number(ports)?, number(ports)?),
        };
        Ok(Port {
            container,
            public,
            protocol,
        })
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
    /// The container's side as the engine writes it: `80/tcp`.
    pub(super) fn key(self) -> String {
        format!("{}/{}", self.container, self.protocol)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.container, self.public)?;
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
}
