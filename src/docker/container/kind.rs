//! The kinds of container options: how a value is written by the user and in the engine's API.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::{
    setting::Setting,
    values::{
        capabilities, environment, log, networks, one_of, own_labels, ports, string_map, ulimits,
        volumes, words,
    },
};
use crate::{
    core::{
        units::{duration, parse_bytes, parse_cpus},
        value::{Invalid, Value},
    },
    docker::Restart,
};

/// The kind of an option: how its value is written, and where it is in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// A command line, as text or as a list.
    Words,
    /// Yes or no.
    Flag,
    /// A size: 512m.
    Bytes,
    /// A number of processors: 1.5.
    Cpus,
    /// A duration, in whole seconds.
    Seconds,
    /// Environment variables. The API has them as a list of `NAME=VALUE`.
    Environment,
    /// Labels. The API has them as a map.
    Labels,
    /// Published ports.
    Ports,
    /// Mounts.
    Volumes,
    /// A restart policy.
    Restart,
    /// Limits of processes: `{nofile: 1024:2048}`. The API has them as a list.
    Ulimits,
    /// Names of Linux capabilities, in capital letters without `CAP_`, sorted.
    Capabilities,
    /// A log driver and its options. The driver is the entry [`DRIVER`].
    Log,
    /// Names of networks, sorted. The API has the first one in the field of the table; a container is
    /// connected to the others after it is created.
    Networks,
}

impl Kind {
    /// Decodes the value that the user wrote.
    pub(super) fn decode(self, value: &Value, what: &str) -> Result<Setting, Invalid> {
        Ok(match self {
            Kind::Text => Setting::Text(value.to_text(what)?),
            Kind::Words => Setting::Words(words(value, what)?),
            Kind::Flag => Setting::Flag(value.to_bool(what)?),
            Kind::Bytes => {
                let text = value.to_text(what)?;
                Setting::Bytes(parse_bytes(&text).ok_or_else(|| {
                    Invalid::new(value, format!("{what}: invalid size `{text}`"))
                        .help("write 512m or 2g".to_owned())
                })?)
            }
            Kind::Cpus => {
                let text = value.to_text(what)?;
                Setting::Cpus(parse_cpus(&text).ok_or_else(|| {
                    Invalid::new(
                        value,
                        format!("{what}: invalid number of processors `{text}`"),
                    )
                    .help("write 2 or 0.5".to_owned())
                })?)
            }
            Kind::Seconds => Setting::Seconds(duration(value, what)?.as_secs()),
            Kind::Environment => Setting::Map(environment(value, what)?),
            Kind::Labels => {
                own_labels(value, what)?;
                Setting::Map(string_map(value, what)?)
            }
            Kind::Ports => Setting::Ports(ports(value, what)?),
            Kind::Volumes => Setting::Volumes(volumes(value, what)?),
            Kind::Restart => {
                let restart = one_of(value, what, Restart::ALL.map(|r| (r.name(), r)))?;
                Setting::Text(restart.name().to_owned())
            }
            Kind::Ulimits => Setting::Map(ulimits(value, what)?),
            Kind::Capabilities => Setting::Words(capabilities(value, what)?),
            Kind::Log => Setting::Map(log(value, what)?),
            Kind::Networks => Setting::Words(networks(value, what)?),
        })
    }

    /// The setting that an option of this kind has if it is neither set nor inherited.
    pub(super) fn zero(self) -> Setting {
        match self {
            Kind::Text => Setting::Text(String::new()),
            Kind::Words | Kind::Capabilities | Kind::Networks => Setting::Words(Vec::new()),
            Kind::Flag => Setting::Flag(false),
            Kind::Bytes => Setting::Bytes(0),
            Kind::Cpus => Setting::Cpus(0),
            Kind::Seconds => Setting::Seconds(0),
            Kind::Environment | Kind::Labels | Kind::Ulimits | Kind::Log => {
                Setting::Map(BTreeMap::new())
            }
            Kind::Ports => Setting::Ports(BTreeSet::new()),
            Kind::Volumes => Setting::Volumes(BTreeSet::new()),
            Kind::Restart => Setting::Text(Restart::No.name().to_owned()),
        }
    }

    /// Whether the option is a map, whose values are compared one by one.
    pub(super) fn is_map(self) -> bool {
        matches!(self, Kind::Environment | Kind::Labels | Kind::Log)
    }

    /// Reads a setting as [`Setting`] is serialized; none if it is not of this kind.
    pub(super) fn read(self, json: &Json) -> Option<Setting> {
        fn of<T: DeserializeOwned>(json: &Json, setting: fn(T) -> Setting) -> Option<Setting> {
            serde_json::from_value(json.clone()).ok().map(setting)
        }
        match self {
            Kind::Text | Kind::Restart => of(json, Setting::Text),
            Kind::Words | Kind::Capabilities | Kind::Networks => of(json, Setting::Words),
            Kind::Flag => of(json, Setting::Flag),
            Kind::Bytes => of(json, Setting::Bytes),
            Kind::Cpus => of(json, Setting::Cpus),
            Kind::Seconds => of(json, Setting::Seconds),
            Kind::Environment | Kind::Labels | Kind::Ulimits | Kind::Log => of(json, Setting::Map),
            Kind::Ports => of(json, Setting::Ports),
            Kind::Volumes => of(json, Setting::Volumes),
        }
    }
}
