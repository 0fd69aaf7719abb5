//! DigitalOcean's droplets, by version 2 of its API
//! (<https://docs.digitalocean.com/reference/api/digitalocean/>).
//!
//! A droplet's name is the prefix and the server's name. Tags, which the creating call sets, hold its
//! owner, prefix, state and protection. The API has no idempotency token: after a lost response, hitc
//! looks for a droplet of that name.

mod account;
mod action;
mod address;
mod client;
mod firewall;
mod listing;
mod options;
mod order;
mod saved_image;
mod token;
mod volume;
mod wire;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use client::{gone_is_fine, url};
use options::{NAME, Options};
use serde_json::json;
use tokio::{sync::OnceCell, time::Instant};
use wire::{Droplet, Image, Size};

use super::{
    CloudFirewall, Cost, Create, CreateImage, CreateVolume, Error, Finding, Node, NodeState, Price,
    Prices, Provider, SavedImage, ServerChange, Volume, differences, look_again, number,
    refuse_other_server, refuse_protected, tag,
};
use crate::{
    core::{
        event::{Activity, Events},
        memo::Shared,
        owner::Owner,
        value::{Invalid, Value},
    },
    http::{ApiRequest, JsonApi, Method},
    project::Project,
    ssh::{KeyPair, Login},
};

/// How to list the sizes.
const LIST: &str = "`hitc run pricing provider=digitalocean` lists the sizes";

/// The tags of a droplet. DigitalOcean ignores their case: the first spelling in the account is the one
/// that every droplet shows.
const TAG: &str = "hitc";
const TAG_CREATING: &str = "hitc:creating";
const TAG_FAILED: &str = "hitc:failed";
const TAG_PROTECT: &str = "hitc:protect";
/// The owner and the prefix, encoded.
const TAG_PROJECT: &str = "hitc:project:";
const TAG_MANIFEST: &str = "hitc:manifest:";
const TAG_PREFIX: &str = "hitc:prefix:";
/// The image in the user's words: the API's name for it may change.
const TAG_IMAGE: &str = "hitc:image:";
/// The user to log in as, encoded.
const TAG_USER: &str = "hitc:user:";

/// The reserved IP address that the droplet gets when it is ready, encoded.
const TAG_ADDRESS: &str = "hitc:address:";

/// The user to log in as to a droplet whose tags do not name one.
const USER: &str = "root";

/// The DigitalOcean provider.
pub struct DigitalOcean {
    prefix: String,
    data: PathBuf,
    home: PathBuf,
    events: Events,
    /// The user's project, whose images its orders may name.
    project: Option<Project>,
    api: OnceLock<Result<Arc<JsonApi>, Error>>,
    sizes: OnceCell<Vec<Size>>,
    own_images: OnceCell<Vec<Image>>,
    /// The id of hitc's key in the account. Only ten requests for keys are allowed a minute.
    key: OnceCell<u64>,
    /// The last list of droplets, which concurrent orders share.
    listed: Shared<Vec<Droplet>>,
}

impl DigitalOcean {
    /// The droplets with this name prefix. hitc's key is in the folder `data`, doctl's configuration
    /// below `home`. The token is masked in `events`.
    pub fn new(prefix: impl Into<String>, data: PathBuf, home: PathBuf, events: Events) -> Self {
        DigitalOcean {
            prefix: prefix.into(),
            data,
            home,
            events,
            project: None,
            api: OnceLock::new(),
            sizes: OnceCell::new(),
            own_images: OnceCell::new(),
            key: OnceCell::new(),
            listed: Shared::default(),
        }
    }

    /// The same for the servers of a project, which may be created from its images.
    #[must_use]
    pub fn of_project(self, project: Project) -> Self {
        let project = Some(project);
        DigitalOcean { project, ..self }
    }

    fn node(&self, droplet: &Droplet) -> Option<Node> {
        let noted = |prefix| noted(droplet, prefix);
        let name = tag::name_of(&droplet.name, &self.prefix, noted(TAG_PREFIX).as_deref())?;
        let state = match droplet.status.as_str() {
            "off" | "archive" => NodeState::Stopped,
            "active" if has(droplet, TAG_FAILED) => NodeState::Failed,
            "active" if has(droplet, TAG_CREATING) => NodeState::Unfinished,
            "active" => NodeState::Running,
            _ => NodeState::Creating,
        };
        let image = &droplet.image;
        let node = Node {
            provider: NAME.to_owned(),
            name: name.to_owned(),
            id: droplet.id.to_string(),
            size: droplet.size_slug.clone(),
            image: noted(TAG_IMAGE)
                .or_else(|| image.slug.clone())
                .or_else(|| image.name.clone())
                .unwrap_or_else(|| image.id.to_string()),
            region: droplet.region.slug.clone(),
            ip: droplet.address("public"),
            internal_ip: droplet.address("private"),
            state,
            created: droplet.created_at.parse().ok(),
            owner: tag::ownership(noted(TAG_PROJECT), noted(TAG_MANIFEST)),
            user: noted(TAG_USER),
            is_protected: has(droplet, TAG_PROTECT),
            container: None,
        };
        Some(node.of_cloud())
    }

    /// The tags that mark a droplet as this owner's.
    fn owner_tags(&self, owner: &Owner) -> Vec<String> {
        let noted = |key: &str, value: &str| format!("{key}{}", tag::encode_caseless(value));
        let mut tags = vec![
            noted(TAG_PROJECT, &owner.project),
            noted(TAG_PREFIX, &self.prefix),
        ];
        let manifest = owner.manifest.iter();
        tags.extend(manifest.map(|manifest| noted(TAG_MANIFEST, manifest)));
        tags
    }

    /// Adds a tag to a droplet, or removes it.
    async fn set_tag(&self, node: &Node, tag: &str, is_set: bool) -> Result<(), Error> {
        let path = format!("/v2/tags/{tag}/resources");
        let body = json!({"resources": [
            {"resource_id": node.id, "resource_type": "droplet"}
        ]});
        if is_set {
            let new = ApiRequest::post("/v2/tags", json!({"name": tag})).repeatable();
            self.ask(new).await?;
            self.ask(ApiRequest::post(path, body).repeatable())
                .await
                .map(drop)
        } else {
            let taken = self
                .ask(ApiRequest::new(Method::DELETE, path, Some(body)))
                .await;
            gone_is_fine(taken)
        }
    }
}

#[async_trait]
impl Provider for DigitalOcean {
    fn name(&self) -> &str {
        NAME
    }

    fn validate(&self, options: &Value) -> Result<(), Invalid> {
        Options::decode(options).map(drop)
    }

    async fn quote(&self, name: &str, options: &Value) -> Result<Cost, Error> {
        self.check(name, &Options::decode(options)?).await
    }

    async fn costs(&self, nodes: &[Node]) -> Result<Vec<Cost>, Error> {
        let droplets = self.droplets().await?;
        let of = |node: &Node| {
            let droplet = droplets.iter().find(|d| d.id.to_string() == node.id);
            droplet.map_or(Cost::Unknown, cost)
        };
        Ok(nodes.iter().map(of).collect())
    }

    async fn check_account(&self) -> Result<Vec<Finding>, Error> {
        self.try_account().await
    }

    async fn prices(&self, options: &Value) -> Result<Prices, Error> {
        let options = Options::decode(options)?;
        let here = |size: &&Size| size.available && size.regions.contains(&options.region);
        let row = |size: &Size| {
            vec![
                json!(size.slug),
                // In GB.
                number(f64::from(u32::try_from(size.memory).unwrap_or(u32::MAX)) / 1024.0),
                json!(size.vcpus),
                json!(size.disk),
                number(size.transfer),
                json!(size.price_hourly),
            ]
        };
        let sizes = self.sizes().await?;
        let months = sizes.iter().filter(here).map(|s| number(s.price_monthly));
        Ok(Prices {
            currency: "USD".to_owned(),
            includes: Vec::new(),
            columns: ["size", "memory", "cores", "disk", "transfer", "cost"]
                .map(str::to_owned)
                .to_vec(),
            rows: sizes.iter().filter(here).map(row).collect(),
            months: months.collect(),
        })
    }

    async fn cache_key(&self) -> Option<String> {
        let token = self.token().ok()?;
        Some(format!("{}\n{}\n{token}", self.prefix, url()))
    }

    async fn list(&self) -> Result<Vec<Node>, Error> {
        let droplets = self.droplets().await?;
        Ok(droplets
            .iter()
            .filter_map(|droplet| self.node(droplet))
            .collect())
    }

    async fn find(&self, node: &Node) -> Result<Option<Node>, Error> {
        let Some(droplet) = self.with_id(&node.id).await? else {
            return Ok(None);
        };
        if !has(&droplet, TAG) {
            return Err(node.unrecognized(format!("its tag `{TAG}` is missing")));
        }
        if let Some(found) = self.node(&droplet) {
            return Ok(Some(found));
        }
        let tagged = noted(&droplet, TAG_PREFIX);
        let cause = tag::no_name_cause(&droplet.name, &self.prefix, tagged.as_deref());
        Err(node.unrecognized(cause))
    }

    async fn create(&self, create: &Create, activity: &Activity) -> Result<Node, Error> {
        let options = Options::decode(&create.options)?;
        let droplet = match (
            self.named(&create.name, Instant::now()).await?,
            &create.unfinished,
        ) {
            (Some(droplet), _) => droplet,
            // Not listed, or being deleted.
            (None, Some(unfinished)) => self.droplet(unfinished).await?,
            (None, None) => {
                activity.update("ordering");
                match self.make(create, &options).await {
                    Ok(droplet) => droplet,
                    Err(Error::Api(error, help)) if error.is_unclear() => {
                        activity.update("checking whether the order was received");
                        let found = self.appears(&create.name).await?;
                        found.ok_or(Error::Api(error, help))?
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let node = self
            .node(&droplet)
            .ok_or_else(|| failed("finding it again", "it has another name"))?;
        refuse_other_server(&node, create)?;
        if has(&droplet, TAG_FAILED) {
            self.set_tag(&node, TAG_FAILED, false).await?;
        }
        Ok(node)
    }

    async fn settle(&self, node: &Node, is_ready: bool) -> Result<(), Error> {
        if is_ready {
            self.assign_address(node).await?;
            self.set_tag(node, TAG_CREATING, false).await
        } else {
            self.set_tag(node, TAG_FAILED, true).await
        }
    }

    async fn terminate(&self, node: &Node) -> Result<(), Error> {
        match look_again(self, node).await {
            Ok(found) => refuse_protected([&found])?,
            Err(Error::Gone { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.destroy(node).await
    }

    async fn reboot(&self, node: &Node) -> Result<(), Error> {
        look_again(self, node).await?;
        let is_off = self.droplet(node).await?.status == "off";
        let what = if is_off { "power_on" } else { "reboot" };
        self.act(node, json!({"type": what})).await
    }

    async fn start(&self, node: &Node) -> Result<(), Error> {
        look_again(self, node).await?;
        if self.droplet(node).await?.status != "off" {
            return Ok(());
        }
        self.act(node, json!({"type": "power_on"})).await
    }

    async fn rename(&self, node: &Node, name: &str) -> Result<(), Error> {
        look_again(self, node).await?;
        let name = format!("{}{name}", self.prefix);
        self.act(node, json!({"type": "rename", "name": name}))
            .await
    }

    async fn adopt(&self, node: &Node, owner: &Owner) -> Result<(), Error> {
        look_again(self, node).await?;
        let droplet = self.droplet(node).await?;
        let wanted = self.owner_tags(owner);
        let is_wanted = |tag: &String| wanted.iter().any(|w| w.eq_ignore_ascii_case(tag));
        // The old ones go first. Without a project the droplet is legacy, which no project touches:
        // an adoption that was interrupted can be made again.
        for old in droplet.tags.iter().filter(|tag| is_owner_tag(tag)) {
            if !is_wanted(old) {
                self.set_tag(node, old, false).await?;
            }
        }
        for new in &wanted {
            self.set_tag(node, new, true).await?;
        }
        Ok(())
    }

    fn changes(&self, node: &Node, options: &Value) -> Result<Vec<ServerChange>, Invalid> {
        let wanted = Options::decode(options)?;
        Ok(differences([
            ("size", &node.size, &wanted.size, true),
            ("image", &node.image, &wanted.image, false),
            ("region", &node.region, &wanted.region, false),
        ]))
    }

    async fn check_resize(&self, node: &Node, options: &Value) -> Result<(), Error> {
        let size = Options::decode(options)?.size;
        let sizes = self.sizes().await?;
        let Some(known) = sizes.iter().find(|known| known.slug == size) else {
            let slugs = sizes.iter().map(|known| known.slug.as_str());
            return Err(Error::missing("size", &size, slugs, Some(LIST)));
        };
        if !known.regions.contains(&node.region) {
            let text = format!("size `{size}` is not available in region `{}`", node.region);
            return Err(Error::invalid(text, None));
        }
        Ok(())
    }

    async fn resize(&self, node: &Node, options: &Value) -> Result<(), Error> {
        look_again(self, node).await?;
        self.check_resize(node, options).await?;
        self.resize_stopped(node, &Options::decode(options)?.size)
            .await
    }

    fn has_firewalls(&self) -> bool {
        true
    }

    async fn firewalls(&self, nodes: &[Node]) -> Result<HashMap<String, CloudFirewall>, Error> {
        self.droplet_firewalls(nodes).await
    }

    async fn images(&self) -> Result<Vec<SavedImage>, Error> {
        self.saved_images().await
    }

    async fn create_image(
        &self,
        create: &CreateImage,
        activity: &Activity,
    ) -> Result<SavedImage, Error> {
        self.take_snapshot(create, |what| activity.update(what))
            .await
    }

    async fn delete_image(&self, image: &SavedImage) -> Result<(), Error> {
        self.delete_snapshot(image).await
    }

    async fn console(&self, node: &Node) -> Result<String, Error> {
        Err(Error::Unsupported {
            provider: NAME.to_owned(),
            what: "read the console of a server",
            help: format!(
                "DigitalOcean's API has no console; open the recovery console: \
                 https://cloud.digitalocean.com/droplets/{}/console",
                node.id
            ),
        })
    }

    async fn volumes(&self) -> Result<Vec<Volume>, Error> {
        self.list_volumes().await
    }

    async fn find_volume(&self, volume: &Volume) -> Result<Option<Volume>, Error> {
        self.volume_again(volume).await
    }

    async fn create_volume(&self, create: &CreateVolume) -> Result<Volume, Error> {
        self.order_volume(create).await
    }

    async fn attach_volume(&self, volume: &Volume, node: &Node) -> Result<Volume, Error> {
        self.attach_storage(volume, node).await
    }

    async fn detach_volume(&self, volume: &Volume) -> Result<(), Error> {
        self.detach_storage(volume).await
    }

    async fn grow_volume(&self, volume: &Volume, size: u32) -> Result<(), Error> {
        self.grow_storage(volume, size).await
    }

    async fn delete_volume(&self, volume: &Volume) -> Result<(), Error> {
        self.delete_storage(volume).await
    }

    fn adopt_volume_help(&self, volume: &Volume, owner: &Owner) -> String {
        DigitalOcean::adopt_storage_help(volume, owner)
    }

    async fn login(&self, node: &Node) -> Result<Login, Error> {
        Ok(Login {
            name: node.name.clone(),
            address: node.ip_text(),
            user: node.user.clone().or_else(|| Some(USER.to_owned())),
            identity: Some(KeyPair::ensure(&self.data.join("id_ed25519"))?.path),
            // DigitalOcean reuses addresses, but never ids.
            host_key_alias: Some(format!("{NAME}-{}", node.id)),
            ..Login::default()
        })
    }

    async fn set_up(&self, activity: &Activity) -> Result<(), Error> {
        activity.update("checking the account");
        self.ask(ApiRequest::get("/v2/account")).await.map(drop)
    }
}

fn failed(what: &str, cause: &str) -> Error {
    Error::Failed {
        provider: NAME.to_owned(),
        what: what.to_owned(),
        cause: cause.to_owned(),
    }
}

/// The rest of the droplet's tag that begins with `prefix`, decoded. The cloud ignores the case
/// of tags, and keeps the spelling of the first use.
fn noted(droplet: &Droplet, prefix: &str) -> Option<String> {
    noted_in(&droplet.tags, prefix)
}

/// The same of the tags of anything.
fn noted_in(tags: &[String], prefix: &str) -> Option<String> {
    tags.iter().find_map(|text| {
        let (start, rest) = text.split_at_checked(prefix.len())?;
        let is_it = start.eq_ignore_ascii_case(prefix);
        is_it.then(|| tag::decode(&rest.to_lowercase()))?
    })
}

/// Whether a tag names an owner or a prefix.
fn is_owner_tag(text: &str) -> bool {
    [TAG_PROJECT, TAG_MANIFEST, TAG_PREFIX].iter().any(|key| {
        let start = text.get(..key.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(key))
    })
}

fn has(droplet: &Droplet, tag: &str) -> bool {
    has_tag(&droplet.tags, tag)
}

fn has_tag(tags: &[String], tag: &str) -> bool {
    tags.iter().any(|t| t.eq_ignore_ascii_case(tag))
}

/// What a droplet costs, whether it runs or not.
fn cost(droplet: &Droplet) -> Cost {
    let Some(size) = droplet.size else {
        return Cost::Unknown;
    };
    let mut price = Price::new("USD", size.price_hourly, size.price_monthly);
    // A share of the droplet's price, which depends on how often they are made
    // (<https://docs.digitalocean.com/products/backups/details/pricing/>).
    if droplet.features.iter().any(|feature| feature == "backups") {
        price.unknown.push("backups".to_owned());
    }
    Cost::Price(price)
}
