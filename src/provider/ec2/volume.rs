//! EBS volumes: create, find and attach.

use std::time::Duration;

use aws_sdk_ec2::types::{
    Instance, ResourceType, Tag, TagSpecification, Volume as EbsVolume, VolumeState, VolumeType,
};
use tokio::time::{Instant, sleep};

use super::{Ec2, NAME, STATE_PAUSE, STATE_PAUSE_MOST, TAG_NAME, TAG_PREFIX, by, client::explain};
use crate::provider::{Error, Node};

/// The timeout until a volume is available or attached.
const TIMEOUT: Duration = Duration::from_mins(5);

/// The tag that tells these volumes from the root volumes of servers, which may have the same
/// names.
const TAG_KIND: &str = "hitc:kind";
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
    /// Creates a volume of `size` GiB in a zone. Returns the existing volume if there is one of
    /// this name.
    pub async fn create_volume(&self, name: &str, size: i32, zone: &str) -> Result<Volume, Error> {
        if let Some(volume) = self.find_volume(name).await? {
            return Ok(volume);
        }
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let tags = TagSpecification::builder()
            .resource_type(ResourceType::Volume)
            .tags(tag(TAG_NAME, &format!("{}{name}", self.prefix)))
            .tags(tag(TAG_PREFIX, &self.prefix))
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
        Ok(Volume {
            id,
            name: name.to_owned(),
            server: None,
            device: None,
        })
    }

    /// Finds the volume of this name that hitc created.
    pub async fn find_volume(&self, name: &str) -> Result<Option<Volume>, Error> {
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
        let mut volumes = answer.volumes().iter();
        let found = volumes.find(|volume| !gone.contains(&volume.state()));
        Ok(found.map(|volume| Volume {
            id: volume.volume_id().unwrap_or_default().to_owned(),
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

/// The id of the instance that a volume is attached to.
fn holder(volume: &EbsVolume) -> Option<&str> {
    volume
        .attachments()
        .iter()
        .find_map(|attachment| attachment.instance_id())
}
