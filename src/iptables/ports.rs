//! The ports of a firewall rule: `22`, `53/udp`, `8000-8100/tcp`, `*/*`.

use std::{fmt, str::FromStr};

/// The number of a port.
type Number = u16;

/// The protocol of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Every protocol, with and without ports.
    Any,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Any => "*",
        })
    }
}

/// A range of ports of one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// The first port.
    first: Number,
    /// The last port.
    last: Number,
    protocol: Protocol,
}

impl Ports {
    /// One port of TCP.
    pub fn tcp(port: Number) -> Self {
        Ports {
            first: port,
            last: port,
            protocol: Protocol::Tcp,
        }
    }

    /// Parses `PORT[/PROTOCOL]`, where PORT is a number, a range or `*`, and PROTOCOL is `tcp`, `udp` or
    /// `*`, and by default `tcp`. A port of `*` is one of TCP and one of UDP.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocols: &[Protocol] = match (protocol, ports) {
            ("tcp", _) => &[Protocol::Tcp],
            ("udp", _) => &[Protocol::Udp],
            ("*", "*") => &[Protocol::Any],
            ("*", _) => &[Protocol::Tcp, Protocol::Udp],
            _ => {
                return Err(format!(
                    "invalid protocol `{protocol}`: write tcp, udp or *"
                ));
            }
        };
        let (first, last) = match ports.split_once('-') {
            _ if ports == "*" => (1, Number::MAX),
            Some((first, last)) => (number(first)?, number(last)?),
            None => {
                let port = number(ports)?;
                (port, port)
            }
        };
        if first > last {
            return Err(format!("invalid range `{ports}`: {first} is after {last}"));
        }
        let of = |protocol: &Protocol| Ports {
            first,
            last,
            protocol: *protocol,
        };
        Ok(protocols.iter().map(of).collect())
    }

    /// The protocol.
    pub fn protocol(self) -> Protocol {
        self.protocol
    }

    /// The first and the last port; none if they are all ports of the protocol.
    pub fn range(self) -> Option<(Number, Number)> {
        let is_all = self.first <= 1 && self.last == Number::MAX;
        (!is_all).then_some((self.first, self.last))
    }

    /// Whether a port is one of them. `protocol` is TCP or UDP, or for any other protocol `Any`.
    pub fn contains(self, protocol: Protocol, port: Number) -> bool {
        match self.protocol {
            Protocol::Any => true,
            own => own == protocol && (self.range().is_none() || self.names(port)),
        }
    }

    /// Whether it includes all of these ports.
    pub fn includes(self, other: Ports) -> bool {
        let (first, last) = self.range().unwrap_or((0, Number::MAX));
        self.protocol == Protocol::Any
            || self.protocol == other.protocol && first <= other.first && other.last <= last
    }

    /// Whether it is a range, or a single port, that a port is in; not all ports.
    pub fn names(self, port: Number) -> bool {
        self.range()
            .is_some_and(|(first, last)| (first..=last).contains(&port))
    }
}

fn number(text: &str) -> Result<Number, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if is_number && number > 0 => Ok(number),
        _ => Err(format!("invalid port `{text}`: ports are from 1 to 65535")),
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.range() {
            None => f.write_str("*")?,
            Some((first, last)) if first == last => write!(f, "{first}")?,
            Some((first, last)) => write!(f, "{first}-{last}")?,
        }
        write!(f, "/{}", self.protocol)
    }
}

impl FromStr for Ports {
    type Err = String;

    /// Parses the form that `Display` writes.
    fn from_str(text: &str) -> Result<Self, String> {
        match Ports::parse(text)?.as_slice() {
            [one] => Ok(*one),
            _ => Err(format!("`{text}` means two protocols")),
        }
    }
}
