//! The value of a container option.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    core::units::{format_bytes, format_cpus},
    docker::{Port, Volume},
};

/// The value of an option. Serialized without a tag: the option's kind says which one it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Setting {
    /// A text.
    Text(String),
    /// A command line.
    Words(Vec<String>),
    /// Yes or no.
    Flag(bool),
    /// A number of bytes.
    Bytes(u64),
    /// Processor time, in billionths of a processor.
    Cpus(u64),
    /// A number of seconds.
    Seconds(u64),
    /// Values by name.
    Map(BTreeMap<String, String>),
    /// Published ports.
    Ports(BTreeSet<Port>),
    /// Mounts.
    Volumes(BTreeSet<Volume>),
}

impl Setting {
    /// The setting as text for the user; none if it is equivalent to an unset option.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Setting::Text(text) => Some(text.clone()),
            Setting::Words(words) => {
                let words = words.iter().map(String::as_str);
                Some(shlex::try_join(words).unwrap_or_default())
            }
            Setting::Flag(flag) => Some(flag.to_string()),
            Setting::Bytes(0) | Setting::Cpus(0) => None,
            Setting::Bytes(bytes) => Some(format_bytes(*bytes)),
            Setting::Cpus(nanos) => Some(format_cpus(*nanos)),
            Setting::Seconds(seconds) => Some(seconds.to_string()),
            Setting::Map(map) => {
                let pairs = map.iter().map(|(key, value)| format!("{key}={value}"));
                joined(pairs)
            }
            Setting::Ports(ports) => joined(ports.iter().map(ToString::to_string)),
            Setting::Volumes(volumes) => joined(volumes.iter().map(ToString::to_string)),
        }
    }
}

fn joined(items: impl Iterator<Item = String>) -> Option<String> {
    let items: Vec<String> = items.collect();
    (!items.is_empty()).then(|| items.join(", "))
}
