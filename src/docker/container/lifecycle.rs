//! Operations on containers through the engine's API: list, create, start, stop, rename, update,
//! remove.

use std::{
    collections::{BTreeMap, HashMap},
    future::ready,
    pin::pin,
};

use async_trait::async_trait;
use bollard::{
    errors::Error as BollardError,
    models::{
        ContainerUpdateBody, Mount, MountType, RestartPolicy, RestartPolicyNameEnum,
        VolumeCreateRequest,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptions,
        ListContainersOptions, ListContainersOptionsBuilder, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, RemoveVolumeOptions, RenameContainerOptionsBuilder,
        RestartContainerOptions, StartContainerOptions, StopContainerOptions,
    },
};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{body, labels};
use crate::{
    core::diagnostic::nearest,
    docker::{
        Container, Containers, Engine, Error, Listed, Progress, Snapshot, Spec, Volume,
        engine::{cause, is_missing},
        image::reference::is_full_id,
    },
};

/// How many lines of a container's log go into an error.
const LOG_LINES: &str = "10";

#[async_trait]
impl Containers for Engine {
    fn host(&self) -> &str {
        &self.host
    }

    async fn snapshot(&self) -> Result<Snapshot, Error> {
        let (containers, images) = tokio::try_join!(self.all(), self.image_names())?;
        Ok(Snapshot {
            containers,
            images: images.ids,
            digests: images.digests,
        })
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, Error> {
        let options = None::<InspectContainerOptions>;
        match self.docker.inspect_container(full(id), options).await {
            Ok(inspected) => {
                let found = Container::from(inspected);
                self.remember_name(&found.id, &found.name);
                Ok((found.id == id).then_some(found))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.of(id, "inspecting", &error)),
        }
    }

    async fn find(&self, name: &str) -> Result<Option<Container>, Error> {
        if !is_name(name) {
            return Ok(None);
        }
        // The filter is a regular expression.
        let pattern = format!("^/?{}$", name.replace('.', "\\."));
        let filters = HashMap::from([("name".to_owned(), vec![pattern])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let listed = self.listed(options).await?;
        match listed.into_iter().find(|listed| listed.name == name) {
            Some(listed) => {
                let found = self.inspect(&listed.id).await?;
                Ok(found.filter(|found| found.name == name))
            }
            None => Ok(None),
        }
    }

    async fn provide_image(&self, spec: &Spec, progress: Progress<'_>) -> Result<(), Error> {
        self.provide(spec, progress).await
    }

    async fn create(
        &self,
        name: &str,
        spec: &Spec,
        labels: &BTreeMap<String, String>,
        volumes: &[Volume],
    ) -> Result<String, Error> {
        self.create_volumes(spec, labels).await?;
        self.create_networks(spec, labels).await?;
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let mut body = body::create(spec, labels).map_err(|error| self.mistaken(name, &error))?;
        let mounts = volumes.iter().map(|volume| Mount {
            typ: Some(MountType::VOLUME),
            source: Some(volume.host.clone()),
            target: Some(volume.container.clone()),
            ..Mount::default()
        });
        body.host_config.get_or_insert_default().mounts = Some(mounts.collect());
        match self.docker.create_container(Some(options), body).await {
            Ok(created) => {
                self.remember_name(&created.id, name);
                if let Err(error) = self.connect_networks(&created.id, spec).await {
                    self.remove(&created.id).await?;
                    return Err(error);
                }
                Ok(created.id)
            }
            Err(error) if is_missing(&error) => Err(Error::NoImage {
                host: self.host.clone(),
                image: spec.image.name().to_owned(),
                cause: "the server does not have it".to_owned(),
            }),
            Err(error) => {
                let error = self.error(format!("creating container `{name}`"), &error);
                Err(self.name_taken(name).await?.unwrap_or(error))
            }
        }
    }

    async fn start(&self, id: &str) -> Result<(), Error> {
        let options = None::<StartContainerOptions>;
        let started = self.docker.start_container(full(id), options).await;
        let Err(error) = started else {
            return Ok(());
        };
        let cause = cause(&error);
        if cause.contains("try unpause instead") {
            let unpaused = self.docker.unpause_container(id).await;
            return unpaused.map_err(|error| self.of(id, "unpausing", &error));
        }
        if let Some((port, is_by_engine)) = taken_port(&cause) {
            return Err(Error::PortAllocated {
                host: self.host.clone(),
                name: self.name_of(id),
                port,
                is_by_engine,
            });
        }
        Err(self.of(id, "starting", &error))
    }

    async fn stop(&self, id: &str) -> Result<(), Error> {
        self.stop_within(id, None).await
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), Error> {
        let options = RenameContainerOptionsBuilder::new().name(name).build();
        match self.docker.rename_container(full(id), options).await {
            Ok(()) => {
                self.remember_name(id, name);
                Ok(())
            }
            Err(error) if is_missing(&error) => Err(self.of(id, "renaming", &error)),
            Err(error) => {
                let error = self.of(id, "renaming", &error);
                Err(self.name_taken(name).await?.unwrap_or(error))
            }
        }
    }

    async fn update(&self, id: &str, spec: &Spec) -> Result<(), Error> {
        let name = self.name_of(id);
        let body = body::update(spec).map_err(|error| self.mistaken(&name, &error))?;
        self.change(id, body).await
    }

    async fn disable_restart(&self, id: &str) -> Result<(), Error> {
        let body = ContainerUpdateBody {
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            ..ContainerUpdateBody::default()
        };
        self.change(id, body).await
    }

    async fn wait_until_ready(&self, id: &str, spec: &Spec) -> Result<(), Error> {
        self.wait_for_probe(id, spec).await
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        let Some(found) = self.inspect(id).await? else {
            return Ok(());
        };
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        match self.docker.remove_container(full(id), Some(options)).await {
            Err(error) if !is_missing(&error) => return Err(self.of(id, "removing", &error)),
            _ => {}
        }
        // The engine removes only those that it made for this container, and not those that the
        // container got from the one that it replaced.
        for volume in &found.anonymous {
            let options = None::<RemoveVolumeOptions>;
            match self.docker.remove_volume(&volume.host, options).await {
                // 409: another container uses it.
                Ok(())
                | Err(BollardError::DockerResponseServerError {
                    status_code: 404 | 409,
                    ..
                }) => {}
                Err(error) => {
                    return Err(self.error(format!("removing volume `{}`", volume.host), &error));
                }
            }
        }
        Ok(())
    }
}

impl Engine {
    /// Creates the named volumes of a container that do not exist, with the labels of its owner. The
    /// engine would create them without labels.
    async fn create_volumes(
        &self,
        spec: &Spec,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let owner = labels::of_owner(labels);
        let volumes = spec.options.volumes().iter();
        for volume in volumes.filter(|volume| !volume.host.starts_with('/')) {
            let request = VolumeCreateRequest {
                name: Some(volume.host.clone()),
                labels: Some(owner.clone()),
                ..VolumeCreateRequest::default()
            };
            // Returns one that exists as it is.
            self.docker.create_volume(request).await.map_err(|error| {
                self.error(format!("creating volume `{}`", volume.host), &error)
            })?;
        }
        Ok(())
    }

    /// The running containers, or with `all`, also those that do not run, sorted by name.
    pub async fn list(&self, all: bool) -> Result<Vec<Listed>, Error> {
        let options = ListContainersOptionsBuilder::new().all(all).build();
        let mut listed = self.listed(options).await?;
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// Kills a container. Succeeds if it does not run.
    pub(in crate::docker) async fn kill(&self, id: &str) -> Result<(), Error> {
        let options = None::<KillContainerOptions>;
        match self.docker.kill_container(full(id), options).await {
            // 409: it does not run.
            Ok(())
            | Err(BollardError::DockerResponseServerError {
                status_code: 409, ..
            }) => Ok(()),
            Err(error) => Err(self.of(id, "killing", &error)),
        }
    }

    /// Stops a container, and kills it after this number of seconds; without one, after the
    /// container's own time. Does nothing if it does not run.
    pub(in crate::docker) async fn stop_within(
        &self,
        id: &str,
        seconds: Option<i32>,
    ) -> Result<(), Error> {
        let options = StopContainerOptions {
            t: seconds,
            signal: None,
        };
        let stopped = self.docker.stop_container(full(id), Some(options)).await;
        stopped.map_err(|error| self.of(id, "stopping", &error))
    }

    /// Stops and starts a container, as [`Engine::stop_within`] does. One that does not run is
    /// started.
    pub(in crate::docker) async fn restart_within(
        &self,
        id: &str,
        seconds: Option<i32>,
    ) -> Result<(), Error> {
        let options = RestartContainerOptions {
            t: seconds,
            signal: None,
        };
        let restarted = self.docker.restart_container(full(id), Some(options)).await;
        restarted.map_err(|error| self.of(id, "restarting", &error))
    }

    /// The last lines that a container wrote. Empty if they cannot be read.
    pub(super) async fn log_tail(&self, id: &str) -> String {
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail(LOG_LINES)
            .build();
        let mut lines = pin!(self.docker.logs(id, Some(options)));
        let mut text = String::new();
        while let Some(Ok(line)) = lines.next().await {
            text.push_str(&line.to_string());
        }
        text.trim_end().to_owned()
    }

    /// All containers, running or not, with all details, sorted by name.
    async fn all(&self) -> Result<Vec<Container>, Error> {
        let listed = self.list(true).await?;
        let mut containers: Vec<Container> = stream::iter(listed)
            .map(|listed| async move { self.inspect(&listed.id).await })
            .buffer_unordered(self.at_once())
            .try_filter_map(|container| ready(Ok(container)))
            .try_collect()
            .await?;
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    async fn listed(&self, options: ListContainersOptions) -> Result<Vec<Listed>, Error> {
        let listed = self.docker.list_containers(Some(options)).await;
        let listed = listed.map_err(|error| self.error("listing containers", &error))?;
        Ok(listed.into_iter().map(Listed::from).collect())
    }

    /// The error for a name that another container has; none if no container has it.
    async fn name_taken(&self, name: &str) -> Result<Option<Error>, Error> {
        let other = self.find(name).await?;
        Ok(other.map(|other| Error::NameTaken {
            host: self.host.clone(),
            name: name.to_owned(),
            owner: other.ownership(),
        }))
    }

    async fn change(&self, id: &str, body: ContainerUpdateBody) -> Result<(), Error> {
        let changed = self.docker.update_container(full(id), body).await;
        changed.map_err(|error| self.of(id, "updating", &error))
    }

    /// The error for options that the API does not accept.
    fn mistaken(&self, name: &str, error: &serde_json::Error) -> Error {
        Error::Api {
            host: self.host.clone(),
            what: format!("writing the options of container `{name}`"),
            cause: error.to_string(),
        }
    }

    /// The error for a container that does not exist.
    pub fn not_found(&self, name: &str) -> Error {
        Error::NoContainer {
            host: self.host.clone(),
            name: name.to_owned(),
            near: None,
        }
    }

    /// The container with exactly this name. If it does not exist, the error names a similar one.
    pub async fn named(&self, name: &str) -> Result<Container, Error> {
        if let Some(found) = self.find(name).await? {
            return Ok(found);
        }
        let listed = self.list(true).await?;
        let names = listed.iter().map(|listed| listed.name.as_str());
        Err(Error::NoContainer {
            host: self.host.clone(),
            name: name.to_owned(),
            near: nearest(name, names).map(str::to_owned),
        })
    }

    /// Converts the error of a call about one container; `doing` is the operation.
    pub(in crate::docker) fn of(&self, id: &str, doing: &str, error: &BollardError) -> Error {
        let name = self.name_of(id);
        if is_missing(error) {
            return self.not_found(&name);
        }
        self.error(format!("{doing} container `{name}`"), error)
    }
}

/// Checks that a text is a full id. The engine resolves any other text as a name or as the
/// beginning of an id; the replacement text used here can be neither.
fn full(id: &str) -> &str {
    if is_full_id(id) { id } else { "-" }
}

/// Whether a container can have this name.
pub(in crate::docker) fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || ['_', '.', '-'].contains(&c);
    !name.is_empty() && name.chars().all(is_allowed)
}

/// The public port that the engine cannot publish, and whether it has allocated it itself:
/// `Bind for 0.0.0.0:80 failed: port is already allocated`, or
/// `listen tcp4 0.0.0.0:80: bind: address already in use`.
fn taken_port(cause: &str) -> Option<(u16, bool)> {
    let port = |before: &str| before.rsplit(':').next()?.parse().ok();
    if let Some((before, _)) = cause.split_once(" failed: port is already allocated") {
        return Some((port(before)?, true));
    }
    let (before, _) = cause.split_once(": bind: address already in use")?;
    Some((port(before)?, false))
}

/// A container as the engine shows it after making it from a spec and starting it: for tests of
/// what is decided from that. The live tests hold it against the real thing.
#[cfg(test)]
pub(crate) fn as_made(spec: &Spec, labels: &BTreeMap<String, String>, ip: &str) -> Container {
    use bollard::models::{ContainerConfig, ContainerInspectResponse};
    use bollard::models::{ContainerState, ContainerStateStatusEnum};
    use bollard::models::{EndpointSettings, NetworkSettings};
    use data_encoding::HEXLOWER;
    use sha2::{Digest, Sha256};

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
