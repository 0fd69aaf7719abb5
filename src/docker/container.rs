//! Containers of an engine: listing, comparing with what they should be, and changing them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::{
    errors::Error as BollardError,
    models::{
        ContainerCreateBody, ContainerInspectResponse, ContainerSummary, ContainerUpdateBody,
        HostConfig, PortBinding, RestartPolicy, RestartPolicyNameEnum,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptions,
        ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
        RenameContainerOptionsBuilder, StartContainerOptions, StopContainerOptions,
    },
};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    Change, Engine, Error, Port, Protocol, Restart, Spec, Volume, engine::is_missing,
    spec::format_bytes,
};

/// How many containers are inspected at once on one connection.
const AT_ONCE: usize = 4;

/// How many lines of a container's log go into an error.
const LOG_LINES: &str = "10";

/// The digest of the spec that a container was made from.
const LABEL_SPEC: &str = "hitc.spec";
/// The names of the fields that the spec set.
const LABEL_KEYS: &str = "hitc.keys";

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

/// A container in a list: what `docker.ps` shows.
#[derive(Clone, Debug)]
pub struct Listed {
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

/// What has to happen for a container to be what it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What can be changed while it runs.
    pub in_place: Vec<Change>,
    /// What needs a new container.
    pub replace: Vec<Change>,
}

impl Container {
    /// Compares with what it should be. `image_id` is the content that the server has under the
    /// image's name, if it has it.
    pub fn compare(&self, spec: &Spec, image_id: Option<&str>) -> Comparison {
        let mut replace = Vec::new();
        if let Some(id) = image_id.filter(|id| *id != self.image_id) {
            let short = |id: &str| {
                let id = id.trim_start_matches("sha256:");
                format!("{} ({})", self.image, id.get(..12).unwrap_or(id))
            };
            if self.image == spec.image.name() {
                replace.push(change(
                    "image",
                    Some(short(&self.image_id)),
                    Some(short(id)),
                ));
            }
        }
        // Made from just this: what the engine made of it is what was asked for.
        let same = self.labels.get(LABEL_SPEC).map(String::as_str) == Some(&spec.digest());
        if !same {
            replace.extend(self.differences(spec));
        }
        // What somebody may have changed since.
        if self.ports != spec.ports {
            replace.push(change("ports", list(&self.ports), list(&spec.ports)));
        }
        if self.volumes != spec.volumes {
            replace.push(change("volumes", list(&self.volumes), list(&spec.volumes)));
        }

        let mut in_place = Vec::new();
        let mut limit = |field: &str, old: u64, new: Option<u64>, text: fn(u64) -> String| {
            if old != new.unwrap_or(0) {
                let change = change(field, (old > 0).then(|| text(old)), new.map(text));
                // The engine cannot take a limit away from a container.
                match new {
                    Some(_) => in_place.push(change),
                    None => replace.push(change),
                }
            }
        };
        limit("max_memory", self.max_memory, spec.max_memory, format_bytes);
        limit("cpus", self.nano_cpus, spec.nano_cpus, Spec::format_cpus);
        let restart = spec.restart.name();
        if self.restart != restart {
            let (old, new) = (self.restart.clone(), restart.to_owned());
            in_place.push(change("restart", Some(old), Some(new)));
        }
        Comparison { in_place, replace }
    }

    /// Every field that the spec sets, or did set when the container was made, and that differs.
    fn differences(&self, spec: &Spec) -> Vec<Change> {
        let mut changes = Vec::new();
        let keys = self.labels.get(LABEL_KEYS).map_or("", String::as_str);
        let was_set: BTreeSet<&str> = keys.split(',').filter(|key| !key.is_empty()).collect();

        if self.image != spec.image.name() {
            let new = spec.image.name().to_owned();
            changes.push(change("image", Some(self.image.clone()), Some(new)));
        }
        let mut field = |name: &str, old: String, new: Option<String>| {
            let was_set = was_set.contains(name);
            if new.as_ref().map_or(was_set, |new| *new != old) {
                // What nobody set is the engine's or the image's business.
                changes.push(change(name, was_set.then_some(old), new));
            }
        };
        let line = |words: &Vec<String>| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            shlex::try_join(words).unwrap_or_default()
        };
        field(
            "command",
            line(&self.command),
            spec.command.as_ref().map(line),
        );
        field(
            "entrypoint",
            line(&self.entrypoint),
            spec.entrypoint.as_ref().map(line),
        );
        field("hostname", self.hostname.clone(), spec.hostname.clone());
        field("user", self.user.clone(), spec.user.clone());
        field(
            "stop_timeout",
            self.stop_timeout.map(|s| s.to_string()).unwrap_or_default(),
            spec.stop_timeout.map(|s| s.to_string()),
        );
        if self.privileged != spec.privileged {
            let (old, new) = (self.privileged.to_string(), spec.privileged.to_string());
            changes.push(change("privileged", Some(old), Some(new)));
        }
        let maps = [
            ("environment", &self.environment, &spec.environment),
            ("labels", &self.labels, &spec.labels),
        ];
        for (name, have, want) in maps {
            for (key, value) in want {
                if have.get(key) != Some(value) {
                    let old = have.get(key).cloned();
                    changes.push(change(&format!("{name}.{key}"), old, Some(value.clone())));
                }
            }
            for key in was_set.iter().filter_map(|key| {
                key.strip_prefix(name)
                    .and_then(|key| key.strip_prefix('.'))
                    .filter(|key| !want.contains_key(*key))
            }) {
                let old = have.get(key).cloned();
                changes.push(change(&format!("{name}.{key}"), old, None));
            }
        }
        changes
    }
}

fn change(field: &str, old: Option<String>, new: Option<String>) -> Change {
    Change {
        field: field.to_owned(),
        old,
        new,
    }
}

fn list<T: ToString>(items: &BTreeSet<T>) -> Option<String> {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    (!items.is_empty()).then(|| items.join(", "))
}

impl Engine {
    /// The running containers.
    pub async fn running(&self) -> Result<Vec<Listed>, Error> {
        let options = ListContainersOptionsBuilder::new().build();
        let mut listed: Vec<Listed> = self
            .docker
            .list_containers(Some(options))
            .await
            .map_err(|error| self.error("listing its containers", &error))?
            .into_iter()
            .map(listed)
            .collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// All containers, with everything about them.
    pub async fn containers(&self) -> Result<Vec<Container>, Error> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let listed = self
            .docker
            .list_containers(Some(options))
            .await
            .map_err(|error| self.error("listing its containers", &error))?;
        let ids: Vec<String> = listed.into_iter().filter_map(|one| one.id).collect();
        let mut containers: Vec<Container> = stream::iter(ids)
            .map(|id| async move { self.inspect(&id).await })
            .buffer_unordered(AT_ONCE)
            .try_filter_map(async |container| Ok(container))
            .try_collect()
            .await?;
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    /// A container by name or id; none if there is none of that name.
    pub async fn inspect(&self, name: &str) -> Result<Option<Container>, Error> {
        match self
            .docker
            .inspect_container(name, None::<InspectContainerOptions>)
            .await
        {
            Ok(inspected) => Ok(Some(inspected.into())),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.error(format!("inspecting `{name}`"), &error)),
        }
    }

    /// Makes a container, without starting it. `labels` come on top of the spec's own.
    pub async fn create(
        &self,
        spec: &Spec,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        self.create_as(&spec.name, spec, labels).await
    }

    async fn create_as(
        &self,
        name: &str,
        spec: &Spec,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        match self
            .docker
            .create_container(Some(options), body(spec, labels))
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) => Err(Error::NoImage {
                host: self.host.clone(),
                image: spec.image.name().to_owned(),
                cause: "the server does not have it".to_owned(),
            }),
            Err(BollardError::DockerResponseServerError {
                status_code: 409, ..
            }) => Err(Error::NameTaken {
                host: self.host.clone(),
                name: name.to_owned(),
            }),
            Err(error) => Err(self.error(format!("making container `{name}`"), &error)),
        }
    }

    /// Starts a container; one that runs is left alone.
    pub async fn start(&self, name: &str) -> Result<(), Error> {
        self.docker
            .start_container(name, None::<StartContainerOptions>)
            .await
            .map_err(|error| self.of(name, format!("starting container `{name}`"), &error))
    }

    /// Stops a container; one that does not run is left alone.
    pub async fn stop(&self, name: &str) -> Result<(), Error> {
        self.docker
            .stop_container(name, None::<StopContainerOptions>)
            .await
            .map_err(|error| self.of(name, format!("stopping container `{name}`"), &error))
    }

    /// Kills a container and removes it, with its anonymous volumes.
    pub async fn kill(&self, name: &str) -> Result<(), Error> {
        match self
            .docker
            .kill_container(name, None::<KillContainerOptions>)
            .await
        {
            // 409: it does not run, and can be removed as it is.
            Ok(())
            | Err(BollardError::DockerResponseServerError {
                status_code: 409, ..
            }) => {}
            Err(error) => {
                return Err(self.of(name, format!("killing container `{name}`"), &error));
            }
        }
        self.remove(name).await
    }

    /// Removes a container, running or not. Named volumes and the server's folders stay.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        match self.docker.remove_container(name, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(self.error(format!("removing container `{name}`"), &error)),
        }
    }

    /// Gives a container another name.
    pub async fn rename(&self, name: &str, to: &str) -> Result<(), Error> {
        let options = RenameContainerOptionsBuilder::new().name(to).build();
        self.docker
            .rename_container(name, options)
            .await
            .map_err(|error| self.of(name, format!("renaming container `{name}`"), &error))
    }

    /// Sets what can be set while a container runs: its limits and its restart policy.
    pub async fn update(&self, spec: &Spec) -> Result<(), Error> {
        let name = &spec.name;
        let memory = spec.max_memory.map(signed);
        let body = ContainerUpdateBody {
            memory,
            // As the engine sets it when a container is made; it refuses a swap limit below.
            memory_swap: memory.map(|memory| memory.saturating_mul(2)),
            nano_cpus: spec.nano_cpus.map(signed),
            restart_policy: Some(restart_policy(spec.restart)),
            ..ContainerUpdateBody::default()
        };
        self.docker
            .update_container(name, body)
            .await
            .map_err(|error| self.of(name, format!("changing container `{name}`"), &error))
    }

    /// Makes a container in the place of the one of the same name, and waits until it is ready.
    ///
    /// The new one is made beside the old one, so that a bad spec costs nothing. If it does not
    /// become ready, it is kept as `NAME.failed` for inspection and the old one comes back.
    pub async fn replace(
        &self,
        spec: &Spec,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let name = &spec.name;
        let [new, old, failed] =
            [".new", ".old", ".failed"].map(|suffix| format!("{name}{suffix}"));
        self.remove(&new).await?;
        self.create_as(&new, spec, labels).await?;
        self.remove(&old).await?;
        self.stop(name).await?;
        self.rename(name, &old).await?;
        self.rename(&new, name).await?;
        let started = async {
            self.start(name).await?;
            self.wait_until_ready(spec).await
        };
        match started.await {
            Ok(()) => {
                self.remove(&failed).await?;
                self.remove(&old).await
            }
            Err(error) => {
                self.remove(&failed).await?;
                self.stop(name).await?;
                self.rename(name, &failed).await?;
                self.rename(&old, name).await?;
                self.start(name).await?;
                Err(error)
            }
        }
    }

    /// The last lines that a container wrote. What cannot be read is empty.
    pub async fn log_tail(&self, name: &str) -> String {
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail(LOG_LINES)
            .build();
        let lines: Vec<String> = self
            .docker
            .logs(name, Some(options))
            .filter_map(async |line| line.ok().map(|line| line.to_string()))
            .collect()
            .await;
        lines.concat().trim_end().to_owned()
    }

    /// An error of a call about one container.
    pub(super) fn of(&self, name: &str, what: String, error: &BollardError) -> Error {
        if is_missing(error) {
            return Error::NoContainer {
                host: self.host.clone(),
                name: name.to_owned(),
            };
        }
        self.error(what, error)
    }
}

fn body(spec: &Spec, labels: &BTreeMap<String, String>) -> ContainerCreateBody {
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in &spec.ports {
        bindings
            .entry(port.key())
            .or_default()
            .get_or_insert_default()
            .push(PortBinding {
                host_ip: None,
                host_port: Some(port.public.to_string()),
            });
    }
    let keys: Vec<String> = spec.keys().into_iter().collect();
    let mut all_labels: HashMap<String, String> = spec.labels.clone().into_iter().collect();
    all_labels.extend(labels.clone());
    all_labels.insert(LABEL_SPEC.to_owned(), spec.digest());
    all_labels.insert(LABEL_KEYS.to_owned(), keys.join(","));
    ContainerCreateBody {
        image: Some(spec.image.name().to_owned()),
        cmd: spec.command.clone(),
        entrypoint: spec.entrypoint.clone(),
        env: Some(
            spec.environment
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
        ),
        exposed_ports: Some(spec.ports.iter().map(|port| port.key()).collect()),
        hostname: spec.hostname.clone(),
        user: spec.user.clone(),
        labels: Some(all_labels),
        stop_timeout: spec.stop_timeout.map(signed),
        host_config: Some(HostConfig {
            binds: Some(spec.volumes.iter().map(ToString::to_string).collect()),
            port_bindings: Some(bindings),
            restart_policy: Some(restart_policy(spec.restart)),
            privileged: Some(spec.privileged),
            memory: spec.max_memory.map(signed),
            nano_cpus: spec.nano_cpus.map(signed),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

fn restart_policy(restart: Restart) -> RestartPolicy {
    RestartPolicy {
        name: Some(match restart {
            Restart::No => RestartPolicyNameEnum::NO,
            Restart::OnFailure => RestartPolicyNameEnum::ON_FAILURE,
            Restart::UnlessStopped => RestartPolicyNameEnum::UNLESS_STOPPED,
            Restart::Always => RestartPolicyNameEnum::ALWAYS,
        }),
        maximum_retry_count: None,
    }
}

/// The API counts in signed numbers. A limit past them is no limit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn listed(summary: ContainerSummary) -> Listed {
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

/// A container as the engine shows it after making it from a spec and starting it: for tests of
/// what is decided from that. The live tests hold it against the real thing.
#[cfg(test)]
pub(crate) fn as_made(spec: &Spec, labels: &BTreeMap<String, String>, ip: &str) -> Container {
    use bollard::models::{ContainerConfig, ContainerState, ContainerStateStatusEnum};
    use bollard::models::{EndpointSettings, NetworkSettings};

    let made = body(spec, labels);
    let endpoint = EndpointSettings {
        ip_address: Some(ip.to_owned()),
        ..EndpointSettings::default()
    };
    ContainerInspectResponse {
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
            networks: Some(HashMap::from([("bridge".to_owned(), endpoint)])),
            ..NetworkSettings::default()
        }),
        ..ContainerInspectResponse::default()
    }
    .into()
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

fn volume(bind: &str) -> Option<Volume> {
    let mut parts = bind.split(':');
    Some(Volume {
        host: parts.next()?.to_owned(),
        container: parts.next()?.to_owned(),
        read_only: parts.next() == Some("ro"),
    })
}
