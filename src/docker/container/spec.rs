//! The wanted state of a container: the options of `docker.run` and of a container in a manifest.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::{
    options::Options,
    setting::Setting,
    table::{ROWS, Row, Unset},
};
use crate::docker::{Ready, Restart};

/// Where a container's image comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Image {
    /// By name, from a registry or from the images that the server has.
    Named(String),
    /// Built on the local machine from a folder with a Dockerfile.
    Built {
        /// The folder.
        folder: PathBuf,
        /// The name of the image, which contains a digest of the folder's content.
        name: String,
    },
}

impl Image {
    /// The name of the image at the engine.
    pub fn name(&self) -> &str {
        match self {
            Image::Named(name) | Image::Built { name, .. } => name,
        }
    }
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pull {
    /// When the server does not have it.
    #[default]
    Missing,
    /// Also when its registry has another one under its name.
    Check,
    /// Never.
    Never,
}

/// The wanted state of a container. The image and the engine decide about options that are not set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The container's name.
    pub name: String,
    /// Where its image comes from.
    pub image: Image,
    /// The options that are set.
    pub options: Options,
    /// When its image is pulled.
    pub pull: Pull,
    /// How to tell that it is ready.
    pub ready: Ready,
    /// The options whose values are not shown, as `KEY` or `KEY.NAME`.
    pub masked: BTreeSet<String>,
}

impl Spec {
    /// A container with nothing but a name, an image and the default restart policy.
    pub fn new(name: impl Into<String>, image: Image) -> Self {
        let mut options = Options::default();
        options.set_restart(Restart::default());
        Spec {
            name: name.into(),
            image,
            options,
            pull: Pull::Missing,
            ready: Ready::default(),
            masked: BTreeSet::new(),
        }
    }

    /// The digest of all options that cannot change while the container runs. Unset options do not
    /// count, so that a new option of hitc changes no digest.
    pub fn digest(&self) -> String {
        let fixed = self.options.iter().filter(|(row, _)| !row.in_place);
        let fixed: BTreeMap<&str, &Setting> = fixed
            .filter(|(row, setting)| !is_zero(row, setting))
            .map(|(row, setting)| (row.key, setting))
            .collect();
        let canonical = json!([self.image.name(), fixed]);
        hash("v2", &canonical)
    }

    /// Whether a container with this digest in its label was created from an equal spec. Digests
    /// of older versions are understood, so that nothing is replaced because hitc changed.
    pub fn has_digest(&self, label: &str) -> bool {
        match label.split_once(':') {
            Some(("v1", _)) => self.digest_v1().as_deref() == Some(label),
            _ => self.digest() == label,
        }
    }

    /// The digest as the first version formed it; none if the spec sets an option that it did not
    /// have.
    fn digest_v1(&self) -> Option<String> {
        if self.options.iter().any(|(row, _)| !row.in_v1) {
            return None;
        }
        let get = |key: &str| json!(self.options.get(key));
        let canonical = json!({
            "image": self.image.name(),
            "command": get("command"),
            "entrypoint": get("entrypoint"),
            "environment": self.options.environment(),
            "ports": self.options.ports(),
            "volumes": self.options.volumes(),
            "hostname": get("hostname"),
            "user": get("user"),
            "privileged": self.options.get("privileged") == Some(&Setting::Flag(true)),
            "labels": self.options.map("labels"),
            "stop_timeout": get("stop_timeout"),
        });
        Some(hash("v1", &canonical))
    }

    /// The names of the options that are set, for the label that later tells which ones were
    /// removed. Only options that a container shows even if they were not set.
    pub fn keys(&self) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        let options = self.options.iter();
        for (row, setting) in options.filter(|(row, _)| row.unset == Unset::Inherited) {
            match setting {
                Setting::Map(map) => {
                    keys.extend(map.keys().map(|name| format!("{}.{name}", row.key)));
                }
                _ => drop(keys.insert(row.key.to_owned())),
            }
        }
        keys
    }

    /// The environment variables whose values are not shown.
    pub fn masked_environment(&self) -> impl Iterator<Item = (&String, &String)> {
        let variables = self.options.environment().iter();
        variables.filter(|(name, _)| self.masks(&format!("environment.{name}")))
    }

    /// Whether the value of a field is not shown. `field` is `KEY` or `KEY.NAME`.
    pub(super) fn masks(&self, field: &str) -> bool {
        let key = field.split('.').next().unwrap_or(field);
        self.masked.contains(field)
            || self.masked.contains(key)
            || ROWS.iter().any(|row| row.secret && row.key == key)
    }
}

/// Whether a setting is equivalent to an unset option, such as `ports: []`.
fn is_zero(row: &Row, setting: &Setting) -> bool {
    match setting {
        Setting::Flag(flag) => row.unset == Unset::Zero && !flag,
        Setting::Map(map) => map.is_empty(),
        Setting::Ports(ports) => ports.is_empty(),
        Setting::Volumes(volumes) => volumes.is_empty(),
        Setting::Words(words) => row.unset == Unset::Zero && words.is_empty(),
        _ => false,
    }
}

fn hash(version: &str, canonical: &Json) -> String {
    let digest = Sha256::digest(canonical.to_string());
    format!("{version}:{}", HEXLOWER.encode(&digest))
}
