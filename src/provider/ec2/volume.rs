//! EBS volumes: create, find and attach.

use std::time::Duration;

use aws_sdk_ec2::types::{
    Instance, ResourceType, Tag, TagSpecification, Volume as EbsVolume, VolumeState, VolumeType,
};
use tokio::time::{Instant, sleep};

use super::{
    Ec2, NAME, TAG_KIND, TAG_NAME, TAG_PREFIX, TAG_PROJECT, by,
    client::{STATE_PAUSE, STATE_PAUSE_MOST, explain},
};
use crate::{
    core::owner::Owner,
    provider::{Error, Node},
};

/// The timeout until a volume is available or attached.
const TIMEOUT: Duration = Duration::from_mins(5);

/// The value of [`TAG_KIND`].
const KIND: &str = "disk";

/// The letters of device names for volumes
/// (<https://docs.aws.amazon.com/ebs/latest/userguide/ebs-attaching-volume.html>).
const LETTERS: std::ops::RangeInclusive<char> = 'f'..='p';

/// A volume.
#[derive(Clone, Debug)]
pub struct Volume {
    /// EC2's identifier.
    pub id: String,
    /// Its name, without the prefix.
    pub name: String,
    /// The id of the server that it is attached to.
    pub server: Option<String>,
    /// The device name at EC2. The kernel of the server may use another one.
    pub device: Option<String>,
}

impl Ec2 {
    /// Creates a volume of `size` GiB in a zone, or returns the owner's volume of that name. A
    /// volume of another owner with that name is an error.
    pub async fn create_volume(
        &self,
        name: &str,
        size: i32,
        zone: &str,
        owner: &Owner,
    ) -> Result<Volume, Error> {
        if let Some(volume) = self.find_volume(name, owner).await? {
            return Ok(volume);
        }
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let tags = TagSpecification::builder()
            .resource_type(ResourceType::Volume)
            .tags(tag(TAG_NAME, &format!("{}{name}", self.prefix)))
            .tags(tag(TAG_PREFIX, &self.prefix))
            .tags(tag(TAG_PROJECT, &owner.project))
            .tags(tag(TAG_KIND, KIND))
            .build();
        let made = self
            .client()
            .await?
            .create_volume()
            .availability_zone(zone)
            .size(size)
            .volume_type(VolumeType::Gp3)
            .encrypted(true)
            .tag_specifications(tags)
            .send()
            .await
            .map_err(|error| explain(&format!("creating volume `{name}`"), &error))?;
        let id = made.volume_id.unwrap_or_default();
        self.wait_for_volume(&id, "is available", |volume| {
            volume.state() != Some(&VolumeState::Creating)
        })
        .await?;
        // Another run may have created one at the same time: names are not unique.
        self.find_volume(name, owner).await?;
        Ok(Volume {
            id,
            name: name.to_owned(),
            server: None,
            device: None,
        })
    }

    /// Finds the owner's volume of this name. Fails if only volumes of other owners have the name,
    /// or if several of this owner have it.
    pub async fn find_volume(&self, name: &str, owner: &Owner) -> Result<Option<Volume>, Error> {
        let full = format!("{}{name}", self.prefix);
        let answer = self
            .client()
            .await?
            .describe_volumes()
            .filters(by("tag:Name", &full))
            .filters(by("tag:hitc:prefix", &self.prefix))
            .filters(by("tag:hitc:kind", KIND))
            .send()
            .await
            .map_err(|error| explain("finding the volume", &error))?;
        let gone = [Some(&VolumeState::Deleting), Some(&VolumeState::Deleted)];
        let existing = answer.volumes().iter();
        let existing = existing.filter(|volume| !gone.contains(&volume.state()));
        let (own, others): (Vec<_>, Vec<_>) =
            existing.partition(|volume| project(volume) == Some(owner.project.as_str()));
        let volume = match (own.as_slice(), others.first()) {
            ([], None) => return Ok(None),
            ([], Some(other)) => return Err(not_owned(name, other, owner)),
            ([volume], _) => volume,
            ([first, second, ..], _) => return Err(duplicate(name, first, second)),
        };
        Ok(Some(Volume {
            id: id_of(volume).to_owned(),
            name: name.to_owned(),
            server: holder(volume).map(str::to_owned),
            device: volume
                .attachments()
                .iter()
                .find_map(|attachment| attachment.device())
                .map(str::to_owned),
        }))
    }

    /// Attaches a volume to a server and waits until it is attached. Does nothing if it is attached
    /// already. Returns the device.
    pub async fn attach_volume(&self, volume: &Volume, node: &Node) -> Result<String, Error> {
        let fail = |cause: String| Error::Failed {
            provider: NAME.to_owned(),
            what: format!("attaching volume `{}` to `{}`", volume.name, node.name),
            cause,
        };
        match &volume.server {
            Some(server) if *server == node.id => {
                return Ok(volume.device.clone().unwrap_or_default());
            }
            Some(server) => return Err(fail(format!("it is attached to {server}"))),
            None => {}
        }
        let instances = self.instances(vec![by("instance-id", &node.id)]).await?;
        let used: Vec<&str> = instances
            .iter()
            .flat_map(Instance::block_device_mappings)
            .filter_map(|mapping| mapping.device_name())
            .collect();
        let device = LETTERS
            .map(|letter| format!("/dev/sd{letter}"))
            .find(|device| !used.contains(&device.as_str()))
            .ok_or_else(|| fail("all device names of the server are in use".to_owned()))?;
        let attached = self
            .client()
            .await?
            .attach_volume()
            .volume_id(&volume.id)
            .instance_id(&node.id)
            .device(&device)
            .send()
            .await;
        attached.map_err(|error| explain(&format!("attaching {}", volume.id), &error))?;
        self.wait_for_volume(&volume.id, "is attached", |found| {
            holder(found) == Some(node.id.as_str()) && found.state() == Some(&VolumeState::InUse)
        })
        .await?;
        Ok(device)
    }

    async fn wait_for_volume(
        &self,
        id: &str,
        what: &str,
        is_so: impl Fn(&EbsVolume) -> bool,
    ) -> Result<(), Error> {
        let (end, mut pause) = (Instant::now() + TIMEOUT, STATE_PAUSE);
        loop {
            let answer = self
                .client()
                .await?
                .describe_volumes()
                .volume_ids(id)
                .send()
                .await
                .map_err(|error| explain("reading the state of the volume", &error))?;
            if answer.volumes().iter().any(&is_so) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Error::Failed {
                    provider: NAME.to_owned(),
                    what: format!("waiting until {id} {what}"),
                    cause: format!("timed out after {} s", TIMEOUT.as_secs()),
                });
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(STATE_PAUSE_MOST);
        }
    }
}

fn id_of(volume: &EbsVolume) -> &str {
    volume.volume_id().unwrap_or_default()
}

/// The project that owns a volume, if its tags name one.
fn project(volume: &EbsVolume) -> Option<&str> {
    let mut tags = volume.tags().iter();
    let project = tags.find(|tag| tag.key() == Some(TAG_PROJECT))?.value()?;
    Some(project).filter(|project| !project.is_empty())
}

/// The error for a volume of another owner, or of a version of hitc that did not tag volumes with
/// their owners.
fn not_owned(name: &str, volume: &EbsVolume, owner: &Owner) -> Error {
    let (id, own) = (id_of(volume), &owner.project);
    let (cause, belongs) = match project(volume) {
        Some(project) => (
            format!("belongs to project {project}"),
            "to take it over, set its owner",
        ),
        None => (
            "has no owner: it lacks the tag `hitc:project`, which older versions of hitc did not set"
                .to_owned(),
            "if it belongs to this project, set its owner",
        ),
    };
    Error::invalid(
        format!("volume `{name}` ({id}) {cause}"),
        Some(format!(
            "choose another name; {belongs}: `aws ec2 create-tags --resources {id} --tags \
             Key={TAG_PROJECT},Value={own}`"
        )),
    )
}

fn duplicate(name: &str, first: &EbsVolume, second: &EbsVolume) -> Error {
    let (first, second) = (id_of(first), id_of(second));
    Error::invalid(
        format!("two volumes of this project are named `{name}`: {first}, and {second}"),
        Some(format!(
            "delete one of them at EC2, or change its tag `{TAG_NAME}`"
        )),
    )
}

/// The id of the instance that a volume is attached to.
fn holder(volume: &EbsVolume) -> Option<&str> {
    volume
        .attachments()
        .iter()
        .find_map(|attachment| attachment.instance_id())
}
