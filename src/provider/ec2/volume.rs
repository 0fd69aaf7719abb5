//! EBS volumes. Their names are not unique at EC2: an order carries an idempotency token, as that of an
//! instance.

use std::time::Duration;

use aws_sdk_ec2::{
    primitives::DateTime,
    types::{
        Filter, Instance, ResourceType, Tag, TagSpecification, Volume as EbsVolume,
        VolumeModification, VolumeModificationState as Modification, VolumeState, VolumeType,
    },
};
use tokio::time::{Instant, sleep};

use super::{
    Ec2, NAME, TAG_KIND, TAG_NAME, TAG_PREFIX, TAG_PROJECT, Token, by,
    client::{STATE_PAUSE, STATE_PAUSE_MOST, VISIBLE_TIMEOUT, code, explain},
    tags,
};
use crate::provider::{CreateVolume, Error, Node, Volume};

/// The timeout until a volume is available, attached or detached.
const TIMEOUT: Duration = Duration::from_mins(5);

/// The timeout until a server can use a larger size. Large volumes take minutes
/// (<https://docs.aws.amazon.com/ebs/latest/userguide/monitoring-volume-modifications.html>).
const GROW_TIMEOUT: Duration = Duration::from_hours(1);

/// The value of [`TAG_KIND`].
const KIND: &str = "disk";

/// The code of the error that a volume does not exist.
const NO_VOLUME: &str = "InvalidVolume.NotFound";

/// The sizes of gp3 in GiB (<https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html>).
const SIZES: std::ops::RangeInclusive<u32> = 1..=65_536;

/// The letters of device names for volumes
/// (<https://docs.aws.amazon.com/ebs/latest/userguide/ebs-attaching-volume.html>).
const LETTERS: std::ops::RangeInclusive<char> = 'f'..='p';

impl Ec2 {
    /// The volumes with our prefix, without those that are being deleted.
    pub(super) async fn list_volumes(&self) -> Result<Vec<Volume>, Error> {
        let filters = vec![
            by("tag:hitc:prefix", &self.prefix),
            by("tag:hitc:kind", KIND),
        ];
        let volumes = self.ebs_volumes(filters).await?;
        Ok(volumes
            .iter()
            .filter_map(|volume| self.volume(volume))
            .collect())
    }

    async fn ebs_volumes(&self, filters: Vec<Filter>) -> Result<Vec<EbsVolume>, Error> {
        let mut pages = self
            .client()
            .await?
            .describe_volumes()
            .set_filters(Some(filters))
            .max_results(500)
            .into_paginator()
            .items()
            .send();
        let mut volumes = Vec::new();
        while let Some(volume) = pages.next().await {
            volumes.push(volume.map_err(|error| explain("listing volumes", &error))?);
        }
        Ok(volumes)
    }

    /// The volume with this id, in any state. None if EC2 does not know it.
    async fn ebs_volume(&self, id: &str) -> Result<Option<EbsVolume>, Error> {
        let client = self.client().await?;
        match client.describe_volumes().volume_ids(id).send().await {
            Ok(answer) => Ok(answer.volumes.unwrap_or_default().into_iter().next()),
            Err(error) if code(&error) == NO_VOLUME => Ok(None),
            Err(error) => Err(explain(&format!("looking at {id}"), &error)),
        }
    }

    /// Looks at a volume again. None if it is gone, or lost the tags that mark it as ours.
    pub(super) async fn volume_again(&self, volume: &Volume) -> Result<Option<Volume>, Error> {
        let found = self.ebs_volume(&volume.id).await?;
        Ok(found.and_then(|found| self.volume(&found)))
    }

    /// Describes a volume. None if it is being deleted, or is not ours.
    fn volume(&self, volume: &EbsVolume) -> Option<Volume> {
        let is_gone = matches!(
            volume.state(),
            Some(VolumeState::Deleting | VolumeState::Deleted)
        );
        let tag = |key: &str| {
            let mut tags = volume.tags().iter();
            tags.find(|tag| tag.key() == Some(key))?.value()
        };
        let name = tags::name_of(tag(TAG_NAME)?, &self.prefix, tag(TAG_PREFIX))?;
        if is_gone || tag(TAG_KIND) != Some(KIND) {
            return None;
        }
        // The kernel names the device by the volume's id on Nitro instances, and by the letter
        // elsewhere.
        let id = id_of(volume);
        let mut devices = vec![format!(
            "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{}",
            id.replace('-', "")
        )];
        let mut attachments = volume.attachments().iter();
        let letter =
            attachments.find_map(|attachment| attachment.device()?.strip_prefix("/dev/sd"));
        devices.extend(letter.map(|letter| format!("/dev/xvd{letter}")));
        let volume = Volume {
            provider: self.name.clone(),
            id: id.to_owned(),
            name: name.to_owned(),
            size: volume.size().and_then(|s| s.try_into().ok()).unwrap_or(0),
            region: volume.availability_zone().unwrap_or_default().to_owned(),
            server: holder(volume).map(str::to_owned),
            owner: tags::ownership(tag(TAG_PROJECT).map(str::to_owned), None),
            devices,
        };
        Some(volume.of_cloud())
    }

    /// Creates an encrypted volume in the zone of a server.
    pub(super) async fn order_volume(&self, create: &CreateVolume) -> Result<Volume, Error> {
        let name = &create.name;
        check_size(create.size)?;
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let specification = TagSpecification::builder()
            .resource_type(ResourceType::Volume)
            .tags(tag(TAG_NAME, &format!("{}{name}", self.prefix)))
            .tags(tag(TAG_PREFIX, &self.prefix))
            .tags(tag(TAG_PROJECT, &create.owner.project))
            .tags(tag(TAG_KIND, KIND))
            .build();
        let client = self.client().await?;
        let token = Token::take(self, &token_name(name))?;
        let made = client
            .create_volume()
            .availability_zone(&create.node.region)
            .size(gib(create.size))
            .volume_type(VolumeType::Gp3)
            .encrypted(true)
            .client_token(&token.text)
            .tag_specifications(specification)
            .send()
            .await;
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                // Without an answer, EC2 may have received it: then the next order is the same one.
                let status = error.raw_response().map(|raw| raw.status().as_u16());
                if status.is_some_and(|status| (400..500).contains(&status)) {
                    token.forget();
                }
                return Err(explain(&format!("creating volume `{name}`"), &error));
            }
        };
        let id = made.volume_id.unwrap_or_default();
        let made = self
            .wait_for_volume(&id, "is available", |volume| {
                volume.state() != Some(&VolumeState::Creating)
            })
            .await?;
        if made.state() == Some(&VolumeState::Error) {
            token.forget();
            return Err(Error::Failed {
                provider: NAME.to_owned(),
                what: format!("creating volume `{name}`"),
                cause: format!("EC2 could not create it; {id} is in the state `error`"),
            });
        }
        // Until it is listed, only the token tells another run that it exists.
        let end = Instant::now() + VISIBLE_TIMEOUT;
        while Instant::now() < end {
            let listed = self.list_volumes().await?;
            if listed.iter().any(|listed| listed.id == id) {
                break;
            }
            sleep(STATE_PAUSE).await;
        }
        token.forget();
        self.volume(&made).ok_or_else(|| Error::Failed {
            provider: NAME.to_owned(),
            what: format!("creating volume `{name}`"),
            cause: "it was deleted meanwhile; create it again".to_owned(),
        })
    }

    /// Attaches a volume to a server and waits until it is attached.
    pub(super) async fn attach_ebs(&self, volume: &Volume, node: &Node) -> Result<Volume, Error> {
        let instances = self.instances(vec![by("instance-id", &node.id)]).await?;
        let used: Vec<&str> = instances
            .iter()
            .flat_map(Instance::block_device_mappings)
            .filter_map(|mapping| mapping.device_name())
            .collect();
        let device = LETTERS
            .map(|letter| format!("/dev/sd{letter}"))
            .find(|device| !used.contains(&device.as_str()))
            .ok_or_else(|| Error::Failed {
                provider: NAME.to_owned(),
                what: format!("attaching volume `{}` to `{}`", volume.name, node.name),
                cause: "all device names of the server are in use".to_owned(),
            })?;
        let attached = self
            .client()
            .await?
            .attach_volume()
            .volume_id(&volume.id)
            .instance_id(&node.id)
            .device(&device)
            .send()
            .await;
        let what = format!("attaching volume `{}`", volume.name);
        attached.map_err(|error| explain(&what, &error))?;
        let attached = self
            .wait_for_volume(&volume.id, "is attached", |found| {
                holder(found) == Some(node.id.as_str())
                    && found.state() == Some(&VolumeState::InUse)
            })
            .await?;
        self.volume(&attached).ok_or_else(|| volume.gone())
    }

    /// Detaches a volume and waits until it is available.
    pub(super) async fn detach_ebs(&self, volume: &Volume) -> Result<(), Error> {
        let client = self.client().await?;
        let detached = client
            .detach_volume()
            .volume_id(&volume.id)
            .set_instance_id(volume.server.clone())
            .send()
            .await;
        let what = format!("detaching volume `{}`", volume.name);
        detached.map_err(|error| explain(&what, &error))?;
        let is_free = |found: &EbsVolume| found.state() == Some(&VolumeState::Available);
        self.wait_for_volume(&volume.id, "is detached", is_free)
            .await
            .map(drop)
    }

    /// Makes a volume larger and waits until its server can use that: while EC2 still optimizes it, it
    /// is only slower.
    pub(super) async fn grow_ebs(&self, volume: &Volume, size: u32) -> Result<(), Error> {
        check_size(size)?;
        let what = format!("growing volume `{}`", volume.name);
        let failed = |cause: String| Error::Failed {
            provider: NAME.to_owned(),
            what: what.clone(),
            cause,
        };
        let is_begun = |last: &VolumeModification| {
            last.modification_state() == Some(&Modification::Modifying)
                && last.target_size() == Some(gib(size))
        };
        let client = self.client().await?;
        // A run that was interrupted may have begun it.
        let last = self.last_modification(&volume.id).await?;
        if !last.as_ref().is_some_and(is_begun) {
            let begun = client
                .modify_volume()
                .volume_id(&volume.id)
                .size(gib(size))
                .send()
                .await;
            begun.map_err(|error| explain(&what, &error))?;
        }
        let (end, mut pause) = (Instant::now() + GROW_TIMEOUT, STATE_PAUSE);
        loop {
            let last = self.last_modification(&volume.id).await?;
            let last = last.filter(|last| last.target_size() == Some(gib(size)));
            match last.as_ref().and_then(|last| last.modification_state()) {
                Some(Modification::Optimizing | Modification::Completed) => return Ok(()),
                Some(Modification::Failed) => {
                    let cause = last.and_then(|last| last.status_message);
                    return Err(failed(
                        cause.unwrap_or_else(|| "EC2 does not say why".to_owned()),
                    ));
                }
                _ if Instant::now() > end => {
                    let cause = format!("timed out after {} s", GROW_TIMEOUT.as_secs());
                    return Err(failed(cause));
                }
                _ => {}
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(STATE_PAUSE_MOST);
        }
    }

    /// The last change of a volume's size. None if it was never changed.
    async fn last_modification(&self, id: &str) -> Result<Option<VolumeModification>, Error> {
        let client = self.client().await?;
        let asked = client
            .describe_volumes_modifications()
            .filters(by("volume-id", id))
            .send()
            .await;
        match asked {
            Ok(answer) => {
                let found = answer.volumes_modifications.unwrap_or_default();
                let begun = |found: &VolumeModification| found.start_time().map(DateTime::as_nanos);
                Ok(found.into_iter().max_by_key(begun))
            }
            Err(error) => Err(explain("reading the state of the volume", &error)),
        }
    }

    /// Deletes a volume and waits until it is gone.
    pub(super) async fn delete_ebs(&self, volume: &Volume) -> Result<(), Error> {
        // The next order of this name is another one.
        Token::forget_of(self, &token_name(&volume.name));
        let client = self.client().await?;
        match client.delete_volume().volume_id(&volume.id).send().await {
            Ok(_) => {}
            Err(error) if code(&error) == NO_VOLUME => return Ok(()),
            Err(error) => {
                let what = format!("deleting volume `{}`", volume.name);
                return Err(explain(&what, &error));
            }
        }
        let (end, mut pause) = (Instant::now() + TIMEOUT, STATE_PAUSE);
        while self.volume_again(volume).await?.is_some() {
            if Instant::now() > end {
                return Err(timed_out(&volume.id, "is deleted"));
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(STATE_PAUSE_MOST);
        }
        Ok(())
    }

    /// Waits until `is_so`, and returns the volume as it is then. EC2 may not know a new one at once.
    async fn wait_for_volume(
        &self,
        id: &str,
        what: &str,
        is_so: impl Fn(&EbsVolume) -> bool,
    ) -> Result<EbsVolume, Error> {
        let (end, mut pause) = (Instant::now() + TIMEOUT, STATE_PAUSE);
        loop {
            if let Some(found) = self.ebs_volume(id).await?.filter(&is_so) {
                return Ok(found);
            }
            if Instant::now() > end {
                return Err(timed_out(id, what));
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(STATE_PAUSE_MOST);
        }
    }
}

fn timed_out(id: &str, what: &str) -> Error {
    Error::Failed {
        provider: NAME.to_owned(),
        what: format!("waiting until {id} {what}"),
        cause: format!("timed out after {} s", TIMEOUT.as_secs()),
    }
}

fn check_size(size: u32) -> Result<(), Error> {
    if SIZES.contains(&size) {
        return Ok(());
    }
    let (least, most) = (SIZES.start(), SIZES.end());
    let text = format!("EC2: invalid size of a volume: {size} GiB");
    Err(Error::invalid(
        text,
        Some(format!("choose from {least} to {most}")),
    ))
}

/// A checked size, as EC2 takes it.
fn gib(size: u32) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

/// The name of a volume's token. No server has it.
fn token_name(volume: &str) -> String {
    format!(" volume {volume}")
}

fn id_of(volume: &EbsVolume) -> &str {
    volume.volume_id().unwrap_or_default()
}

/// The id of the instance that a volume is attached to.
fn holder(volume: &EbsVolume) -> Option<&str> {
    volume
        .attachments()
        .iter()
        .find_map(|attachment| attachment.instance_id())
}
