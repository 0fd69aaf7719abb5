//! The names of resources: `web` for a server, `web.shop` for a container on it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A server or a container of a manifest, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "Parts", from = "Parts")]
pub enum ResourceName {
    /// A server.
    Server(String),
    /// A container: the names of its server and its own.
    Container(String, String),
}

/// A name as it is written in JSON.
#[derive(Serialize, Deserialize)]
struct Parts {
    server: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    container: Option<String>,
}

impl From<ResourceName> for Parts {
    fn from(name: ResourceName) -> Self {
        let (server, container) = match name {
            ResourceName::Server(server) => (server, None),
            ResourceName::Container(server, container) => (server, Some(container)),
        };
        Parts { server, container }
    }
}

impl From<Parts> for ResourceName {
    fn from(Parts { server, container }: Parts) -> Self {
        match container {
            None => ResourceName::Server(server),
            Some(container) => ResourceName::Container(server, container),
        }
    }
}

impl ResourceName {
    /// The name of the server that it is, or is on.
    pub fn server(&self) -> &str {
        match self {
            ResourceName::Server(server) | ResourceName::Container(server, _) => server,
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
            ResourceName::Container(server, container) => write!(f, "{server}.{container}"),
        }
    }
}
