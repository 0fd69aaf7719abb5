//! Images of instances: AMIs that hitc made, with their snapshots, and the console of an instance.
//!
//! EC2 reboots an instance for its image, so that its file systems are consistent
//! (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html>, `NoReboot`). An AMI's name
//! is unique in an account and region, so that a second request makes no second image.

use aws_sdk_ec2::types::{Image, ImageState as AmiState, ResourceType, Tag, TagSpecification};
use data_encoding::BASE64;
use tokio::time::{Instant, sleep};

use super::{
    Ec2, NAME, TAG_KIND, TAG_NAME, TAG_PREFIX, TAG_PROJECT, TAG_USER, by,
    client::{STATE_PAUSE, VISIBLE_TIMEOUT, code, explain},
};
use crate::provider::{
    CreateImage, Error, ImageState, Node, SavedImage, choose_image, is_image_name, look_again,
    look_again_at_image, tag as tags,
};

/// The value of [`TAG_KIND`].
const KIND: &str = "image";

/// The tag that names the server that an image was made of.
const TAG_SERVER: &str = "hitc:server";

/// The code of the error that an AMI has this name already.
const DUPLICATE: &str = "InvalidAMIName.Duplicate";

impl Ec2 {
    /// The images with our prefix, of any owner, as hitc and as EC2 knows them.
    async fn amis(&self) -> Result<Vec<(SavedImage, Image)>, Error> {
        let mut pages = self
            .client()
            .await?
            .describe_images()
            .owners("self")
            .filters(by("tag:hitc:prefix", &self.prefix))
            .filters(by("tag:hitc:kind", KIND))
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| explain("listing images", &error))?;
            for ami in page.images.unwrap_or_default() {
                if let Some(image) = self.saved_image(&ami) {
                    found.push((image, ami));
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn saved_images(&self) -> Result<Vec<SavedImage>, Error> {
        let amis = self.amis().await?;
        Ok(amis.into_iter().map(|(image, _)| image).collect())
    }

    /// The AMI of the project's image of this name. Fails if it is not usable yet.
    pub(super) async fn saved_ami(&self, name: &str) -> Result<Option<Image>, Error> {
        if !is_image_name(name) {
            return Ok(None);
        }
        // A mistake in the id's file was reported before.
        let project = self.project.as_ref();
        let project = project.and_then(|project| project.id().ok().flatten());
        let project = project.as_ref().map(crate::project::ProjectId::as_str);
        let amis = self.amis().await?;
        let images = amis.iter().map(|(image, _)| image);
        let Some(chosen) = choose_image(images, name, project)? else {
            return Ok(None);
        };
        chosen.require_usable()?;
        let ami = amis.iter().find(|(image, _)| image.id == chosen.id);
        Ok(ami.map(|(_, ami)| ami.clone()))
    }

    fn saved_image(&self, ami: &Image) -> Option<SavedImage> {
        let noted = |key: &str| tag(ami, key).map(str::to_owned);
        let full = tag(ami, TAG_NAME)?;
        let name = tags::name_of(full, &self.prefix, tag(ami, TAG_PREFIX))?;
        let state = match ami.state()? {
            AmiState::Deregistered => return None,
            AmiState::Available => ImageState::Usable,
            AmiState::Pending | AmiState::Transient => ImageState::Creating,
            _ => ImageState::Failed,
        };
        let disks = ami.block_device_mappings().iter();
        let sizes = disks.filter_map(|disk| disk.ebs()?.volume_size());
        let size: i32 = sizes.fold(0, i32::saturating_add);
        let image = SavedImage {
            provider: self.name.clone(),
            name: name.to_owned(),
            id: ami.image_id().unwrap_or_default().to_owned(),
            server: noted(TAG_SERVER).unwrap_or_default(),
            size: Some(f64::from(size)).filter(|size| *size > 0.0),
            region: String::new(),
            created: ami.creation_date().and_then(|date| date.parse().ok()),
            state,
            owner: tags::ownership(noted(TAG_PROJECT), None),
        };
        Some(image.of_cloud())
    }

    /// Orders an image. A second order of the same name makes no second one.
    pub(super) async fn make_image(&self, create: &CreateImage) -> Result<SavedImage, Error> {
        let node = look_again(self, &create.node).await?;
        let full = format!("{}{}", self.prefix, create.name);
        let made = |kind: ResourceType| {
            let specification = TagSpecification::builder().resource_type(kind);
            let all = self.image_tags(create, &node, &full);
            specification.set_tags(Some(all)).build()
        };
        let ordered = self
            .client()
            .await?
            .create_image()
            .instance_id(&node.id)
            .name(&full)
            .description(format!("made by hitc of server {}", node.name))
            .tag_specifications(made(ResourceType::Image))
            .tag_specifications(made(ResourceType::Snapshot))
            .send()
            .await;
        match ordered {
            Ok(answer) => Ok(SavedImage {
                provider: NAME.to_owned(),
                name: create.name.clone(),
                id: answer.image_id.unwrap_or_default(),
                server: node.name,
                size: None,
                region: String::new(),
                created: None,
                state: ImageState::Creating,
                owner: tags::ownership(Some(create.owner.project.clone()), None),
            }),
            // Another run, or a request whose response was lost.
            Err(error) if code(&error) == DUPLICATE => self.ordered_before(create, &full).await,
            Err(error) => Err(explain(
                &format!("making an image of `{}`", node.name),
                &error,
            )),
        }
    }

    /// The image of an order that EC2 received before. It may not be listed at once.
    async fn ordered_before(&self, create: &CreateImage, full: &str) -> Result<SavedImage, Error> {
        let begun = Instant::now();
        loop {
            let images = self.saved_images().await?;
            let found = choose_image(&images, &create.name, Some(&create.owner.project))?;
            if let Some(image) = found {
                return Ok(image.clone());
            }
            let client = self.client().await?;
            let named = client
                .describe_images()
                .owners("self")
                .filters(by("name", full));
            let named = named.send().await;
            let named = named.map_err(|error| explain("looking for the image", &error))?;
            let is_foreign = named
                .images()
                .iter()
                .any(|ami| tag(ami, TAG_PREFIX).is_none());
            if is_foreign || begun.elapsed() > VISIBLE_TIMEOUT {
                return Err(Error::invalid(
                    format!("EC2 has an AMI named `{full}` that hitc did not make"),
                    Some("choose another name".to_owned()),
                ));
            }
            sleep(STATE_PAUSE).await;
        }
    }

    fn image_tags(&self, create: &CreateImage, node: &Node, full: &str) -> Vec<Tag> {
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let mut all = vec![
            tag(TAG_NAME, full),
            tag(TAG_PREFIX, &self.prefix),
            tag(TAG_KIND, KIND),
            tag(TAG_PROJECT, &create.owner.project),
            tag(TAG_SERVER, &node.name),
        ];
        // The name of the AMI does not say any more whose image it was.
        all.extend(node.user.iter().map(|user| tag(TAG_USER, user)));
        all
    }

    /// Deletes an AMI and its snapshots, in one request: what it leaves behind costs money. A snapshot that
    /// another AMI uses stays.
    pub(super) async fn deregister(&self, image: &SavedImage) -> Result<(), Error> {
        if look_again_at_image(self, image).await?.is_none() {
            return Ok(());
        }
        let done = self
            .client()
            .await?
            .deregister_image()
            .image_id(&image.id)
            .delete_associated_snapshots(true)
            .send()
            .await;
        let what = format!("deleting image `{}`", image.name);
        let answer = match done {
            Err(error) if code(&error).starts_with("InvalidAMIID") => return Ok(()),
            Err(error) => return Err(explain(&what, &error)),
            Ok(answer) => answer,
        };
        let kept = answer.delete_snapshot_results.unwrap_or_default();
        let kept: Vec<String> = kept
            .into_iter()
            .filter_map(|result| {
                let code = result.return_code()?.as_str().to_owned();
                let is_bad = !matches!(code.as_str(), "success" | "skipped");
                is_bad.then(|| format!("{} ({code})", result.snapshot_id().unwrap_or_default()))
            })
            .collect();
        if kept.is_empty() {
            return Ok(());
        }
        Err(Error::Failed {
            provider: NAME.to_owned(),
            what,
            cause: format!(
                "the AMI is gone, but not its snapshots, which cost money: {}; delete them with \
                 `aws ec2 delete-snapshot`",
                kept.join(", ")
            ),
        })
    }

    /// What an instance wrote to its serial console: the last 64 KB, or what EC2 kept of its last start for
    /// instances that are not based on Nitro
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html>).
    pub(super) async fn console_output(&self, node: &Node) -> Result<String, Error> {
        let client = self.client().await?;
        let ask = || client.get_console_output().instance_id(&node.id);
        let mut answer = ask().latest(true).send().await;
        if answer
            .as_ref()
            .is_err_and(|error| code(error) == "UnsupportedOperation")
        {
            answer = ask().send().await;
        }
        let what = format!("reading the console of `{}`", node.name);
        let answer = answer.map_err(|error| explain(&what, &error))?;
        let encoded = answer.output.unwrap_or_default();
        let encoded: Vec<u8> = encoded
            .bytes()
            .filter(|b| !b.is_ascii_whitespace())
            .collect();
        let bytes = BASE64.decode(&encoded).map_err(|error| Error::Failed {
            provider: NAME.to_owned(),
            what,
            cause: format!("invalid response: {error}"),
        })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The user to log in as to servers that are created from an image.
pub(super) fn user(ami: &Image) -> Option<&str> {
    tag(ami, TAG_USER)
}

fn tag<'a>(ami: &'a Image, key: &str) -> Option<&'a str> {
    let mut tags = ami.tags().iter();
    tags.find(|tag| tag.key() == Some(key))?.value()
}
