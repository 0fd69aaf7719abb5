//! The parts of DigitalOcean's responses that hitc reads.

use serde::{Deserialize, Deserializer};

use crate::provider::Address;

#[derive(Clone, Debug, Deserialize)]
pub struct Droplet {
    pub id: u64,
    pub name: String,
    pub status: String,
    pub created_at: String,
    pub size_slug: String,
    pub size: Option<SizePrice>,
    /// What it has besides its size, such as `backups`.
    #[serde(default)]
    pub features: Vec<String>,
    pub image: Image,
    pub networks: Networks,
    pub region: Region,
    pub tags: Vec<String>,
    /// Whether an action keeps it from being changed.
    #[serde(default)]
    pub locked: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Networks {
    #[serde(default)]
    pub v4: Vec<Network>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Network {
    pub ip_address: String,
    #[serde(rename = "type")]
    pub kind: String,
}

impl Droplet {
    /// The address of this kind, `public` or `private`. None if it has none yet.
    pub fn address(&self, kind: &str) -> Option<Address> {
        let mut all = self.networks.v4.iter();
        let network = all.find(|network| network.kind == kind)?;
        Address::parse_ip(&network.ip_address)
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct Image {
    pub id: u64,
    pub name: Option<String>,
    pub slug: Option<String>,
    #[serde(default)]
    pub regions: Vec<String>,
    #[serde(default, deserialize_with = "list_or_null")]
    pub tags: Vec<String>,
    /// The smallest disk that it fits on, in GB.
    #[serde(default)]
    pub min_disk_size: Option<u64>,
    #[serde(default)]
    pub size_gigabytes: Option<f64>,
    #[serde(default)]
    pub created_at: Option<String>,
    #[serde(default)]
    pub status: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Region {
    pub slug: String,
    #[serde(default)]
    pub available: bool,
}

/// The price of a droplet's size, which the list of sizes lacks if the size is no longer sold.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct SizePrice {
    pub price_hourly: f64,
    pub price_monthly: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Size {
    pub slug: String,
    /// In MB.
    pub memory: u64,
    pub vcpus: u64,
    /// In GB.
    pub disk: u64,
    /// In TB.
    pub transfer: f64,
    pub price_hourly: f64,
    pub price_monthly: f64,
    pub regions: Vec<String>,
    pub available: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Key {
    pub id: u64,
    pub public_key: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Action {
    pub id: u64,
    pub status: String,
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// Reads a list that may be null.
fn list_or_null<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or_default())
}
