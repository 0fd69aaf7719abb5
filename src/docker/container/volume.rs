//! Volumes and folders of the server that a container mounts.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A mount: `HOST:CONTAINER[:ro]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Volume {
    /// A path on the server, or the name of a volume.
    pub host: String,
    /// The path inside the container.
    pub container: String,
    /// Whether the container can only read it.
    pub read_only: bool,
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.container)?;
        if self.read_only {
            f.write_str(":ro")?;
        }
        Ok(())
    }
}

impl FromStr for Volume {
    type Err = String;

    /// Reads a mount as the engine writes it. Options other than `ro` are ignored.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        match (parts.next(), parts.next()) {
            (Some(host), Some(container)) => Ok(Volume {
                host: host.to_owned(),
                container: container.to_owned(),
                read_only: parts.next() == Some("ro"),
            }),
            _ => Err(format!("invalid volume `{text}`")),
        }
    }
}

impl Serialize for Volume {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Volume {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
