//! What is done to containers: making, starting, replacing, ending them.

use std::collections::{BTreeMap, HashMap};

use bollard::{
    errors::Error as BollardError,
    models::{
        ContainerCreateBody, ContainerUpdateBody, HostConfig, Mount, MountType, PortBinding,
        RestartPolicy, RestartPolicyNameEnum,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptions,
        ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
        RenameContainerOptionsBuilder, StartContainerOptions, StopContainerOptions,
    },
};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::docker::{
    Container, Engine, Error, Listed, Restart, Spec, Volume,
    container::spec::{LABEL_KEYS, LABEL_MASKED, LABEL_SPEC},
    engine::is_missing,
};

/// How many containers are inspected at once on one connection.
const AT_ONCE: usize = 4;

/// How many lines of a container's log go into an error.
const LOG_LINES: &str = "10";

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
            .map(Listed::from)
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

    /// Makes a container, without starting it. `labels` and `volumes` come on top of the spec's
    /// own.
    pub(super) async fn create_as(
        &self,
        name: &str,
        spec: &Spec,
        labels: &BTreeMap<String, String>,
        volumes: &[Volume],
    ) -> Result<(), Error> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let mut body = body(spec, labels);
        let mounts = volumes.iter().map(|volume| Mount {
            typ: Some(MountType::VOLUME),
            source: Some(volume.host.clone()),
            target: Some(volume.container.clone()),
            ..Mount::default()
        });
        body.host_config.get_or_insert_default().mounts = Some(mounts.collect());
        match self.docker.create_container(Some(options), body).await {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) => Err(Error::NoImage {
                host: self.host.clone(),
                image: spec.image.name().to_owned(),
                cause: "the server does not have it".to_owned(),
            }),
            Err(BollardError::DockerResponseServerError {
                status_code: 409, ..
            }) => Err(self.name_taken(name)),
            Err(error) => Err(self.error(format!("making container `{name}`"), &error)),
        }
    }

    /// The error for a name that a container has already.
    pub fn name_taken(&self, name: &str) -> Error {
        Error::NameTaken {
            host: self.host.clone(),
            name: name.to_owned(),
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

    /// Lets a container that ends stay as it is.
    pub(super) async fn never_restart(&self, name: &str) -> Result<(), Error> {
        let body = ContainerUpdateBody {
            restart_policy: Some(restart_policy(Restart::No)),
            ..ContainerUpdateBody::default()
        };
        self.docker
            .update_container(name, body)
            .await
            .map_err(|error| self.of(name, format!("changing container `{name}`"), &error))
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
    if !spec.masked.is_empty() {
        let masked: Vec<&str> = spec.masked.iter().map(String::as_str).collect();
        all_labels.insert(LABEL_MASKED.to_owned(), masked.join(","));
    }
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

/// A container as the engine shows it after making it from a spec and starting it: for tests of
/// what is decided from that. The live tests hold it against the real thing.
#[cfg(test)]
pub(crate) fn as_made(spec: &Spec, labels: &BTreeMap<String, String>, ip: &str) -> Container {
    use bollard::models::{ContainerConfig, ContainerInspectResponse};
    use bollard::models::{ContainerState, ContainerStateStatusEnum};
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
