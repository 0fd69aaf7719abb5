//! Decodes the values of container options that the user wrote.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    core::value::{Data, Invalid, Value, shorten},
    docker::{Port, Volume},
};

/// The prefix of the labels that hitc sets itself.
const OWN_LABELS: &str = "hitc.";

/// The key of the log driver among the options of a log.
pub(super) const DRIVER: &str = "driver";

/// The network of a container whose networks are not set.
pub(super) const DEFAULT_BRIDGE: &str = "bridge";

/// The network mode of a container whose networks are not set.
pub(super) const DEFAULT_NETWORK: &str = "default";

/// Decodes a command line: text, which is split as a shell does, or a list.
pub(super) fn words(value: &Value, what: &str) -> Result<Vec<String>, Invalid> {
    if let Data::List(_) | Data::Expanded { .. } = &value.data {
        let items = value.to_list(what)?;
        return items.iter().map(|item| item.to_text(what)).collect();
    }
    let text = value.to_text(what)?;
    shlex::split(&text)
        .ok_or_else(|| Invalid::new(value, format!("{what}: a quote is not closed in `{text}`")))
}

/// Decodes a map of texts. Maps and lists in it become JSON.
pub(super) fn string_map(value: &Value, what: &str) -> Result<BTreeMap<String, String>, Invalid> {
    map_of(value, what, |value| match &value.data {
        Data::List(_) | Data::Map(_) => {
            value.refuse_secrets(what)?;
            Ok(value.to_json().to_string())
        }
        _ => value.to_text(what),
    })
}

/// Decodes environment variables, which may be secrets.
pub(super) fn environment(value: &Value, what: &str) -> Result<BTreeMap<String, String>, Invalid> {
    map_of(value, what, |value| match &value.data {
        Data::List(_) | Data::Map(_) => Ok(value.to_revealed_json().to_string()),
        _ => value.to_text_or_secret(what),
    })
}

fn map_of(
    value: &Value,
    what: &str,
    text: impl Fn(&Value) -> Result<String, Invalid>,
) -> Result<BTreeMap<String, String>, Invalid> {
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
                _ => text(&entry.value)?,
            };
            Ok((entry.key, text))
        })
        .collect()
}

/// `{nofile: 1024}` or `{nofile: "1024:2048"}`: the soft and the hard limit; -1 is none.
pub(super) fn ulimits(value: &Value, what: &str) -> Result<BTreeMap<String, String>, Invalid> {
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

pub(super) fn limit_text(soft: i64, hard: i64) -> String {
    if soft == hard {
        soft.to_string()
    } else {
        format!("{soft}:{hard}")
    }
}

pub(super) fn capabilities(value: &Value, what: &str) -> Result<Vec<String>, Invalid> {
    let mut names = BTreeSet::new();
    for item in value.to_list(what)? {
        names.insert(capability(&item.to_text(what)?));
    }
    Ok(names.into_iter().collect())
}

/// The name of a capability as hitc writes it.
pub(super) fn capability(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("CAP_").unwrap_or(&name).to_owned()
}

/// The name of a driver, or a map with the driver and its options.
pub(super) fn log(value: &Value, what: &str) -> Result<BTreeMap<String, String>, Invalid> {
    match &value.data {
        Data::Map(_) => string_map(value, what),
        Data::Argument(text) if text.contains('=') => string_map(value, what),
        _ => Ok(BTreeMap::from([(DRIVER.to_owned(), value.to_text(what)?)])),
    }
}

pub(super) fn networks(value: &Value, what: &str) -> Result<Vec<String>, Invalid> {
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
pub(super) fn own_labels(value: &Value, what: &str) -> Result<(), Invalid> {
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
pub(super) fn volumes(value: &Value, what: &str) -> Result<BTreeSet<Volume>, Invalid> {
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
