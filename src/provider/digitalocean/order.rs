//! Ordering a droplet: checks, the cost, and the request.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    DigitalOcean, LIST, TAG, TAG_ADDRESS, TAG_CREATING, TAG_IMAGE, TAG_PROTECT, TAG_USER,
    client::path,
    failed, noted_in,
    options::Options,
    wire::{Droplet, Image, Key, Region, Size},
};
use crate::{
    http::ApiRequest,
    provider::{Cost, Create, Error, Price, tag},
    ssh::KeyPair,
};

/// How long a droplet may take to be listed after an order whose response was lost.
const APPEAR_TIMEOUT: Duration = Duration::from_mins(1);
const APPEAR_PAUSE: Duration = Duration::from_secs(2);

impl DigitalOcean {
    /// Checks whether a droplet of this name with these options can be created. Returns its cost.
    pub(super) async fn check(&self, name: &str, options: &Options) -> Result<Cost, Error> {
        let full = format!("{}{name}", self.prefix);
        let is_good = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
        if !full.chars().all(is_good) {
            let text = format!("invalid name `{full}` for DigitalOcean");
            let help =
                "use only letters, digits, dots and dashes, also in the name prefix".to_owned();
            return Err(Error::invalid(text, Some(help)));
        }
        let sizes = self.sizes().await?;
        let Some(size) = sizes.iter().find(|size| size.slug == options.size) else {
            let slugs = sizes.iter().map(|size| size.slug.as_str());
            return Err(Error::missing("size", &options.size, slugs, Some(LIST)));
        };
        let regions: Vec<Region> = self.all("/v2/regions?", "regions").await?;
        let open = || regions.iter().filter(|region| region.available);
        if !open().any(|region| region.slug == options.region) {
            let slugs = open().map(|region| region.slug.as_str());
            return Err(Error::missing("region", &options.region, slugs, None));
        }
        if !size.available || !size.regions.contains(&options.region) {
            let (size, region) = (&options.size, &options.region);
            let there = sizes
                .iter()
                .find(|s| s.slug == *size)
                .map(|s| s.regions.join(", "));
            let text = format!("size `{size}` is not available in region `{region}`");
            return Err(Error::invalid(
                text,
                there.map(|there| format!("it is available in {there}")),
            ));
        }
        self.check_image(&options.image, &options.region, size)
            .await?;
        if let Some(address) = options.address {
            self.check_address(address, &full, &options.region).await?;
        }
        let (hour, month) = (size.price_hourly, size.price_monthly);
        Ok(Cost::Price(Price::new("USD", hour, month)))
    }

    /// The id of hitc's key in the account. Adds the key if it is missing. All orders of a run share it.
    pub(super) async fn key(&self) -> Result<u64, Error> {
        self.key.get_or_try_init(|| self.find_key()).await.copied()
    }

    async fn find_key(&self) -> Result<u64, Error> {
        let pair = KeyPair::ensure(&self.data.join("id_ed25519"))?;
        let text = words(&pair.public);
        for is_last in [false, true] {
            let keys: Vec<Key> = self.all("/v2/account/keys?", "ssh_keys").await?;
            if let Some(key) = keys.iter().find(|key| words(&key.public_key) == text) {
                return Ok(key.id);
            }
            let body = json!({"name": "hitc", "public_key": pair.public});
            let added = self
                .read::<Key>(
                    ApiRequest::post("/v2/account/keys", body).repeatable(),
                    "ssh_key",
                )
                .await;
            match added {
                Ok(key) => return Ok(key.id),
                // Another run added it meanwhile, or a response was lost.
                Err(Error::Api(error, _)) if error.status() == Some(422) && !is_last => {}
                Err(error) => return Err(error),
            }
        }
        Err(failed(
            "adding hitc's key",
            "DigitalOcean reports that the key exists, but does not list it",
        ))
    }

    /// Waits for a droplet of this name to be listed, for a while. The caller must not order again:
    /// names are not unique, and the list may lag behind.
    pub(super) async fn appears(&self, name: &str) -> Result<Option<Droplet>, Error> {
        let end = Instant::now() + APPEAR_TIMEOUT;
        loop {
            let found = self.named(name, Instant::now()).await?;
            if found.is_some() || Instant::now() > end {
                return Ok(found);
            }
            sleep(APPEAR_PAUSE).await;
        }
    }

    /// Orders a droplet.
    pub(super) async fn make(&self, create: &Create, options: &Options) -> Result<Droplet, Error> {
        let mut keys = vec![json!(self.key().await?)];
        keys.extend(options.ssh_keys.iter().map(|key| json!(key)));
        let mut tags = vec![TAG.to_owned(), TAG_CREATING.to_owned()];
        tags.extend(options.tags.iter().cloned());
        if options.protect {
            tags.push(TAG_PROTECT.to_owned());
        }
        tags.push(format!(
            "{TAG_IMAGE}{}",
            tag::encode_caseless(&options.image)
        ));
        tags.extend(self.owner_tags(&create.owner));
        let mut user = options.user.clone();
        let image = match options.image.parse::<u64>() {
            Ok(number) => json!(number),
            Err(_) => match self.saved_snapshot(&options.image).await? {
                Some(image) => {
                    user = user.or_else(|| noted_in(&image.tags, TAG_USER));
                    json!(image.id)
                }
                None => match self.own_image(&options.image).await? {
                    Some(image) => json!(image.id),
                    None => json!(options.image),
                },
            },
        };
        if let Some(address) = options.address {
            let address = tag::encode_caseless(&address.to_string());
            tags.push(format!("{TAG_ADDRESS}{address}"));
        }
        if let Some(user) = &user {
            tags.push(format!("{TAG_USER}{}", tag::encode_caseless(user)));
        }
        let mut body = json!({
            "name": format!("{}{}", self.prefix, create.name),
            "region": options.region,
            "size": options.size,
            "image": image,
            "ssh_keys": keys,
            "tags": tags,
            "monitoring": options.monitoring,
            "ipv6": options.ipv6,
        });
        if let Some(data) = &options.user_data {
            body["user_data"] = json!(data);
        }
        if let Some(vpc) = &options.vpc {
            body["vpc_uuid"] = json!(vpc);
        }
        self.read(ApiRequest::post("/v2/droplets", body), "droplet")
            .await
    }

    /// The user's own image of this name.
    pub(super) async fn own_image(&self, name: &str) -> Result<Option<Image>, Error> {
        // Such a name is a slug of DigitalOcean's.
        if name.ends_with("-x64") {
            return Ok(None);
        }
        let list = || self.all("/v2/images?private=true", "images");
        let is_it = |image: &&Image| image.name.as_deref() == Some(name);
        let images: &Vec<Image> = self.own_images.get_or_try_init(list).await?;
        if let Some(image) = images.iter().find(is_it) {
            return Ok(Some(image.clone()));
        }
        // It may have been made since the list was read.
        Ok(list().await?.iter().find(is_it).cloned())
    }

    pub(super) async fn sizes(&self) -> Result<&[Size], Error> {
        let read = || self.all("/v2/sizes?", "sizes");
        self.sizes.get_or_try_init(read).await.map(Vec::as_slice)
    }

    /// Fails if the image does not exist in the region, or needs a larger disk than the size has.
    pub(super) async fn check_image(
        &self,
        image: &str,
        region: &str,
        size: &Size,
    ) -> Result<(), Error> {
        let found = match self.saved_snapshot(image).await? {
            Some(saved) => saved,
            None => self.find_image(image).await?,
        };
        if !found.regions.is_empty() && !found.regions.iter().any(|slug| slug == region) {
            let text = format!("image `{image}` is not available in region `{region}`");
            return Err(Error::invalid(
                text,
                Some(format!("it is available in {}", found.regions.join(", "))),
            ));
        }
        let least = found.min_disk_size.unwrap_or_default();
        if least > size.disk {
            return Err(Error::invalid(
                format!(
                    "image `{image}` needs a disk of {least} GB, and size `{}` has {} GB",
                    size.slug, size.disk
                ),
                Some(LIST.to_owned()),
            ));
        }
        Ok(())
    }

    /// The image of this slug, number or own name.
    async fn find_image(&self, image: &str) -> Result<Image, Error> {
        let asked = self
            .read::<Image>(
                ApiRequest::get(format!("/v2/images/{}", path(image))),
                "image",
            )
            .await;
        let found = match asked {
            Ok(image) => Some(image),
            Err(Error::Api(error, _)) if error.status() == Some(404) => {
                self.own_image(image).await?
            }
            Err(error) => return Err(error),
        };
        if let Some(found) = found {
            return Ok(found);
        }
        let images: Vec<Image> = self.all("/v2/images?type=distribution", "images").await?;
        let slugs: Vec<String> = images.into_iter().filter_map(|i| i.slug).collect();
        let slugs = slugs.iter().map(String::as_str);
        Err(Error::missing("image", image, slugs, None))
    }
}

/// The type and data of a public key. Comments may differ.
fn words(key: &str) -> Vec<&str> {
    key.split_whitespace().take(2).collect()
}
