//! The engine of a simulated server.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;

use super::{Engine, Refusal, Shared, State, change};
use crate::{
    core::owner::Owner,
    docker::{
        self, Container, Containers, Port, Progress, Pull, Snapshot, Spec, State as Condition,
        Volume, as_made,
    },
};

/// The engine of one simulated server.
pub(super) struct SimulatedEngine {
    pub shared: Arc<Mutex<Shared>>,
    pub host: String,
    pub server: String,
    pub run: u32,
}

impl SimulatedEngine {
    fn error(&self, what: &str, refusal: Refusal) -> docker::Error {
        let host = self.host.clone();
        match refusal {
            Refusal::NameTaken(name, owner) => docker::Error::NameTaken { host, name, owner },
            Refusal::PortAllocated(port) => docker::Error::PortAllocated {
                is_by_engine: true,
                host,
                port,
                name: what.to_owned(),
            },
            Refusal::NoImage(image) => docker::Error::NoImage {
                host,
                image,
                cause: "not found".to_owned(),
            },
            Refusal::NoContainer(name) => docker::Error::NoContainer {
                host,
                name,
                near: None,
            },
            Refusal::Other(cause) => docker::Error::Api {
                host,
                what: what.to_owned(),
                cause,
            },
        }
    }

    async fn change<T>(
        &self,
        what: &str,
        act: impl FnOnce(&mut Engine, &State) -> Result<T, Refusal>,
    ) -> Result<T, docker::Error> {
        let holder = self
            .shared
            .lock()
            .unwrap()
            .locked
            .get(&self.server)
            .copied();
        assert_eq!(
            holder,
            Some(self.run),
            "{what} on `{}` without its lock",
            self.host
        );
        let changed = change(&self.shared, what, |state| {
            let before = State {
                changes: state.changes,
                ..State::default()
            };
            let server = state.find(&self.host, &self.server);
            let engine = server.and_then(|server| server.engine.as_mut());
            act(
                engine.ok_or(Refusal::Other("no engine".to_owned()))?,
                &before,
            )
        });
        changed.await.map_err(|refusal| self.error(what, refusal))
    }

    fn look<T>(&self, look: impl FnOnce(&Engine) -> T) -> Result<T, docker::Error> {
        let mut shared = self.shared.lock().unwrap();
        let server = shared.state.find(&self.host, &self.server);
        let engine = server.and_then(|server| server.engine.as_ref());
        engine
            .map(look)
            .ok_or_else(|| self.error("looking", Refusal::Other("no engine".to_owned())))
    }
}

impl Engine {
    fn find(&mut self, id: &str) -> Result<&mut Container, Refusal> {
        let found = self
            .containers
            .iter_mut()
            .find(|container| container.id == id);
        found.ok_or(Refusal::NoContainer(id.to_owned()))
    }

    fn refuse_name(&self, name: &str) -> Result<(), Refusal> {
        match self
            .containers
            .iter()
            .find(|container| container.name == name)
        {
            Some(taken) => Err(Refusal::NameTaken(name.to_owned(), taken.ownership())),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Containers for SimulatedEngine {
    fn host(&self) -> &str {
        &self.host
    }

    async fn snapshot(&self) -> Result<Snapshot, docker::Error> {
        self.look(|engine| {
            let mut containers = engine.containers.clone();
            containers.sort_by(|a, b| a.name.cmp(&b.name));
            Snapshot {
                containers,
                images: engine.images.clone(),
                digests: engine.digests.clone(),
            }
        })
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, docker::Error> {
        self.look(|engine| engine.containers.iter().find(|c| c.id == id).cloned())
    }

    async fn find(&self, name: &str) -> Result<Option<Container>, docker::Error> {
        self.look(|engine| engine.containers.iter().find(|c| c.name == name).cloned())
    }

    async fn provide_image(
        &self,
        spec: &Spec,
        _: &Owner,
        _: Progress<'_>,
    ) -> Result<(), docker::Error> {
        let image = spec.image.name().to_owned();
        let published = self
            .shared
            .lock()
            .unwrap()
            .state
            .published
            .get(&image)
            .cloned();
        let is_there = self.look(|engine| match (engine.images.get(&image), &published) {
            (Some(id), Some(digest)) if spec.pull == Pull::Check => engine
                .digests
                .get(id)
                .is_some_and(|known| known.contains(digest)),
            (id, _) => id.is_some(),
        })?;
        if is_there {
            return Ok(());
        }
        self.change("pulling", |engine, _| {
            if image.starts_with("missing") {
                return Err(Refusal::NoImage(image));
            }
            let id = match &published {
                Some(digest) => format!("sha256:{image}@{digest}"),
                None => format!("sha256:{image}"),
            };
            engine
                .digests
                .insert(id.clone(), published.into_iter().collect());
            engine.images.insert(image.clone(), id);
            Ok(())
        })
        .await
    }

    async fn create(
        &self,
        name: &str,
        spec: &Spec,
        labels: &BTreeMap<String, String>,
        volumes: &[Volume],
    ) -> Result<String, docker::Error> {
        self.change("creating", |engine, state| {
            engine.refuse_name(name)?;
            let image = spec.image.name();
            let image_id = engine
                .images
                .get(image)
                .ok_or(Refusal::NoImage(image.to_owned()))?;
            let id = state.id(64);
            let mut made = as_made(spec, labels, "");
            made.id.clone_from(&id);
            name.clone_into(&mut made.name);
            made.image_id.clone_from(image_id);
            made.state = Condition::Created;
            made.ip = None;
            made.anonymous = volumes.to_vec();
            // An image that declares a volume.
            if image.starts_with("data") && volumes.is_empty() {
                let volume = state.id(64);
                engine.volumes.insert(volume.clone(), volume.clone());
                made.anonymous.push(Volume {
                    host: volume,
                    container: "/data".to_owned(),
                    read_only: false,
                });
            }
            engine.containers.push(made);
            Ok(id)
        })
        .await
    }

    async fn start(&self, id: &str) -> Result<(), docker::Error> {
        self.change("starting", |engine, state| {
            let others = engine.containers.iter();
            let held: BTreeSet<Port> = others
                .filter(|other| other.id != id && other.state.holds_processes())
                .flat_map(Container::ports)
                .copied()
                .collect();
            let found = engine.find(id)?;
            for port in found.ports().clone() {
                if held.iter().any(|held| held.conflicts_with(&port)) {
                    return Err(Refusal::PortAllocated(port.public));
                }
            }
            if found.state != Condition::Running {
                found.state = Condition::Running;
                found.ip = Some(IpAddr::V4(state.ip(172)));
            }
            Ok(())
        })
        .await
    }

    async fn stop(&self, id: &str) -> Result<(), docker::Error> {
        self.change("stopping", |engine, _| {
            let found = engine.find(id)?;
            if found.state.holds_processes() {
                found.state = Condition::Exited;
                found.ip = None;
            }
            Ok(())
        })
        .await
    }

    async fn stop_at_once(&self, id: &str) -> Result<(), docker::Error> {
        self.stop(id).await
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), docker::Error> {
        self.change("renaming", |engine, _| {
            engine.refuse_name(name)?;
            name.clone_into(&mut engine.find(id)?.name);
            Ok(())
        })
        .await
    }

    async fn update(&self, id: &str, spec: &Spec) -> Result<(), docker::Error> {
        self.change("changing", |engine, _| {
            let wanted = as_made(spec, &BTreeMap::new(), "");
            let found = engine.find(id)?;
            found.options.update(&wanted.options);
            Ok(())
        })
        .await
    }

    async fn disable_restart(&self, id: &str) -> Result<(), docker::Error> {
        self.change("changing", |engine, _| {
            engine.find(id)?.options.set_text("restart", "no");
            Ok(())
        })
        .await
    }

    async fn wait_until_ready(&self, id: &str, spec: &Spec) -> Result<(), docker::Error> {
        tokio::task::yield_now().await;
        let found = self.inspect(id).await?;
        if found.is_some_and(|found| found.image.starts_with("broken")) {
            return Err(docker::Error::NotReady {
                host: self.host.clone(),
                name: spec.name.clone(),
                cause: "ended with status 1".to_owned(),
                log: String::new(),
                now: String::new(),
            });
        }
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), docker::Error> {
        self.change("removing", |engine, _| {
            let Some(at) = engine.containers.iter().position(|c| c.id == id) else {
                return Ok(());
            };
            let removed = engine.containers.remove(at);
            for volume in removed.anonymous {
                let used = engine.containers.iter().flat_map(|c| &c.anonymous);
                if !used.into_iter().any(|other| other.host == volume.host) {
                    engine.volumes.remove(&volume.host);
                }
            }
            Ok(())
        })
        .await
    }
}
