//! DigitalOcean's droplets, by version 2 of its API
//! (<https://docs.digitalocean.com/reference/api/digitalocean/>).
//!
//! A droplet's name is our prefix and the server's name; that it is ours, that it is being made,
//! its manifest and that it is protected are tags, which the creating call sets. The API has no
//! way to ask twice for the same droplet, so whoever does not know whether it was made looks for
//! its name.

mod client;
mod options;
mod order;
mod token;
mod wire;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use client::gone_is_fine;
use options::Options;
use serde_json::{Value as Json, json};
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep},
};
use wire::{Action, Droplet, Size};

use super::{
    Cost, Create, Error, Node, NodeState, Prices, Provider, ServerChange, differences, number, tag,
};
use crate::{
    core::{
        event::Activity,
        value::{Invalid, Value},
    },
    http::{ApiRequest, JsonApi, Method},
    ssh::{KeyPair, Login},
};

/// The provider's name.
const NAME: &str = "digitalocean";

/// Where the sizes are listed.
const LIST: &str = "`hitc run pricing provider=digitalocean` lists the sizes";

/// The tags of a droplet.
const TAG: &str = "hitc";
const TAG_CREATING: &str = "hitc:creating";
const TAG_FAILED: &str = "hitc:failed";
const TAG_PROTECT: &str = "hitc:protect";
const TAG_MANIFEST: &str = "hitc:manifest:";
/// The image in the user's words: what the API says of it may change.
const TAG_IMAGE: &str = "hitc:image:";

/// How long an action may take, and how long it is left alone before it is asked for first.
const ACTION_TIMEOUT: Duration = Duration::from_mins(5);
const ACTION_PAUSE: Duration = Duration::from_millis(200);
const ACTION_PAUSE_MOST: Duration = Duration::from_secs(5);

/// How long a droplet has to shut down before its power is cut.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_mins(1);

/// The DigitalOcean provider.
pub struct DigitalOcean {
    prefix: String,
    data: PathBuf,
    home: PathBuf,
    api: OnceLock<Result<Arc<JsonApi>, Error>>,
    sizes: OnceCell<Vec<Size>>,
}

impl DigitalOcean {
    /// Droplets whose names begin with `prefix`. hitc's key is in `data`, doctl's configuration
    /// below `home`.
    pub fn new(prefix: impl Into<String>, data: PathBuf, home: PathBuf) -> Self {
        DigitalOcean {
            prefix: prefix.into(),
            data,
            home,
            api: OnceLock::new(),
            sizes: OnceCell::new(),
        }
    }

    async fn droplets(&self, query: &str) -> Result<Vec<Droplet>, Error> {
        let path = format!("/v2/droplets?{query}");
        let droplets: Vec<Droplet> = self.all(&path, "droplets").await?;
        // By identifier: one that moved to the next page is listed twice.
        let by_id: BTreeMap<u64, Droplet> = droplets.into_iter().map(|d| (d.id, d)).collect();
        Ok(by_id.into_values().collect())
    }

    /// Our droplet of this name, if there is one.
    async fn find(&self, name: &str) -> Result<Option<Droplet>, Error> {
        let full = format!("{}{name}", self.prefix);
        let droplets = self.droplets(&format!("name={full}")).await?;
        let ours = |droplet: &Droplet| droplet.name == full && has(droplet, TAG);
        Ok(droplets.into_iter().find(ours))
    }

    fn node(&self, droplet: &Droplet) -> Option<Node> {
        let name = droplet.name.strip_prefix(&self.prefix)?;
        let noted = |prefix: &str| {
            let mut tags = droplet.tags.iter();
            tags.find_map(|tag| tag::decode(tag.strip_prefix(prefix)?))
        };
        let state = match droplet.status.as_str() {
            "off" | "archive" => NodeState::Stopped,
            "active" if has(droplet, TAG_FAILED) => NodeState::Failed,
            "active" if has(droplet, TAG_CREATING) => NodeState::Unfinished,
            "active" => NodeState::Running,
            _ => NodeState::Creating,
        };
        let image = &droplet.image;
        Some(Node {
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
            manifest: noted(TAG_MANIFEST),
            is_protected: has(droplet, TAG_PROTECT),
        })
    }

    /// Has something done to a droplet, and waits until it is.
    async fn act(&self, node: &Node, body: Json) -> Result<(), Error> {
        let path = format!("/v2/droplets/{}/actions", node.id);
        let what = body["type"].as_str().unwrap_or_default().to_owned();
        let mut action: Action = self.read(ApiRequest::post(&path, body), "action").await?;
        let path = format!("{path}/{}", action.id);
        let (end, mut pause) = (Instant::now() + ACTION_TIMEOUT, ACTION_PAUSE);
        loop {
            match action.status.as_str() {
                "completed" => return Ok(()),
                "in-progress" if Instant::now() < end => {}
                "in-progress" => {
                    let cause = format!("it is not done after {} s", ACTION_TIMEOUT.as_secs());
                    return Err(failed(&format!("{what} of `{}`", node.name), &cause));
                }
                other => {
                    let cause = format!("DigitalOcean says `{other}`");
                    return Err(failed(&format!("{what} of `{}`", node.name), &cause));
                }
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(ACTION_PAUSE_MOST);
            action = self.read(ApiRequest::get(&path), "action").await?;
        }
    }

    async fn droplet(&self, node: &Node) -> Result<Droplet, Error> {
        let path = format!("/v2/droplets/{}", node.id);
        self.read(ApiRequest::get(path), "droplet").await
    }

    /// Shuts a droplet down, and cuts its power if that takes too long.
    async fn stop(&self, node: &Node) -> Result<(), Error> {
        if self.droplet(node).await?.status == "off" {
            return Ok(());
        }
        // Whatever comes of it: there is a harder way.
        let _ = self.act(node, json!({"type": "shutdown"})).await;
        let (end, mut pause) = (Instant::now() + SHUTDOWN_TIMEOUT, ACTION_PAUSE);
        while Instant::now() < end {
            if self.droplet(node).await?.status == "off" {
                return Ok(());
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(ACTION_PAUSE_MOST);
        }
        self.act(node, json!({"type": "power_off"})).await
    }

    /// Gives a droplet a tag, or takes it away.
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

    async fn prices(&self, options: &Value) -> Result<Prices, Error> {
        let options = Options::decode(options)?;
        let here = |size: &&Size| size.available && size.regions.contains(&options.region);
        let row = |size: &Size| {
            vec![
                json!(size.slug),
                // In GB, as the seed of this table has it.
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
            columns: ["size", "memory", "cores", "disk", "transfer", "cost"]
                .map(str::to_owned)
                .to_vec(),
            rows: sizes.iter().filter(here).map(row).collect(),
            months: months.collect(),
        })
    }

    async fn list(&self) -> Result<Vec<Node>, Error> {
        let droplets = self.droplets(&format!("tag_name={TAG}")).await?;
        Ok(droplets
            .iter()
            .filter_map(|droplet| self.node(droplet))
            .collect())
    }

    async fn create(&self, create: &Create, activity: &Activity) -> Result<Node, Error> {
        let options = Options::decode(&create.options)?;
        let droplet = match self.find(&create.name).await? {
            Some(droplet) => droplet,
            None => {
                activity.update("ordering");
                match self.make(create, &options).await {
                    Ok(droplet) => droplet,
                    Err(Error::Api(error, help)) if error.is_unclear() => {
                        activity.update("looking whether the order was heard");
                        let found = self.appears(&create.name).await?;
                        found.ok_or(Error::Api(error, help))?
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let node = self
            .node(&droplet)
            .ok_or_else(|| failed("finding it again", "its name is another"))?;
        if has(&droplet, TAG_FAILED) {
            self.set_tag(&node, TAG_FAILED, false).await?;
        }
        Ok(node)
    }

    async fn settle(&self, node: &Node, is_ready: bool) -> Result<(), Error> {
        if is_ready {
            self.set_tag(node, TAG_CREATING, false).await
        } else {
            self.set_tag(node, TAG_FAILED, true).await
        }
    }

    async fn terminate(&self, node: &Node) -> Result<(), Error> {
        let path = format!("/v2/droplets/{}", node.id);
        gone_is_fine(self.ask(ApiRequest::delete(path)).await)
    }

    async fn reboot(&self, node: &Node) -> Result<(), Error> {
        let is_off = self.droplet(node).await?.status == "off";
        let what = if is_off { "power_on" } else { "reboot" };
        self.act(node, json!({"type": what})).await
    }

    async fn rename(&self, node: &Node, name: &str) -> Result<(), Error> {
        let name = format!("{}{name}", self.prefix);
        self.act(node, json!({"type": "rename", "name": name}))
            .await
    }

    fn changes(&self, node: &Node, options: &Value) -> Result<Vec<ServerChange>, Invalid> {
        let wanted = Options::decode(options)?;
        Ok(differences([
            ("size", &node.size, &wanted.size, true),
            ("image", &node.image, &wanted.image, false),
            ("region", &node.region, &wanted.region, false),
        ]))
    }

    async fn resize(&self, node: &Node, options: &Value) -> Result<(), Error> {
        let size = Options::decode(options)?.size;
        let sizes = self.sizes().await?;
        let Some(known) = sizes.iter().find(|known| known.slug == size) else {
            let slugs = sizes.iter().map(|known| known.slug.as_str());
            return Err(Error::missing("size", &size, slugs, Some(LIST)));
        };
        if !known.regions.contains(&node.region) {
            let text = format!("size: there is no `{size}` in the region `{}`", node.region);
            return Err(Error::invalid(text, None));
        }
        self.stop(node).await?;
        // Without its disk, so that the way back stays open. Whatever comes of it, it runs again.
        let resized = self
            .act(node, json!({"type": "resize", "size": size, "disk": false}))
            .await;
        let started = self.act(node, json!({"type": "power_on"})).await;
        resized.and(started)
    }

    async fn login(&self, node: &Node) -> Result<Login, Error> {
        Ok(Login {
            name: node.name.clone(),
            address: node.ip.clone(),
            user: Some("root".to_owned()),
            identity: Some(KeyPair::ensure(&self.data.join("id_ed25519"))?.path),
            // Addresses are given to others when a droplet is gone; its number never is.
            host_key_alias: Some(format!("{NAME}-{}", node.id)),
            ..Login::default()
        })
    }

    async fn set_up(&self, activity: &Activity) -> Result<(), Error> {
        activity.update("asking DigitalOcean who we are");
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

fn has(droplet: &Droplet, tag: &str) -> bool {
    droplet.tags.iter().any(|t| t.eq_ignore_ascii_case(tag))
}
