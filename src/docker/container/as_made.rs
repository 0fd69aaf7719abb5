//! Containers as engines show them, for tests.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerConfig, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum,
    EndpointSettings, NetworkSettings,
};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::body;
use crate::docker::{Container, Spec};

/// A container as the engine shows it after making it from a spec and starting it: for tests of
/// what is decided from that. The live tests hold it against the real thing.
pub(crate) fn as_made(spec: &Spec, labels: &BTreeMap<String, String>, ip: &str) -> Container {
    let made = body::create(spec, labels).unwrap();
    let endpoint = EndpointSettings {
        ip_address: Some(ip.to_owned()),
        ..EndpointSettings::default()
    };
    ContainerInspectResponse {
        id: Some(HEXLOWER.encode(&Sha256::digest(&spec.name))),
        name: Some(format!("/{}", spec.name)),
        image: Some(format!("sha256:{}", spec.image.name())),
        state: Some(ContainerState {
            status: Some(ContainerStateStatusEnum::RUNNING),
            ..ContainerState::default()
        }),
        config: Some(ContainerConfig {
            image: made.image,
            cmd: made.cmd,
            entrypoint: made.entrypoint,
            // The image's own variables are there too.
            env: made
                .env
                .map(|env| env.into_iter().chain(["PATH=/bin".to_owned()]).collect()),
            labels: made.labels,
            hostname: made.hostname.or(Some("0123456789ab".to_owned())),
            user: made.user,
            stop_timeout: made.stop_timeout,
            ..ContainerConfig::default()
        }),
        host_config: made.host_config,
        network_settings: Some(NetworkSettings {
            networks: Some(match spec.options.networks() {
                [] => HashMap::from([("bridge".to_owned(), endpoint)]),
                names => names
                    .iter()
                    .map(|name| (name.clone(), endpoint.clone()))
                    .collect(),
            }),
            ..NetworkSettings::default()
        }),
        ..ContainerInspectResponse::default()
    }
    .into()
}
