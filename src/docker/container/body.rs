//! Converts a spec to requests of the engine's API, and its responses to options.

use std::collections::BTreeMap;

use bollard::models::{ContainerConfig, ContainerCreateBody, ContainerUpdateBody, HostConfig};
use serde_json::{Error, Map, Value as Json, json};

use super::{
    labels,
    options::Options,
    table::{Place, ROWS},
};
use crate::docker::{Spec, image::reference::exact};

/// The request that creates a container. `added` are labels beside the spec's own.
pub(super) fn create(
    spec: &Spec,
    added: &BTreeMap<String, String>,
) -> Result<ContainerCreateBody, Error> {
    let (mut body, mut host) = (Map::new(), Map::new());
    for (row, setting) in spec.options.iter() {
        let json = row.kind.write_api(setting);
        match row.place {
            Place::Config(field) => body.insert(field.to_owned(), json),
            Place::HostConfig(field) => host.insert(field.to_owned(), json),
        };
    }
    let mut all_labels = spec.options.map("labels").clone();
    all_labels.extend(added.clone());
    all_labels.insert(labels::SPEC.to_owned(), spec.digest());
    all_labels.insert(labels::KEYS.to_owned(), joined(spec.keys()));
    if !spec.masked.is_empty() {
        all_labels.insert(labels::MASKED.to_owned(), joined(&spec.masked));
    }
    body.insert("Labels".to_owned(), json!(all_labels));
    body.insert("Image".to_owned(), json!(exact(spec.image.name())));
    body.insert("HostConfig".to_owned(), Json::Object(host));
    let mut body: ContainerCreateBody = serde_json::from_value(Json::Object(body))?;
    let ports = spec.options.ports().iter();
    body.exposed_ports = Some(ports.map(|port| port.key()).collect());
    Ok(body)
}

/// The request that updates the options that can change while a container runs.
pub(super) fn update(spec: &Spec) -> Result<ContainerUpdateBody, Error> {
    let mut body = Map::new();
    for (row, setting) in spec.options.iter().filter(|(row, _)| row.in_place) {
        let (Place::Config(field) | Place::HostConfig(field)) = row.place;
        body.insert(field.to_owned(), row.kind.write_api(setting));
    }
    let mut body: ContainerUpdateBody = serde_json::from_value(Json::Object(body))?;
    // The engine sets this when it creates a container, and refuses a swap limit below the memory
    // limit.
    body.memory_swap = body.memory.map(|memory| memory.saturating_mul(2));
    Ok(body)
}

/// The options of an observed container.
pub(super) fn read(config: &ContainerConfig, host: &HostConfig) -> Options {
    let config = serde_json::to_value(config).unwrap_or_default();
    let host = serde_json::to_value(host).unwrap_or_default();
    let mut options = Options::default();
    for row in &ROWS {
        let json = match row.place {
            Place::Config(field) => config.get(field),
            Place::HostConfig(field) => host.get(field),
        };
        if let Some(setting) = json.and_then(|json| row.kind.read_api(json)) {
            options.set(row, setting);
        }
    }
    options
}

fn joined<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<T> = names.into_iter().collect();
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    names.join(",")
}
