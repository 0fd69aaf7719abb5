//! Observed containers, as the engine reports them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, EndpointSettings,
    MountPoint,
};
use serde::{Deserialize, Serialize};

use super::{StepNames, body, labels, options::Options, podman, values::DEFAULT_BRIDGE};
use crate::{
    core::owner::Ownership,
    docker::{Port, Protocol, Volume, image::reference::is_full_id},
};

/// The state of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Created and never started.
    Created,
    /// Running.
    Running,
    /// Ended or stopped.
    Exited,
    /// Ended, and about to be restarted by the engine.
    Restarting,
    /// Anything else: paused, being removed, dead.
    Other,
}

impl State {
    /// Whether the container has processes, running or paused, and so keeps its ports.
    pub fn holds_processes(self) -> bool {
        !matches!(self, State::Created | State::Exited)
    }
}

/// A container in a list: what `docker.ps` shows.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its full id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its address on the server, if it has one.
    pub ip: Option<IpAddr>,
    /// Its published ports.
    pub ports: BTreeSet<Port>,
    /// Exposed ports that are not published.
    pub exposed: BTreeSet<(u16, Protocol)>,
    /// Its state, in the words of the engine: `running`, `exited`, `paused`.
    pub state: String,
    /// Its owner.
    pub owner: Ownership,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// The image it was created from.
    pub image: String,
}

/// An observed container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its full id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Its address on the server; none while it does not run.
    pub ip: Option<IpAddr>,
    /// The name of the image that it was created from.
    pub image: String,
    /// The id of that image.
    pub image_id: String,
    /// All its labels, hitc's own included.
    pub labels: BTreeMap<String, String>,
    /// Its anonymous volumes: the image declares them.
    pub anonymous: Vec<Volume>,
    /// Its options, including the settings of the image and the engine.
    pub options: Options,
}

impl Container {
    /// The owner that its labels name. An image made from a container inherits its labels, so they
    /// count only if the name agrees with them.
    pub fn ownership(&self) -> Ownership {
        ownership(&self.labels, &self.name)
    }

    /// Its published ports.
    pub fn ports(&self) -> &BTreeSet<Port> {
        self.options.ports()
    }
}

impl From<ContainerSummary> for Listed {
    fn from(summary: ContainerSummary) -> Self {
        let (mut ports, mut exposed) = (BTreeSet::new(), BTreeSet::new());
        for port in summary.ports.unwrap_or_default() {
            let protocol = match port.typ.map(|typ| typ.to_string()).as_deref() {
                Some("udp") => Protocol::Udp,
                _ => Protocol::Tcp,
            };
            match port.public_port {
                Some(public) => {
                    ports.insert(Port {
                        container: port.private_port,
                        public,
                        protocol,
                        // The engine lists a port of all addresses once for IPv4 and once for IPv6.
                        address: port
                            .ip
                            .and_then(|address| address.parse().ok())
                            .filter(|address: &IpAddr| !address.is_unspecified()),
                    });
                }
                None => {
                    exposed.insert((port.private_port, protocol));
                }
            }
        }
        let networks = summary.network_settings.and_then(|n| n.networks);
        let names = summary.names.unwrap_or_default();
        let name = name(names.first());
        let labels = summary.labels.unwrap_or_default().into_iter().collect();
        Listed {
            id: summary.id.unwrap_or_default(),
            owner: ownership(&labels, &name),
            state: summary
                .state
                .map(|state| state.to_string())
                .unwrap_or_default(),
            name,
            ip: address(networks),
            ports,
            exposed,
            created: summary.created.unwrap_or_default(),
            image: summary.image.unwrap_or_default(),
        }
    }
}

impl Listed {
    /// Parses the engine's response to a request for the list of containers, and sorts it by name.
    pub(in crate::docker) fn parse(response: &[u8]) -> Option<Vec<Self>> {
        let listed = podman::parse_list(response)?;
        let mut listed: Vec<Self> = listed.into_iter().map(Listed::from).collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Some(listed)
    }
}

/// Reads the engine's answers about containers.
pub fn read_answers(response: &[u8]) {
    Listed::parse(response);
    if let Ok(inspected) = serde_json::from_slice::<ContainerInspectResponse>(response) {
        drop(Container::from(inspected));
    }
    podman::parse(response).map(Container::from);
}

/// The owner that the labels of the container `name` name.
fn ownership(labels: &BTreeMap<String, String>, name: &str) -> Ownership {
    match labels.get(labels::NAME) {
        Some(wanted) if !StepNames::are_of(wanted, name) => Ownership::Copied(wanted.clone()),
        _ => labels::ownership(labels),
    }
}

/// Names begin with a slash in the API.
fn name(name: Option<&String>) -> String {
    name.map(|name| name.trim_start_matches('/').to_owned())
        .unwrap_or_default()
}

/// The address that a container has in the first of its networks by name.
fn address(networks: Option<HashMap<String, EndpointSettings>>) -> Option<IpAddr> {
    let networks: BTreeMap<_, _> = networks.unwrap_or_default().into_iter().collect();
    let mut networks = networks.into_values();
    networks.find_map(|network| network.ip_address?.parse().ok())
}

/// The names of a container's networks. Empty for the engine's default network.
fn network_names(networks: &HashMap<String, EndpointSettings>) -> BTreeSet<String> {
    let names: BTreeSet<String> = networks.keys().cloned().collect();
    match names.len() {
        1 if names.contains(DEFAULT_BRIDGE) => BTreeSet::new(),
        _ => names,
    }
}

impl From<ContainerInspectResponse> for Container {
    fn from(inspected: ContainerInspectResponse) -> Self {
        let config = inspected.config.unwrap_or_default();
        let host_config = inspected.host_config.unwrap_or_default();
        let state = inspected.state.and_then(|state| state.status);
        let mounts = inspected.mounts.unwrap_or_default().into_iter();
        let networks = inspected.network_settings.and_then(|n| n.networks);
        let mut options = body::read(&config, &host_config);
        // The network mode names only one.
        if let Some(networks) = networks.as_ref().filter(|networks| !networks.is_empty()) {
            options.set_networks(network_names(networks));
        }
        Container {
            id: inspected.id.unwrap_or_default(),
            name: name(inspected.name.as_ref()),
            state: match state {
                Some(ContainerStateStatusEnum::CREATED) => State::Created,
                Some(ContainerStateStatusEnum::RUNNING) => State::Running,
                Some(ContainerStateStatusEnum::EXITED) => State::Exited,
                Some(ContainerStateStatusEnum::RESTARTING) => State::Restarting,
                _ => State::Other,
            },
            ip: address(networks),
            image_id: inspected.image.unwrap_or_default(),
            anonymous: mounts.filter_map(anonymous).collect(),
            options,
            image: config.image.unwrap_or_default(),
            labels: config.labels.unwrap_or_default().into_iter().collect(),
        }
    }
}

/// The engine names an anonymous volume with 64 hexadecimal digits.
fn anonymous(mount: MountPoint) -> Option<Volume> {
    Some(Volume {
        host: mount.name.filter(|name| is_full_id(name))?,
        container: mount.destination?,
        read_only: false,
    })
}
