//! The kinds of container options: how a value is written by the user and in the engine's API.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::setting::Setting;
use crate::{
    core::{
        units::{duration, parse_bytes, parse_cpus},
        value::{Data, Invalid, Value, shorten},
    },
    docker::{Port, Restart, Volume},
};

/// The prefix of the labels that hitc sets itself.
const OWN_LABELS: &str = "hitc.";

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

/// The key of the log driver among the options of a log.
const DRIVER: &str = "driver";

/// The network of a container whose networks are not set.
pub(super) const DEFAULT_BRIDGE: &str = "bridge";

/// The network mode of a container whose networks are not set.
const DEFAULT_NETWORK: &str = "default";

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
            Kind::Environment => Setting::Map(string_map(value, what)?),
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

    /// Converts a setting to its form in the engine's API.
    pub(super) fn write_api(self, setting: &Setting) -> Json {
        match (self, setting) {
            (Kind::Restart, setting) => json!({ "Name": setting }),
            (Kind::Environment, Setting::Map(map)) => {
                map.iter().map(|(k, v)| format!("{k}={v}")).collect()
            }
            (Kind::Ulimits, Setting::Map(map)) => {
                let limits = map.iter().map(|(name, limits)| {
                    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
                    let number = |text: &str| text.parse::<i64>().unwrap_or(-1);
                    json!({ "Name": name, "Soft": number(soft), "Hard": number(hard) })
                });
                limits.collect()
            }
            (Kind::Log, Setting::Map(map)) => {
                let mut options = map.clone();
                let driver = options.remove(DRIVER).unwrap_or_default();
                json!({ "Type": driver, "Config": options })
            }
            (Kind::Networks, Setting::Words(networks)) => {
                json!(networks.first().map_or(DEFAULT_NETWORK, String::as_str))
            }
            (_, Setting::Ports(ports)) => {
                let mut bindings: BTreeMap<String, Vec<Json>> = BTreeMap::new();
                for port in ports {
                    let mut binding = json!({ "HostPort": port.public.to_string() });
                    if let Some(address) = port.address {
                        binding["HostIp"] = json!(address);
                    }
                    bindings.entry(port.key()).or_default().push(binding);
                }
                json!(bindings)
            }
            // The API counts in signed numbers. A limit beyond them is no limit.
            (_, Setting::Bytes(number) | Setting::Cpus(number) | Setting::Seconds(number)) => {
                json!(i64::try_from(*number).unwrap_or(i64::MAX))
            }
            (_, setting) => json!(setting),
        }
    }

    /// Converts a setting from its form in the engine's API; none if it is not set.
    pub(super) fn read_api(self, json: &Json) -> Option<Setting> {
        match self {
            Kind::Text | Kind::Words | Kind::Flag | Kind::Labels => self.read(json),
            Kind::Bytes | Kind::Cpus | Kind::Seconds => {
                let number = json.as_i64()?;
                self.read(&json!(u64::try_from(number).unwrap_or(0)))
            }
            Kind::Environment => {
                let pairs = json.as_array()?.iter().filter_map(Json::as_str);
                let pairs = pairs.filter_map(|pair| pair.split_once('='));
                let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
                Some(Setting::Map(pairs.collect()))
            }
            Kind::Ports => {
                let bindings = json.as_object()?.iter();
                let ports = bindings.flat_map(|(key, bound)| {
                    let bound = bound.as_array().into_iter().flatten();
                    bound.filter_map(move |binding| {
                        let (port, protocol) = key.split_once('/')?;
                        Some(Port {
                            container: port.parse().ok()?,
                            public: binding.get("HostPort")?.as_str()?.parse().ok()?,
                            protocol: protocol.parse().ok()?,
                            address: binding
                                .get("HostIp")
                                .and_then(|address| address.as_str()?.parse().ok()),
                        })
                    })
                });
                Some(Setting::Ports(ports.collect()))
            }
            Kind::Volumes => {
                let binds = json.as_array()?.iter().filter_map(Json::as_str);
                let volumes = binds.filter_map(|bind| bind.parse().ok());
                Some(Setting::Volumes(volumes.collect()))
            }
            Kind::Restart => {
                let name = json.get("Name")?.as_str().filter(|name| !name.is_empty());
                Some(Setting::Text(name.unwrap_or("no").to_owned()))
            }
            Kind::Ulimits => {
                let limits = json.as_array()?.iter().filter_map(|limit| {
                    let (soft, hard) = (limit["Soft"].as_i64()?, limit["Hard"].as_i64()?);
                    Some((limit["Name"].as_str()?.to_owned(), limit_text(soft, hard)))
                });
                Some(Setting::Map(limits.collect()))
            }
            Kind::Capabilities => {
                let names = json.as_array()?.iter().filter_map(Json::as_str);
                let names: BTreeSet<String> = names.map(capability).collect();
                Some(Setting::Words(names.into_iter().collect()))
            }
            Kind::Log => {
                let mut options: BTreeMap<String, String> =
                    serde_json::from_value(json["Config"].clone()).unwrap_or_default();
                options.insert(DRIVER.to_owned(), json["Type"].as_str()?.to_owned());
                Some(Setting::Map(options))
            }
            Kind::Networks => {
                let mode = json.as_str();
                let mode = mode.filter(|mode| ![DEFAULT_NETWORK, DEFAULT_BRIDGE].contains(mode));
                Some(Setting::Words(
                    mode.map(str::to_owned).into_iter().collect(),
                ))
            }
        }
    }
}

/// Decodes a command line: text, which is split as a shell does, or a list.
fn words(value: &Value, what: &str) -> Result<Vec<String>, Invalid> {
    if let Data::List(_) | Data::Expanded { .. } = &value.data {
        let items = value.to_list(what)?;
        return items.iter().map(|item| item.to_text(what)).collect();
    }
    let text = value.to_text(what)?;
    shlex::split(&text)
        .ok_or_else(|| Invalid::new(value, format!("{what}: a quote is not closed in `{text}`")))
}

/// Decodes a map of texts. Maps and lists in it become JSON.
fn string_map(value: &Value, what: &str) -> Result<BTreeMap<String, String>, Invalid> {
    value
        .to_map(what)?
        .into_iter()
        .map(|entry| {
            if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
                let message = format!("{what}: invalid name `{}`", entry.key);
                return Err(Invalid::at(entry.key_span, message));
            }
            let text = match &entry.value.data {
                Data::Null => String::new(),
                Data::List(_) | Data::Map(_) => entry.value.to_json().to_string(),
                _ => entry.value.to_text(what)?,
            };
            Ok((entry.key, text))
        })
        .collect()
}

/// `{nofile: 1024}` or `{nofile: "1024:2048"}`: the soft and the hard limit; -1 is none.
fn ulimits(value: &Value, what: &str) -> Result<BTreeMap<String, String>, Invalid> {
    let mut limits = string_map(value, what)?;
    for (name, limit) in &mut limits {
        let (soft, hard) = limit.split_once(':').unwrap_or((limit, limit));
        let (Ok(soft), Ok(hard)) = (soft.parse::<i64>(), hard.parse::<i64>()) else {
            let message = format!("{what}: invalid limit `{}` of {name}", shorten(limit));
            return Err(Invalid::new(value, message)
                .help("write LIMIT or SOFT:HARD; -1 is no limit".to_owned()));
        };
        *limit = limit_text(soft, hard);
    }
    Ok(limits)
}

fn limit_text(soft: i64, hard: i64) -> String {
    if soft == hard {
        soft.to_string()
    } else {
        format!("{soft}:{hard}")
    }
}

fn capabilities(value: &Value, what: &str) -> Result<Vec<String>, Invalid> {
    let mut names = BTreeSet::new();
    for item in value.to_list(what)? {
        names.insert(capability(&item.to_text(what)?));
    }
    Ok(names.into_iter().collect())
}

/// The name of a capability as hitc writes it.
fn capability(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("CAP_").unwrap_or(&name).to_owned()
}

/// The name of a driver, or a map with the driver and its options.
fn log(value: &Value, what: &str) -> Result<BTreeMap<String, String>, Invalid> {
    match &value.data {
        Data::Map(_) => string_map(value, what),
        Data::Argument(text) if text.contains('=') => string_map(value, what),
        _ => Ok(BTreeMap::from([(DRIVER.to_owned(), value.to_text(what)?)])),
    }
}

fn networks(value: &Value, what: &str) -> Result<Vec<String>, Invalid> {
    let mut names = BTreeSet::new();
    for item in value.to_list(what)? {
        let name = item.to_text(what)?;
        if !is_network(&name) {
            let message = format!("{what}: invalid network `{}`", shorten(&name));
            return Err(Invalid::new(&item, message)
                .help("write the name of a network, `host`, `none` or `bridge`".to_owned()));
        }
        names.insert(name);
    }
    let special = names
        .iter()
        .find(|name| ["host", "none"].contains(&name.as_str()));
    if let Some(special) = special.filter(|_| names.len() > 1) {
        let message = format!("{what}: `{special}` cannot be combined with other networks");
        return Err(Invalid::new(value, message));
    }
    // The network that a container has if none is set.
    if names.len() == 1 {
        names.remove(DEFAULT_BRIDGE);
    }
    Ok(names.into_iter().collect())
}

/// Whether a network can have this name (moby: `daemon/names`).
fn is_network(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ['_', '.', '-'].contains(&c))
        && name != DEFAULT_NETWORK
}

pub(super) fn ports(value: &Value, what: &str) -> Result<BTreeSet<Port>, Invalid> {
    let mut ports = BTreeSet::new();
    for item in value.to_list(what)? {
        let port: Port = item.to_text("a port")?.parse().map_err(|error| {
            Invalid::new(&item, format!("ports: {error}"))
                .help("write CONTAINER[:[ADDRESS:]PUBLIC][/udp]".to_owned())
        })?;
        let taken = ports
            .iter()
            .any(|other: &Port| *other != port && other.conflicts_with(&port));
        if taken {
            let message = format!("ports: public port {} is published twice", port.public);
            return Err(Invalid::new(&item, message));
        }
        ports.insert(port);
    }
    Ok(ports)
}

/// Refuses labels that hitc sets itself.
fn own_labels(value: &Value, what: &str) -> Result<(), Invalid> {
    let labels = value.to_map(what)?;
    match labels
        .iter()
        .find(|label| label.key.starts_with(OWN_LABELS))
    {
        Some(label) => {
            let message = format!("{what}: `{}` is reserved", shorten(&label.key));
            Err(Invalid::at(label.key_span.clone(), message).help(format!(
                "labels that begin with `{OWN_LABELS}` are set by hitc"
            )))
        }
        None => Ok(()),
    }
}

/// `{HOST: CONTAINER}`, or `HOST:CONTAINER[:ro]` in a list.
fn volumes(value: &Value, what: &str) -> Result<BTreeSet<Volume>, Invalid> {
    if let Data::Map(entries) = &value.data {
        return entries
            .iter()
            .map(|entry| volume(&entry.value, &entry.key, &entry.value.to_text("a volume")?))
            .collect();
    }
    let mut volumes = BTreeSet::new();
    for item in value.to_list(what)? {
        let text = item.to_text("a volume")?;
        let Some((host, container)) = text.split_once(':') else {
            return Err(
                Invalid::new(&item, format!("volumes: missing `:` in `{text}`"))
                    .help("write HOST:CONTAINER".to_owned()),
            );
        };
        volumes.insert(volume(&item, host, container)?);
    }
    Ok(volumes)
}

/// Checks one volume. `value` is where it is written.
fn volume(value: &Value, host: &str, container: &str) -> Result<Volume, Invalid> {
    let (path, read_only) = match container.strip_suffix(":ro") {
        Some(path) => (path, true),
        None => (container, false),
    };
    let trim = |path: &str| match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        trimmed => trimmed.to_owned(),
    };
    if !path.starts_with('/') || path.contains(':') {
        let message = format!("volumes: `{path}` is not an absolute path");
        return Err(Invalid::new(value, message));
    }
    let is_relative = host.contains('/') && !host.starts_with('/');
    if host.is_empty() || host.starts_with('.') || host.contains(':') || is_relative {
        let message = format!(
            "volumes: `{host}` is neither an absolute path on the server nor a volume's name"
        );
        return Err(Invalid::new(value, message));
    }
    Ok(Volume {
        host: trim(host),
        container: trim(path),
        read_only,
    })
}

/// Decodes one of a fixed set of words.
pub(super) fn one_of<T: Copy, const N: usize>(
    value: &Value,
    what: &str,
    known: [(&str, T); N],
) -> Result<T, Invalid> {
    let text = value.to_text(what)?;
    known
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, found)| *found)
        .ok_or_else(|| {
            let names = known.map(|(name, _)| name).join(", ");
            Invalid::new(value, format!("{what}: unknown value `{text}`"))
                .help(format!("known values: {names}"))
        })
}
