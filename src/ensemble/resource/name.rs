//! The names of resources: `web` for a server, `web.shop` for a container on it, `web (firewall)`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A server, its firewall, or a container of a manifest, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "Parts", from = "Parts")]
pub enum ResourceName {
    /// A server.
    Server(String),
    /// The firewall of a server.
    Firewall(String),
    /// A container: the names of its server and its own.
    Container(String, String),
}

/// A name as it is written in JSON.
#[derive(Serialize, Deserialize)]
struct Parts {
    server: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    firewall: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    container: Option<String>,
}

impl From<ResourceName> for Parts {
    fn from(name: ResourceName) -> Self {
        let firewall = matches!(name, ResourceName::Firewall(_));
        let (server, container) = match name {
            ResourceName::Server(server) | ResourceName::Firewall(server) => (server, None),
            ResourceName::Container(server, container) => (server, Some(container)),
        };
        Parts {
            server,
            firewall,
            container,
        }
    }
}

impl From<Parts> for ResourceName {
    fn from(parts: Parts) -> Self {
        match parts.container {
            Some(container) => ResourceName::Container(parts.server, container),
            None if parts.firewall => ResourceName::Firewall(parts.server),
            None => ResourceName::Server(parts.server),
        }
    }
}

impl ResourceName {
    /// The name of the server that it is, or is on.
    pub fn server(&self) -> &str {
        match self {
            ResourceName::Server(server)
            | ResourceName::Firewall(server)
            | ResourceName::Container(server, _) => server,
        }
    }

    /// Whether it is a server.
    pub fn is_server(&self) -> bool {
        matches!(self, ResourceName::Server(_))
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResourceName::Server(server) => f.write_str(server),
            ResourceName::Firewall(server) => write!(f, "{server} (firewall)"),
            ResourceName::Container(server, container) => write!(f, "{server}.{container}"),
        }
    }
}
