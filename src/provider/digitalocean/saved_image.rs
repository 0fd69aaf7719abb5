//! Snapshots of droplets, as images.
//!
//! A snapshot cannot be tagged by the action that takes it, and names are not unique. So it gets a name that
//! says the project and the droplet until it has its tags: a run that was interrupted leaves nothing without
//! an owner. DigitalOcean takes snapshots of running droplets, as after a power cut.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    DigitalOcean, TAG, TAG_PREFIX, TAG_PROJECT, TAG_USER,
    client::gone_is_fine,
    failed, has_tag, noted_in,
    options::NAME,
    wire::{Action, Image},
};
use crate::{
    http::{ApiRequest, Method},
    provider::{
        CreateImage, Error, ImageState, Node, SavedImage, ambiguous_image, choose_image,
        is_image_name, look_again, look_again_at_image, tag,
    },
};

/// The server that an image was made of, encoded.
const TAG_SERVER: &str = "hitc:server:";

/// How long a new snapshot may be missing in the list, and a deleted one may be in it.
const LISTED_TIMEOUT: Duration = Duration::from_mins(2);
const LISTED_PAUSE: Duration = Duration::from_secs(2);

/// What follows the name of a snapshot that has no tags yet: the project and the droplet's id.
const UNFINISHED: &str = " hitc:creating:";

/// The name of a snapshot until it has its tags.
fn unfinished_name(full: &str, project: &str, droplet: &str) -> String {
    format!("{full}{UNFINISHED}{project}:{droplet}")
}

impl DigitalOcean {
    /// The snapshots with our prefix, of any owner, as hitc and as DigitalOcean knows them.
    async fn snapshots(&self) -> Result<Vec<(SavedImage, Image)>, Error> {
        let images: Vec<Image> = self.all("/v2/images?private=true", "images").await?;
        let ours = images.into_iter().filter_map(|image| {
            let saved = self.saved_image(&image)?;
            Some((saved, image))
        });
        Ok(ours.collect())
    }

    pub(super) async fn saved_images(&self) -> Result<Vec<SavedImage>, Error> {
        let snapshots = self.snapshots().await?;
        Ok(snapshots.into_iter().map(|(image, _)| image).collect())
    }

    fn saved_image(&self, image: &Image) -> Option<SavedImage> {
        let full = image.name.as_deref()?;
        let noted = |prefix: &str| noted_in(&image.tags, prefix);
        let is_tagged = has_tag(&image.tags, TAG);
        let (full, project, state) = match full.split_once(UNFINISHED) {
            Some((full, rest)) => {
                let (project, _) = rest.split_once(':')?;
                (full, Some(project.to_owned()), ImageState::Creating)
            }
            None if is_tagged => (full, noted(TAG_PROJECT), ImageState::Usable),
            None => return None,
        };
        let tagged = noted(TAG_PREFIX);
        let name = tag::name_of(full, &self.prefix, tagged.as_deref())?;
        let state = match image.status.as_deref() {
            Some("deleted" | "retired") => ImageState::Failed,
            Some("NEW" | "pending") => ImageState::Creating,
            _ => state,
        };
        let saved = SavedImage {
            provider: NAME.to_owned(),
            name: name.to_owned(),
            id: image.id.to_string(),
            server: noted(TAG_SERVER).unwrap_or_default(),
            size: image.size_gigabytes,
            region: image.regions.join(", "),
            created: image.created_at.as_ref().and_then(|at| at.parse().ok()),
            state,
            owner: tag::ownership(project, None),
        };
        Some(saved.of_cloud())
    }

    /// The snapshot of the project's image of this name. Fails if it is not usable yet, or if DigitalOcean
    /// has an image of that name, too.
    pub(super) async fn saved_snapshot(&self, name: &str) -> Result<Option<Image>, Error> {
        if !is_image_name(name) {
            return Ok(None);
        }
        // A mistake in the id's file was reported before.
        let project = self.project.as_ref();
        let project = project.and_then(|project| project.id().ok().flatten());
        let project = project.as_ref().map(crate::project::ProjectId::as_str);
        let snapshots = self.snapshots().await?;
        let images = snapshots.iter().map(|(image, _)| image);
        let Some(chosen) = choose_image(images, name, project)? else {
            return Ok(None);
        };
        chosen.require_usable()?;
        let path = format!("/v2/images/{name}");
        match self.read::<Image>(ApiRequest::get(path), "image").await {
            Ok(_) => {
                let text = format!("DigitalOcean's image `{name}`");
                return Err(ambiguous_image(chosen, &text));
            }
            Err(Error::Api(error, _)) if error.status() == Some(404) => {}
            Err(error) => return Err(error),
        }
        let found = snapshots.iter().find(|(image, _)| image.id == chosen.id);
        Ok(found.map(|(_, image)| image.clone()))
    }

    /// Takes a snapshot and tags it, or continues what an interrupted run began.
    pub(super) async fn take_snapshot(
        &self,
        create: &CreateImage,
        progress: impl Fn(&str),
    ) -> Result<SavedImage, Error> {
        let node = look_again(self, &create.node).await?;
        let full = format!("{}{}", self.prefix, create.name);
        let name = unfinished_name(&full, &create.owner.project, &node.id);
        let image = match self.snapshot_named(&name).await? {
            Some(image) => image,
            None => {
                // An action of an interrupted run does not say under which name.
                self.wait_for_snapshots(&node, &progress).await?;
                match self.snapshot_named(&name).await? {
                    Some(image) => image,
                    None => {
                        progress("taking a snapshot");
                        self.snapshot(&node, &name).await?
                    }
                }
            }
        };
        progress("tagging");
        let mut tags = vec![TAG.to_owned()];
        tags.extend(self.owner_tags(&create.owner));
        tags.push(format!("{TAG_SERVER}{}", tag::encode_caseless(&node.name)));
        let user = node.user.iter();
        tags.extend(user.map(|user| format!("{TAG_USER}{}", tag::encode_caseless(user))));
        for tag in tags {
            self.tag_image(image.id, &tag).await?;
        }
        // The last step: the name says that the tags are complete.
        let path = format!("/v2/images/{}", image.id);
        let rename = ApiRequest::new(Method::PUT, path, Some(json!({"name": full})));
        let named: Image = self.read(rename, "image").await?;
        let saved = SavedImage {
            provider: NAME.to_owned(),
            name: create.name.clone(),
            id: image.id.to_string(),
            server: node.name,
            size: named.size_gigabytes,
            region: named.regions.join(", "),
            created: named.created_at.as_ref().and_then(|at| at.parse().ok()),
            state: ImageState::Usable,
            owner: tag::ownership(Some(create.owner.project.clone()), None),
        };
        Ok(saved)
    }

    async fn snapshot_named(&self, name: &str) -> Result<Option<Image>, Error> {
        let images: Vec<Image> = self.all("/v2/images?private=true", "images").await?;
        let mut named = images
            .into_iter()
            .filter(|image| image.name.as_deref() == Some(name));
        Ok(named.next())
    }

    /// Takes a snapshot of this name, and finds it.
    async fn snapshot(&self, node: &Node, name: &str) -> Result<Image, Error> {
        let taken = self
            .act(node, json!({"type": "snapshot", "name": name}))
            .await;
        let lost = match taken {
            Ok(()) => None,
            // The response was lost: the action may be going on.
            Err(Error::Api(error, help)) if error.is_unclear() => {
                self.wait_for_snapshots(node, &|_| ()).await?;
                Some(Error::Api(error, help))
            }
            Err(error) => return Err(error),
        };
        let end = Instant::now() + LISTED_TIMEOUT;
        loop {
            if let Some(image) = self.snapshot_named(name).await? {
                return Ok(image);
            }
            if Instant::now() > end {
                let cause = "DigitalOcean says that it is done, but does not list it";
                let what = format!("snapshot of `{}`", node.name);
                return Err(lost.unwrap_or_else(|| failed(&what, cause)));
            }
            sleep(LISTED_PAUSE).await;
        }
    }

    /// Waits for the snapshots of a droplet that are being taken.
    async fn wait_for_snapshots(&self, node: &Node, progress: &impl Fn(&str)) -> Result<(), Error> {
        let path = format!("/v2/droplets/{}/actions", node.id);
        let actions: Vec<Action> = self.all(&format!("{path}?"), "actions").await?;
        let running = actions
            .into_iter()
            .filter(|action| action.kind == "snapshot" && action.status == "in-progress");
        for action in running {
            progress("waiting for a snapshot that is being taken");
            let what = format!("snapshot of `{}`", node.name);
            // If that one failed, another one is taken.
            match self.watch(action, &path, &what).await {
                Ok(()) | Err(Error::Failed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn tag_image(&self, image: u64, tag: &str) -> Result<(), Error> {
        let new = ApiRequest::post("/v2/tags", json!({"name": tag})).repeatable();
        self.ask(new).await?;
        let body = json!({"resources": [
            {"resource_id": image.to_string(), "resource_type": "image"}
        ]});
        let path = format!("/v2/tags/{tag}/resources");
        let set = ApiRequest::post(path, body).repeatable();
        self.ask(set).await.map(drop)
    }

    /// Deletes a snapshot, and waits until it is not listed any more.
    pub(super) async fn delete_snapshot(&self, image: &SavedImage) -> Result<(), Error> {
        if look_again_at_image(self, image).await?.is_none() {
            return Ok(());
        }
        let path = format!("/v2/images/{}", image.id);
        gone_is_fine(self.ask(ApiRequest::delete(path)).await)?;
        let end = Instant::now() + LISTED_TIMEOUT;
        let is_it = |found: &SavedImage| found.id == image.id;
        while self.saved_images().await?.iter().any(is_it) {
            if Instant::now() > end {
                let cause = format!("it is still listed after {} s", LISTED_TIMEOUT.as_secs());
                return Err(failed(&format!("deleting image `{}`", image.name), &cause));
            }
            sleep(LISTED_PAUSE).await;
        }
        Ok(())
    }
}
