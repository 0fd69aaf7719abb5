//! Operations on containers through the engine's API: create, start, stop, rename, update,
//! remove.

use std::{
    collections::{BTreeMap, HashMap},
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
        CreateContainerOptionsBuilder, KillContainerOptions, ListContainersOptionsBuilder,
        LogsOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
        RenameContainerOptionsBuilder, RestartContainerOptions, StartContainerOptions,
        StopContainerOptions,
    },
};
use futures_util::StreamExt;

use super::{
    body, labels,
    lookup::{full, is_name},
};
use crate::{
    core::owner::Owner,
    docker::{
        Container, Containers, Engine, Error, Progress, Snapshot, Spec, Volume,
        api_error::{cause, is_missing},
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
        match self.inspected(full(id)).await {
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

    async fn provide_image(
        &self,
        spec: &Spec,
        owner: &Owner,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        self.provide(spec, owner, progress).await
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

    async fn stop_at_once(&self, id: &str) -> Result<(), Error> {
        self.stop_within(id, Some(0)).await
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), Error> {
        let options = RenameContainerOptionsBuilder::new().name(name).build();
        match self.brief().rename_container(full(id), options).await {
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
        while let Some(line) = lines.next().await {
            let Ok(line) = line else {
                self.ignore_error();
                break;
            };
            text.push_str(&line.to_string());
        }
        text.trim_end().to_owned()
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
