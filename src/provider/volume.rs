//! Volumes: disks that outlive the servers that they are attached to.

use serde::{Deserialize, Serialize};

use super::{Error, Node, node::is_listed_name, tag};
use crate::core::{
    owner::{Owner, Ownership},
    text::escape_controls,
};

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The provider's name.
    pub provider: String,
    /// The provider's identifier.
    pub id: String,
    /// The volume's name, without the prefix.
    pub name: String,
    /// The size in GiB.
    pub size: u32,
    /// Where it is, in the words of [`Node::region`]: only servers there can have it.
    pub region: String,
    /// The id of the server that it is attached to.
    pub server: Option<String>,
    /// The project that it belongs to.
    pub owner: Ownership,
    /// The paths of the device on the server. The kernel shows one of them.
    pub devices: Vec<String>,
}

/// A volume to be created.
#[derive(Clone, Debug)]
pub struct CreateVolume {
    /// The name, without the prefix.
    pub name: String,
    /// The size in GiB.
    pub size: u32,
    /// A server: the volume is created where it can be attached to it, and of a kind that fits.
    pub node: Node,
    /// The owner. The creating call itself tags the volume with it.
    pub owner: Owner,
}

impl Volume {
    /// Takes a volume as a cloud describes it, as [`Node::of_cloud`] does: names and ids are parts of
    /// paths and of command lines.
    #[must_use]
    pub fn of_cloud(self) -> Volume {
        let id = if is_listed_name(&self.id) {
            self.id
        } else {
            tag::encode(&self.id)
        };
        let is_device = |path: &String| {
            path.strip_prefix("/dev/").is_some_and(|rest| {
                let is_inner = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
                rest.chars().all(is_inner) && !rest.split('/').any(|part| part == "..")
            })
        };
        Volume {
            name: if is_listed_name(&self.name) {
                self.name
            } else {
                id.clone()
            },
            region: escape_controls(&self.region).into_owned(),
            devices: self.devices.into_iter().filter(is_device).collect(),
            id,
            ..self
        }
    }

    /// Whether it belongs to this project.
    pub fn is_of_project(&self, project: Option<&str>) -> bool {
        project.is_some_and(|project| self.owner.is_of_project(project))
    }

    /// The error of a volume that does not exist any more.
    pub fn gone(&self) -> Error {
        Error::Failed {
            provider: self.provider.clone(),
            what: format!("volume `{}`", self.name),
            cause: "it was deleted".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_devices_of_clouds_are_parts_of_paths() {
        let volume = |name: &str, device: &str| {
            let volume = Volume {
                provider: "cloud".to_owned(),
                id: "v-1".to_owned(),
                name: name.to_owned(),
                size: 1,
                region: String::new(),
                server: None,
                owner: Ownership::Foreign,
                devices: vec![device.to_owned()],
            };
            volume.of_cloud()
        };
        let good = volume("data", "/dev/disk/by-id/scsi-0HC_Volume_1");
        assert_eq!((good.name.as_str(), good.devices.len()), ("data", 1));
        for device in ["/etc/passwd", "/dev/../etc/passwd", "/dev/a b", "/dev/a;b"] {
            let bad = volume("da/ta\n", device);
            assert_eq!((bad.name.as_str(), bad.devices.len()), ("v-1", 0));
        }
    }
}
