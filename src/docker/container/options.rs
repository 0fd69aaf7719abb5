//! The options that a spec sets or that an observed container has.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value as Json;

use super::{
    setting::Setting,
    table::{ROWS, Row, row},
};
use crate::docker::{Port, Restart, Volume};

static NO_PORTS: BTreeSet<Port> = BTreeSet::new();
static NO_VOLUMES: BTreeSet<Volume> = BTreeSet::new();
static NO_MAP: BTreeMap<String, String> = BTreeMap::new();

/// Settings by the keys of the table of options.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Options(BTreeMap<&'static str, Setting>);

impl Options {
    /// The setting of an option, if it is set.
    pub(super) fn get(&self, key: &str) -> Option<&Setting> {
        self.0.get(key)
    }

    /// Sets an option.
    pub(super) fn set(&mut self, row: &Row, setting: Setting) {
        self.0.insert(row.key, setting);
    }

    /// The options that are set, in the order of the table.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static Row, &Setting)> {
        let rows = ROWS.iter();
        rows.filter_map(|row| Some((row, self.0.get(row.key)?)))
    }

    /// The published ports.
    pub fn ports(&self) -> &BTreeSet<Port> {
        match self.get("ports") {
            Some(Setting::Ports(ports)) => ports,
            _ => &NO_PORTS,
        }
    }

    /// The mounts, without anonymous volumes.
    pub fn volumes(&self) -> &BTreeSet<Volume> {
        match self.get("volumes") {
            Some(Setting::Volumes(volumes)) => volumes,
            _ => &NO_VOLUMES,
        }
    }

    /// The environment variables.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        self.map("environment")
    }

    /// The names of the networks, sorted. Empty for the engine's default network.
    pub fn networks(&self) -> &[String] {
        match self.get("networks") {
            Some(Setting::Words(networks)) => networks,
            _ => &[],
        }
    }

    /// Whether the engine starts the container again when its server restarts.
    pub fn restarts_with_server(&self) -> bool {
        match self.get("restart") {
            Some(Setting::Text(policy)) => policy == "always" || policy == "unless-stopped",
            _ => false,
        }
    }

    /// Sets the restart policy.
    pub(in crate::docker) fn set_restart(&mut self, policy: Restart) {
        let policy = Setting::Text(policy.name().to_owned());
        self.0.insert("restart", policy);
    }

    /// Sets the networks.
    pub(super) fn set_networks(&mut self, networks: BTreeSet<String>) {
        let networks = networks.into_iter().collect();
        self.0.insert("networks", Setting::Words(networks));
    }

    /// Adds environment variables. They replace those of the same name.
    pub(super) fn add_environment(&mut self, added: impl IntoIterator<Item = (String, String)>) {
        let mut environment = self.environment().clone();
        environment.extend(added);
        self.0.insert("environment", Setting::Map(environment));
    }

    /// Copies the options that can change while a container runs, as an update of the engine does.
    #[cfg(test)]
    pub(crate) fn update(&mut self, wanted: &Options) {
        for (row, setting) in wanted.iter().filter(|(row, _)| row.in_place) {
            self.set(row, setting.clone());
        }
    }

    /// Sets an option to a text.
    #[cfg(test)]
    pub(crate) fn set_text(&mut self, key: &'static str, text: &str) {
        self.0.insert(key, Setting::Text(text.to_owned()));
    }

    /// Removes the setting of an option, to simulate a change by hand.
    #[cfg(test)]
    pub(crate) fn unset(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// The value of an option that is a map, by name.
    pub(super) fn map(&self, key: &str) -> &BTreeMap<String, String> {
        match self.get(key) {
            Some(Setting::Map(map)) => map,
            _ => &NO_MAP,
        }
    }
}

/// Without values: some are secret.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut options = Options::default();
        for (key, json) in BTreeMap::<String, Json>::deserialize(deserializer)? {
            let row = row(&key)
                .ok_or_else(|| de::Error::custom(format!("unknown container option `{key}`")))?;
            let setting = row.kind.read(&json).ok_or_else(|| {
                de::Error::custom(format!("invalid value of container option `{key}`"))
            })?;
            options.set(row, setting);
        }
        Ok(options)
    }
}
