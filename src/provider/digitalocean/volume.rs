//! Volumes (block storage). A volume's name at DigitalOcean is the prefix and its name in lower case, and
//! unique in a region. Tags, which the creating call sets, hold its real name, owner and prefix.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{
    DigitalOcean, TAG, TAG_PREFIX, TAG_PROJECT, action::Polls, client::gone_is_fine, failed,
    has_tag, noted_in, options::NAME, wire::Region,
};
use crate::{
    core::owner::Owner,
    http::ApiRequest,
    provider::{CreateVolume, Error, Node, Volume, tag},
};

/// The tag that holds the name of a volume, encoded.
const TAG_VOLUME: &str = "hitc:volume:";

/// The sizes in GiB (<https://docs.digitalocean.com/products/volumes/details/limits/>).
const SIZES: std::ops::RangeInclusive<u32> = 1..=16_384;

/// The most characters of a name (`volume_base` in DigitalOcean's OpenAPI description).
const NAME_LENGTH: usize = 64;

/// How long it may take until a volume is as an action left it, is gone, or is listed after an order
/// without an answer.
const TIMEOUT: Duration = Duration::from_mins(2);

/// A volume (<https://docs.digitalocean.com/reference/api/digitalocean/#tag/Block-Storage>).
#[derive(Debug, Deserialize)]
struct BlockStorage {
    id: String,
    name: String,
    size_gigabytes: u32,
    region: Region,
    droplet_ids: Option<Vec<u64>>,
    tags: Option<Vec<String>>,
}

impl BlockStorage {
    fn tags(&self) -> &[String] {
        self.tags.as_deref().unwrap_or_default()
    }
}

impl DigitalOcean {
    /// The volumes with our prefix. DigitalOcean does not filter them by tags.
    pub(super) async fn list_volumes(&self) -> Result<Vec<Volume>, Error> {
        let all: Vec<BlockStorage> = self.all("/v2/volumes?", "volumes").await?;
        Ok(all
            .iter()
            .filter_map(|storage| self.volume(storage))
            .collect())
    }

    /// Looks at a volume again. None if it is gone, or lost the tags that mark it as ours.
    pub(super) async fn volume_again(&self, volume: &Volume) -> Result<Option<Volume>, Error> {
        let path = format!("/v2/volumes/{}", volume.id);
        match self.read(ApiRequest::get(path), "volume").await {
            Err(Error::Api(error, _)) if error.status() == Some(404) => Ok(None),
            answer => Ok(self.volume(&answer?)),
        }
    }

    /// Describes a volume; none if it is not ours.
    fn volume(&self, storage: &BlockStorage) -> Option<Volume> {
        let noted = |key| noted_in(storage.tags(), key);
        let is_ours = has_tag(storage.tags(), TAG) && noted(TAG_PREFIX)? == self.prefix;
        if !is_ours {
            return None;
        }
        let droplet = storage.droplet_ids.iter().flatten().next();
        let volume = Volume {
            provider: NAME.to_owned(),
            id: storage.id.clone(),
            name: noted(TAG_VOLUME)?,
            size: storage.size_gigabytes,
            region: storage.region.slug.clone(),
            server: droplet.map(ToString::to_string),
            owner: tag::ownership(noted(TAG_PROJECT), None),
            // https://docs.digitalocean.com/products/volumes/how-to/mount/
            devices: vec![format!("/dev/disk/by-id/scsi-0DO_Volume_{}", storage.name)],
        };
        Some(volume.of_cloud())
    }

    /// Creates a volume in the region of a server.
    pub(super) async fn order_volume(&self, create: &CreateVolume) -> Result<Volume, Error> {
        check_size(create.size)?;
        let name = self.volume_name(&create.name)?;
        let region = &create.node.region;
        let mut tags = vec![
            TAG.to_owned(),
            format!("{TAG_VOLUME}{}", tag::encode_caseless(&create.name)),
        ];
        tags.extend(self.owner_tags(&create.owner));
        let body = json!({
            "name": name, "size_gigabytes": create.size, "region": region, "tags": tags
        });
        let mut polls = Polls::new(TIMEOUT);
        loop {
            // A name that is in use is a conflict (https://github.com/ansible/ansible/issues/39655).
            let order = ApiRequest::post("/v2/volumes", body.clone()).conflict_is_final();
            let error = match self.read::<BlockStorage>(order, "volume").await {
                Ok(storage) => return self.created(&storage, &create.name),
                Err(error) => error,
            };
            // Refused because it exists; or it is not clear whether DigitalOcean received the order, and
            // then the list may lag behind. A second volume of the name is refused.
            let path = format!("/v2/volumes?name={name}&region={region}");
            let found: Vec<BlockStorage> = self.all(&path, "volumes").await?;
            if let Some(storage) = found.iter().find(|storage| storage.name == name) {
                return self.created(storage, &create.name);
            }
            let may_exist = matches!(&error, Error::Api(error, _)
                if error.is_unclear() || error.status() == Some(409));
            if !may_exist || !polls.next().await {
                return Err(error);
            }
        }
    }

    /// A volume that has the name of one that was ordered.
    fn created(&self, storage: &BlockStorage, name: &str) -> Result<Volume, Error> {
        let volume = self.volume(storage).filter(|volume| volume.name == name);
        volume.ok_or_else(|| {
            Error::invalid(
                format!(
                    "DigitalOcean has another volume `{}` ({})",
                    storage.name, storage.id
                ),
                Some("choose another name".to_owned()),
            )
        })
    }

    /// The name of a volume at DigitalOcean.
    fn volume_name(&self, name: &str) -> Result<String, Error> {
        let full = format!("{}{name}", self.prefix).to_ascii_lowercase();
        let full = full.replace(
            |c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit(),
            "-",
        );
        let is_good = full.starts_with(|c: char| c.is_ascii_lowercase());
        if is_good && full.len() <= NAME_LENGTH {
            return Ok(full);
        }
        Err(Error::invalid(
            format!("invalid name `{full}` of a volume at DigitalOcean"),
            Some(format!(
                "with the prefix it must begin with a letter, and have at most {NAME_LENGTH} characters"
            )),
        ))
    }

    /// Attaches a volume to a droplet.
    pub(super) async fn attach_storage(
        &self,
        volume: &Volume,
        node: &Node,
    ) -> Result<Volume, Error> {
        let droplet = node.id.parse::<u64>();
        let droplet = droplet.map_err(|error| failed("attaching", &error.to_string()))?;
        let what = format!("attaching volume `{}`", volume.name);
        let body = json!({"type": "attach", "droplet_id": droplet, "region": volume.region});
        let is_done = |found: &Volume| found.server.as_ref() == Some(&node.id);
        self.act_on_volume(volume, body, &what, is_done).await
    }

    /// Detaches a volume from its droplet.
    pub(super) async fn detach_storage(&self, volume: &Volume) -> Result<(), Error> {
        let droplet = volume.server.as_deref().unwrap_or_default().parse::<u64>();
        let droplet = droplet.map_err(|error| failed("detaching", &error.to_string()))?;
        let what = format!("detaching volume `{}`", volume.name);
        let body = json!({"type": "detach", "droplet_id": droplet, "region": volume.region});
        let is_done = |found: &Volume| found.server.is_none();
        self.act_on_volume(volume, body, &what, is_done)
            .await
            .map(drop)
    }

    /// Makes a volume larger.
    pub(super) async fn grow_storage(&self, volume: &Volume, size: u32) -> Result<(), Error> {
        check_size(size)?;
        let what = format!("growing volume `{}`", volume.name);
        let body = json!({"type": "resize", "size_gigabytes": size, "region": volume.region});
        let is_done = |found: &Volume| found.size >= size;
        self.act_on_volume(volume, body, &what, is_done)
            .await
            .map(drop)
    }

    /// Executes an action and waits until the volume shows it.
    async fn act_on_volume(
        &self,
        volume: &Volume,
        body: Json,
        what: &str,
        is_done: impl Fn(&Volume) -> bool,
    ) -> Result<Volume, Error> {
        let path = format!("/v2/volumes/{}/actions", volume.id);
        let acted = self.act_at(&path, body, "/v2/actions", what).await;
        let mut polls = Polls::new(TIMEOUT);
        loop {
            let now = self.volume_again(volume).await?;
            let now = now.ok_or_else(|| volume.gone())?;
            if is_done(&now) {
                return Ok(now);
            }
            // A run that was interrupted may have begun the action that makes this one fail.
            acted.clone()?;
            if !polls.next().await {
                let cause = format!("not done after {} s", TIMEOUT.as_secs());
                return Err(failed(what, &cause));
            }
        }
    }

    /// Deletes a volume and waits until it is gone.
    pub(super) async fn delete_storage(&self, volume: &Volume) -> Result<(), Error> {
        let path = format!("/v2/volumes/{}", volume.id);
        gone_is_fine(self.ask(ApiRequest::delete(path).conflict_is_final()).await)?;
        let mut polls = Polls::new(TIMEOUT);
        while self.volume_again(volume).await?.is_some() {
            if !polls.next().await {
                let what = format!("deleting volume `{}`", volume.name);
                let cause = format!("it still exists after {} s", TIMEOUT.as_secs());
                return Err(failed(&what, &cause));
            }
        }
        Ok(())
    }

    /// How to give a volume to an owner with DigitalOcean's client.
    pub(super) fn adopt_storage_help(volume: &Volume, owner: &Owner) -> String {
        format!(
            "replace its tag `{TAG_PROJECT}…` by `{TAG_PROJECT}{}`: `doctl compute tag apply TAG \
             --resource do:volume:{}`",
            tag::encode_caseless(&owner.project),
            volume.id
        )
    }
}

fn check_size(size: u32) -> Result<(), Error> {
    if SIZES.contains(&size) {
        return Ok(());
    }
    let (least, most) = (SIZES.start(), SIZES.end());
    let text = format!("DigitalOcean: invalid size of a volume: {size} GiB");
    Err(Error::invalid(
        text,
        Some(format!("choose from {least} to {most}")),
    ))
}
