//! The form that the options of containers have in the engine's API.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::{
    kind::Kind,
    setting::Setting,
    values::{DEFAULT_BRIDGE, DEFAULT_NETWORK, DRIVER, capability, limit_text},
};
use crate::docker::Port;

impl Kind {
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
