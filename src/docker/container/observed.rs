//! Containers as an engine shows them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::models::{ContainerInspectResponse, ContainerSummary, MountPoint, PortBinding};

use crate::docker::{Port, Protocol, Volume};

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was made and never started.
    Created,
    /// It runs.
    Running,
    /// It ended.
    Exited,
    /// It ended and the engine starts it again and again.
    Restarting,
    /// Anything else: paused, being removed, broken.
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
    /// Its address on the server; empty if it has none.
    pub ip: String,
    /// Its published ports.
    pub ports: BTreeSet<Port>,
    /// Ports that it exposes and that are not published.
    pub exposed: BTreeSet<(u16, Protocol)>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// The image it was made from.
    pub image: String,
}

/// A container with all that can be compared.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its full id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it does.
    pub state: State,
    /// Its address on the server; empty while it does not run.
    pub ip: String,
    /// The image it was made from, as it was named then.
    pub image: String,
    /// The content of that image.
    pub image_id: String,
    /// Its labels, ours included.
    pub labels: BTreeMap<String, String>,
    /// Its published ports.
    pub ports: BTreeSet<Port>,
    /// What of the server it sees.
    pub volumes: BTreeSet<Volume>,
    /// Volumes that nobody named: the image declares them.
    pub anonymous: Vec<Volume>,
    /// Its command, the image's included.
    pub command: Vec<String>,
    /// Its entry point, the image's included.
    pub entrypoint: Vec<String>,
    /// Its environment, the image's included.
    pub environment: BTreeMap<String, String>,
    /// Its host name.
    pub hostname: String,
    /// The user it runs as, the image's included; empty for root.
    pub user: String,
    /// Whether it may do everything.
    pub privileged: bool,
    /// Memory limit in bytes; 0 for none.
    pub max_memory: u64,
    /// Processor limit in billionths; 0 for none.
    pub nano_cpus: u64,
    /// When the engine starts it again.
    pub restart: String,
    /// How long it has to stop, in seconds.
    pub stop_timeout: Option<u64>,
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
                    });
                }
                None => {
                    exposed.insert((port.private_port, protocol));
                }
            }
        }
        let networks = summary.network_settings.and_then(|n| n.networks);
        let names = summary.names.unwrap_or_default();
        Listed {
            id: summary.id.unwrap_or_default(),
            name: name(names.first()),
            ip: networks
                .unwrap_or_default()
                .into_values()
                .find_map(|network| network.ip_address.filter(|ip| !ip.is_empty()))
                .unwrap_or_default(),
            ports,
            exposed,
            created: summary.created.unwrap_or_default(),
            image: summary.image.unwrap_or_default(),
        }
    }
}

/// The API puts a slash before names.
fn name(name: Option<&String>) -> String {
    name.map(|name| name.trim_start_matches('/').to_owned())
        .unwrap_or_default()
}

impl From<ContainerInspectResponse> for Container {
    fn from(inspected: ContainerInspectResponse) -> Self {
        let config = inspected.config.unwrap_or_default();
        let host_config = inspected.host_config.unwrap_or_default();
        let state = inspected.state.unwrap_or_default();
        let networks = inspected.network_settings.and_then(|n| n.networks);
        let unsigned = |number: Option<i64>| u64::try_from(number.unwrap_or_default()).unwrap_or(0);
        Container {
            id: inspected.id.unwrap_or_default(),
            name: name(inspected.name.as_ref()),
            state: match state.status.map(|status| status.to_string()).as_deref() {
                Some("created") => State::Created,
                Some("running") => State::Running,
                Some("exited") => State::Exited,
                Some("restarting") => State::Restarting,
                _ => State::Other,
            },
            ip: networks
                .unwrap_or_default()
                .into_values()
                .find_map(|network| network.ip_address.filter(|ip| !ip.is_empty()))
                .unwrap_or_default(),
            image: config.image.unwrap_or_default(),
            image_id: inspected.image.unwrap_or_default(),
            labels: config.labels.unwrap_or_default().into_iter().collect(),
            ports: bound(host_config.port_bindings.unwrap_or_default()),
            volumes: host_config
                .binds
                .unwrap_or_default()
                .iter()
                .filter_map(|bind| volume(bind))
                .collect(),
            anonymous: inspected
                .mounts
                .unwrap_or_default()
                .into_iter()
                .filter_map(anonymous)
                .collect(),
            command: config.cmd.unwrap_or_default(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            environment: config
                .env
                .unwrap_or_default()
                .into_iter()
                .filter_map(|pair| {
                    let (key, value) = pair.split_once('=')?;
                    Some((key.to_owned(), value.to_owned()))
                })
                .collect(),
            hostname: config.hostname.unwrap_or_default(),
            user: config.user.unwrap_or_default(),
            privileged: host_config.privileged.unwrap_or_default(),
            max_memory: unsigned(host_config.memory),
            nano_cpus: unsigned(host_config.nano_cpus),
            restart: host_config
                .restart_policy
                .and_then(|policy| policy.name)
                .map(|name| name.to_string())
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "no".to_owned()),
            stop_timeout: config.stop_timeout.map(|s| unsigned(Some(s))),
        }
    }
}

fn bound(bindings: HashMap<String, Option<Vec<PortBinding>>>) -> BTreeSet<Port> {
    bindings
        .into_iter()
        .flat_map(|(key, bindings)| {
            bindings
                .unwrap_or_default()
                .into_iter()
                .filter_map(move |binding| {
                    let (port, protocol) = key.split_once('/')?;
                    Some(Port {
                        container: port.parse().ok()?,
                        public: binding.host_port?.parse().ok()?,
                        protocol: protocol.parse().ok()?,
                    })
                })
        })
        .collect()
}

/// The engine gives a volume without a name 64 hexadecimal digits for one.
fn anonymous(mount: MountPoint) -> Option<Volume> {
    let name = mount
        .name
        .filter(|name| name.len() == 64 && name.chars().all(|digit| digit.is_ascii_hexdigit()))?;
    Some(Volume {
        host: name,
        container: mount.destination?,
        read_only: false,
    })
}

fn volume(bind: &str) -> Option<Volume> {
    let mut parts = bind.split(':');
    Some(Volume {
        host: parts.next()?.to_owned(),
        container: parts.next()?.to_owned(),
        read_only: parts.next() == Some("ro"),
    })
}
