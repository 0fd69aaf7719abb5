//! What a container should be: the options of `docker.run` and of a manifest's container.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::docker::{Port, Ready};

/// The version of [`Spec::digest`]'s form. Containers labelled with another one are compared by
/// what they are, never made anew because hitc changed.
const DIGEST_VERSION: &str = "v1";

/// Where a container's image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// By name, from a registry or from what is there already.
    Named(String),
    /// Built on this machine from a folder with a Dockerfile.
    Built {
        /// The folder.
        folder: PathBuf,
        /// The name it gets: it contains a digest of the folder's content.
        name: String,
    },
}

impl Image {
    /// The name the engine knows it by.
    pub fn name(&self) -> &str {
        match self {
            Image::Named(name) | Image::Built { name, .. } => name,
        }
    }
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// When the server does not have it.
    Missing,
    /// Not at all.
    Never,
}

/// When the engine starts a container again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Not at all.
    No,
    /// When it fails.
    OnFailure,
    /// Always, but not after somebody stopped it.
    UnlessStopped,
    /// Always.
    Always,
}

impl Restart {
    /// All of them.
    pub(super) const ALL: [Restart; 4] = [
        Restart::No,
        Restart::OnFailure,
        Restart::UnlessStopped,
        Restart::Always,
    ];

    /// The engine's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Restart::No => "no",
            Restart::OnFailure => "on-failure",
            Restart::UnlessStopped => "unless-stopped",
            Restart::Always => "always",
        }
    }
}

/// Something of the server's that the container sees.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Volume {
    /// A path on the server, or the name of a volume.
    pub host: String,
    /// The path inside the container.
    pub container: String,
    /// The container cannot write to it.
    pub read_only: bool,
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.container)?;
        if self.read_only {
            f.write_str(":ro")?;
        }
        Ok(())
    }
}

/// What a container should be. Only what the user wrote is set; the rest is the image's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The container's name.
    pub name: String,
    /// Where its image comes from.
    pub image: Image,
    /// The command, instead of the image's.
    pub command: Option<Vec<String>>,
    /// The entry point, instead of the image's.
    pub entrypoint: Option<Vec<String>>,
    /// Environment variables, beside the image's.
    pub environment: BTreeMap<String, String>,
    /// Published ports.
    pub ports: BTreeSet<Port>,
    /// What of the server it sees.
    pub volumes: BTreeSet<Volume>,
    /// Memory limit in bytes.
    pub max_memory: Option<u64>,
    /// Limit of processor time, in billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// Its host name.
    pub hostname: Option<String>,
    /// The user it runs as.
    pub user: Option<String>,
    /// Whether it may do everything.
    pub privileged: bool,
    /// The user's own labels.
    pub labels: BTreeMap<String, String>,
    /// When the engine starts it again.
    pub restart: Restart,
    /// How long it has to stop, in seconds.
    pub stop_timeout: Option<u64>,
    /// When its image is pulled.
    pub pull: Pull,
    /// How to tell that it is ready.
    pub ready: Ready,
    /// The fields whose values are not shown.
    pub masked: BTreeSet<String>,
}

impl Spec {
    /// A container that is nothing but its name and its image.
    pub fn new(name: impl Into<String>, image: Image) -> Self {
        Spec {
            name: name.into(),
            image,
            command: None,
            entrypoint: None,
            environment: BTreeMap::new(),
            ports: BTreeSet::new(),
            volumes: BTreeSet::new(),
            max_memory: None,
            nano_cpus: None,
            hostname: None,
            user: None,
            privileged: false,
            labels: BTreeMap::new(),
            restart: Restart::UnlessStopped,
            stop_timeout: None,
            pull: Pull::Missing,
            ready: Ready::default(),
            masked: BTreeSet::new(),
        }
    }

    /// What the container is recognized by: a digest of everything that cannot be changed while
    /// it runs. The order in which things were written makes no difference; how readiness is
    /// checked, when the image is pulled, and what can be changed in place do not count.
    pub fn digest(&self) -> String {
        let canonical = json!({
            "image": self.image.name(),
            "command": self.command,
            "entrypoint": self.entrypoint,
            "environment": self.environment,
            "ports": self.ports.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "volumes": self.volumes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "hostname": self.hostname,
            "user": self.user,
            "privileged": self.privileged,
            "labels": self.labels,
            "stop_timeout": self.stop_timeout,
        });
        let digest = Sha256::digest(canonical.to_string());
        format!("{DIGEST_VERSION}:{}", HEXLOWER.encode(&digest))
    }

    /// The names of what the user set, for the label that tells later what was removed.
    pub fn keys(&self) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        let mut set = |key: &str, is_set: bool| {
            if is_set {
                keys.insert(key.to_owned());
            }
        };
        set("command", self.command.is_some());
        set("entrypoint", self.entrypoint.is_some());
        set("hostname", self.hostname.is_some());
        set("user", self.user.is_some());
        set("stop_timeout", self.stop_timeout.is_some());
        keys.extend(
            self.environment
                .keys()
                .map(|key| format!("environment.{key}")),
        );
        keys.extend(self.labels.keys().map(|key| format!("labels.{key}")));
        keys
    }
}
