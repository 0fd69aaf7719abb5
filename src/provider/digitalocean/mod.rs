//! DigitalOcean's droplets, by version 2 of its API
//! (<https://docs.digitalocean.com/reference/api/digitalocean/>).
//!
//! A droplet's name is our prefix and the server's name; that it is ours, that it is being made,
//! its manifest and that it is protected are tags, which the creating call sets. The API has no
//! way to ask twice for the same droplet, so whoever does not know whether it was made looks for
//! its name.

mod options;
mod token;
mod wire;

use std::{
    collections::BTreeMap,
    env,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use options::Options;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep},
};
use wire::{Action, Droplet, Image, Key, Region, Size};

use super::{
    Cost, Create, Error, Node, NodeState, Price, Prices, Provider, ServerChange, differences,
    number, tag,
};
use crate::{
    diagnostic::did_you_mean,
    event::Activity,
    http::{self, Api, Ask, Method},
    ssh::{KeyPair, Login},
    value::{Invalid, Value},
};

/// The provider's name.
const NAME: &str = "digitalocean";

/// Where the API is, unless `DIGITALOCEAN_API_URL` says otherwise, as it does to doctl.
const URL: &str = "https://api.digitalocean.com";

/// The tags of a droplet.
const TAG: &str = "hitc";
const TAG_CREATING: &str = "hitc:creating";
const TAG_FAILED: &str = "hitc:failed";
const TAG_PROTECT: &str = "hitc:protect";
const TAG_MANIFEST: &str = "hitc:manifest:";
/// The image in the user's words: what the API says of it may change.
const TAG_IMAGE: &str = "hitc:image:";

/// How many things a page has, at most (`per_page`).
const PAGE: usize = 200;

/// How often a list is read again that changed meanwhile.
const LISTINGS: usize = 5;

/// How long a droplet may take to be listed after an order whose answer was lost.
const APPEAR_TIMEOUT: Duration = Duration::from_mins(1);
const APPEAR_PAUSE: Duration = Duration::from_secs(2);

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
    api: OnceLock<Result<Arc<Api>, Error>>,
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

    fn api(&self) -> Result<Arc<Api>, Error> {
        let make = || {
            let token = token::find(&self.home)?;
            let url = env::var("DIGITALOCEAN_API_URL").unwrap_or_else(|_| URL.to_owned());
            Api::new("DigitalOcean", &url, &token)
                .map(Arc::new)
                .map_err(explain)
        };
        self.api.get_or_init(make).clone()
    }

    async fn ask(&self, ask: Ask) -> Result<Json, Error> {
        self.api()?.send(&ask).await.map_err(explain)
    }

    /// What stands under a key of an answer.
    async fn read<T: DeserializeOwned>(&self, ask: Ask, key: &str) -> Result<T, Error> {
        let what = format!("{} {}", ask.method, ask.path);
        decode(self.ask(ask).await?, key, &what)
    }

    /// All pages of a list. `path` has a query already.
    async fn all<T: DeserializeOwned>(&self, path: &str, key: &str) -> Result<Vec<T>, Error> {
        for _ in 0..LISTINGS {
            let (mut all, mut is_steady, mut total) = (Vec::new(), true, None);
            for page in 1.. {
                let path = format!("{path}&per_page={PAGE}&page={page}");
                let answer = self.ask(Ask::get(&path)).await?;
                let now = answer["meta"]["total"].as_u64();
                is_steady &= *total.get_or_insert(now) == now;
                let is_last = answer["links"]["pages"]["next"].as_str().is_none();
                let mut found: Vec<T> = decode(answer, key, &path)?;
                all.append(&mut found);
                if is_last {
                    break;
                }
            }
            // What came or went while it was read may have moved something from page to page.
            let is_whole = total
                .flatten()
                .is_none_or(|total| total == all.len() as u64);
            if is_steady && is_whole {
                return Ok(all);
            }
        }
        Err(Error::Failed {
            provider: NAME.to_owned(),
            what: format!("listing {key}"),
            cause: "they change faster than they can be read".to_owned(),
        })
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

    /// hitc's own key among those of the account; put there if it is not.
    async fn key(&self) -> Result<u64, Error> {
        let pair = KeyPair::ensure(&self.data.join("id_ed25519"))?;
        let text = words(&pair.public);
        for is_last in [false, true] {
            let keys: Vec<Key> = self.all("/v2/account/keys?", "ssh_keys").await?;
            if let Some(key) = keys.iter().find(|key| words(&key.public_key) == text) {
                return Ok(key.id);
            }
            let body = json!({"name": "hitc", "public_key": pair.public});
            let added = self
                .read::<Key>(Ask::post("/v2/account/keys", body).repeatable(), "ssh_key")
                .await;
            match added {
                Ok(key) => return Ok(key.id),
                // Somebody was faster, or an answer was lost.
                Err(Error::Api(error, _)) if error.status() == Some(422) && !is_last => {}
                Err(error) => return Err(error),
            }
        }
        Err(failed(
            "adding hitc's key",
            "it is in use, and is not listed",
        ))
    }

    /// Looks for a while whether there is a droplet of this name. It is never ordered again: names
    /// are not unique, and the list may lag behind.
    async fn appears(&self, name: &str) -> Result<Option<Droplet>, Error> {
        let end = Instant::now() + APPEAR_TIMEOUT;
        loop {
            let found = self.find(name).await?;
            if found.is_some() || Instant::now() > end {
                return Ok(found);
            }
            sleep(APPEAR_PAUSE).await;
        }
    }

    async fn make(&self, create: &Create, options: &Options) -> Result<Droplet, Error> {
        let mut keys = vec![json!(self.key().await?)];
        keys.extend(options.ssh_keys.iter().map(|key| json!(key)));
        let mut tags = vec![TAG.to_owned(), TAG_CREATING.to_owned()];
        tags.extend(options.tags.iter().cloned());
        if options.protect {
            tags.push(TAG_PROTECT.to_owned());
        }
        tags.push(format!("{TAG_IMAGE}{}", tag::encode(&options.image)));
        for (key, value) in &create.tags {
            tags.push(format!("{TAG}:{key}:{}", tag::encode(value)));
        }
        let image = match options.image.parse::<u64>() {
            Ok(number) => json!(number),
            Err(_) => match self.own_image(&options.image).await? {
                Some(image) => json!(image.id),
                None => json!(options.image),
            },
        };
        let mut body = json!({
            "name": format!("{}{}", self.prefix, create.name),
            "region": options.region,
            "size": options.size,
            "image": image,
            "ssh_keys": keys,
            "tags": tags,
            "monitoring": options.monitoring,
        });
        if let Some(vpc) = &options.vpc {
            body["vpc_uuid"] = json!(vpc);
        }
        self.read(Ask::post("/v2/droplets", body), "droplet").await
    }

    /// An image of the user's own of this name.
    async fn own_image(&self, name: &str) -> Result<Option<Image>, Error> {
        // A slug has no spaces; a name may look like one.
        if name.ends_with("-x64") {
            return Ok(None);
        }
        let images: Vec<Image> = self.all("/v2/images?private=true", "images").await?;
        let is_it = |image: &Image| image.name.as_deref() == Some(name);
        Ok(images.into_iter().find(is_it))
    }

    async fn sizes(&self) -> Result<&[Size], Error> {
        let read = || self.all("/v2/sizes?", "sizes");
        self.sizes.get_or_try_init(read).await.map(Vec::as_slice)
    }

    /// Is there such an image?
    async fn check_image(&self, image: &str, region: &str) -> Result<(), Error> {
        let asked = self
            .read::<Image>(Ask::get(format!("/v2/images/{}", path(image))), "image")
            .await;
        let found = match asked {
            Ok(image) => Some(image),
            Err(Error::Api(error, _)) if error.status() == Some(404) => {
                self.own_image(image).await?
            }
            Err(error) => return Err(error),
        };
        let Some(found) = found else {
            let images: Vec<Image> = self.all("/v2/images?type=distribution", "images").await?;
            let slugs: Vec<String> = images.into_iter().filter_map(|i| i.slug).collect();
            return Err(missing("image", image, slugs.iter().map(String::as_str)));
        };
        if !found.regions.is_empty() && !found.regions.iter().any(|slug| slug == region) {
            let text = format!("image: `{image}` is not in the region `{region}`");
            return Err(refuse(
                text,
                Some(format!("it is in {}", found.regions.join(", "))),
            ));
        }
        Ok(())
    }

    /// Has something done to a droplet, and waits until it is.
    async fn act(&self, node: &Node, body: Json) -> Result<(), Error> {
        let path = format!("/v2/droplets/{}/actions", node.id);
        let what = body["type"].as_str().unwrap_or_default().to_owned();
        let mut action: Action = self.read(Ask::post(&path, body), "action").await?;
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
            action = self.read(Ask::get(&path), "action").await?;
        }
    }

    async fn droplet(&self, node: &Node) -> Result<Droplet, Error> {
        let path = format!("/v2/droplets/{}", node.id);
        self.read(Ask::get(path), "droplet").await
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
            let new = Ask::post("/v2/tags", json!({"name": tag})).repeatable();
            self.ask(new).await?;
            self.ask(Ask::post(path, body).repeatable()).await.map(drop)
        } else {
            let taken = self.ask(Ask::new(Method::DELETE, path, Some(body))).await;
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
        let full = format!("{}{name}", self.prefix);
        let is_good = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
        if !full.chars().all(is_good) {
            let text = format!("name: DigitalOcean does not allow `{full}`");
            let help = "the prefix too has letters, digits, dots and dashes only".to_owned();
            return Err(refuse(text, Some(help)));
        }
        let options = Options::decode(options)?;
        let sizes = self.sizes().await?;
        let Some(size) = sizes.iter().find(|size| size.slug == options.size) else {
            let slugs = sizes.iter().map(|size| size.slug.as_str());
            return Err(missing("size", &options.size, slugs));
        };
        let regions: Vec<Region> = self.all("/v2/regions?", "regions").await?;
        let open = || regions.iter().filter(|region| region.available);
        if !open().any(|region| region.slug == options.region) {
            let slugs = open().map(|region| region.slug.as_str());
            return Err(missing("region", &options.region, slugs));
        }
        if !size.available || !size.regions.contains(&options.region) {
            let (size, region) = (&options.size, &options.region);
            let there = sizes
                .iter()
                .find(|s| s.slug == *size)
                .map(|s| s.regions.join(", "));
            let text = format!("size: there is no `{size}` in the region `{region}` at present");
            return Err(refuse(text, there.map(|there| format!("it is in {there}"))));
        }
        self.check_image(&options.image, &options.region).await?;
        Ok(Cost::Price(Price {
            currency: "USD".to_owned(),
            hour: size.price_hourly,
            month: size.price_monthly,
        }))
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
        gone_is_fine(self.ask(Ask::delete(path)).await)
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
            return Err(missing(
                "size",
                &size,
                sizes.iter().map(|s| s.slug.as_str()),
            ));
        };
        if !known.regions.contains(&node.region) {
            let text = format!("size: there is no `{size}` in the region `{}`", node.region);
            return Err(refuse(text, None));
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
        self.ask(Ask::get("/v2/account")).await.map(drop)
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

/// Type and data of a public key; the comment may differ.
fn words(key: &str) -> Vec<&str> {
    key.split_whitespace().take(2).collect()
}

/// A name as a part of a path.
fn path(name: &str) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn decode<T: DeserializeOwned>(mut answer: Json, key: &str, what: &str) -> Result<T, Error> {
    let found = answer.get_mut(key).map(Json::take).unwrap_or_default();
    serde_json::from_value(found).map_err(|error| Error::Failed {
        provider: NAME.to_owned(),
        what: what.to_owned(),
        cause: format!("the answer is not what it should be: `{key}`: {error}"),
    })
}

/// What is gone already need not be removed.
fn gone_is_fine(result: Result<Json, Error>) -> Result<(), Error> {
    match result {
        Err(Error::Api(error, _)) if error.status() == Some(404) => Ok(()),
        result => result.map(drop),
    }
}

fn explain(error: http::Error) -> Error {
    let help = match error.status() {
        Some(401) => Some(
            "the token in DIGITALOCEAN_TOKEN, or doctl's, is wrong or has expired; make a new one \
             at https://cloud.digitalocean.com/account/api/tokens",
        ),
        Some(403) => Some("the token may not do this; make one that may write"),
        _ => None,
    };
    Error::Api(error, help.map(str::to_owned))
}

fn refuse(text: String, help: Option<String>) -> Error {
    Error::Invalid(Invalid {
        message: text,
        span: None,
        help,
    })
}

fn missing<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Error {
    let help = did_you_mean(name, known.clone()).or_else(|| {
        let list = "`hitc run pricing provider=digitalocean` lists the sizes".to_owned();
        match what {
            "size" => Some(list),
            _ => Some(format!("there is {}", known.collect::<Vec<_>>().join(", "))),
        }
    });
    refuse(format!("{what}: there is no `{name}`"), help)
}
