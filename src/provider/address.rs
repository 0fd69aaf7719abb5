//! The address of a server.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

/// Where a server is reached. Clouds give IP addresses; the user may list unmanaged servers by host
/// name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Address {
    /// An IP address.
    Ip(IpAddr),
    /// A host name, to be resolved when it is dialled.
    Name(String),
}

impl Address {
    /// The IP address, unless it is a host name.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Address::Ip(ip) => Some(*ip),
            Address::Name(_) => None,
        }
    }

    /// Reads an address that a cloud gave. None if it is not an IP address: clouds write an empty
    /// text for none, and nothing else of theirs is dialled.
    pub fn parse_ip(text: &str) -> Option<Self> {
        text.parse().ok().map(Address::Ip)
    }

    /// Takes a host name or an IP address whose characters were checked.
    pub fn of_host(host: &str) -> Self {
        Address::parse_ip(host).unwrap_or_else(|| Address::Name(host.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(ip) => ip.fmt(f),
            Address::Name(name) => f.write_str(name),
        }
    }
}
