//! Servers that are containers of this machine's Docker Engine.
//!
//! Each has sshd, sudo, iptables and room for an engine of its own. They run without
//! `--privileged`, which some machines refuse. All state is the engine's: a server's name is its
//! container's, the rest is in labels.

mod host_key;
mod image;
mod network;
mod options;
mod server;

use std::{
    collections::{BTreeSet, HashMap},
    fs::{File, TryLockError},
    net::Ipv4Addr,
    path::PathBuf,
    time::Duration,
};

use async_trait::async_trait;
use bollard::{
    errors::Error as BollardError,
    models::{ContainerInspectResponse, ContainerUpdateBody},
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
        RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder,
        RestartContainerOptionsBuilder, StartContainerOptions,
    },
};
use host_key::host_key;
use image::IMAGES;
use jiff::Timestamp;
use network::{NETWORK, address, ensure_network, free_address, is_address_taken};
use options::{Options, Size};
use server::{LABEL_IMAGE, LABEL_MANIFEST, LABEL_PREFIX, LABEL_PROTECT, body};
use tokio::time::sleep;

use super::{Create, Error, Node, NodeState, Provider, ServerChange, differences};
use crate::{
    core::{
        event::Activity,
        value::{Invalid, Value},
    },
    docker::{self, Engine},
    project::make_private_folder,
    ssh::{KeyPair, Login},
};

/// The provider's name.
const NAME: &str = "local";

/// How long a server has to stop, in seconds.
const STOP_TIMEOUT: i32 = 5;
/// How often a lock is asked for that somebody else has.
const LOCK_RETRY: Duration = Duration::from_millis(20);
/// How many addresses are tried for a server.
const ADDRESS_TRIES: usize = 20;

/// The local provider.
pub struct Local {
    prefix: String,
    data: PathBuf,
}

impl Local {
    /// Servers whose containers' names begin with `prefix`. Keys and locks are kept in `data`.
    pub fn new(prefix: impl Into<String>, data: PathBuf) -> Self {
        Local {
            prefix: prefix.into(),
            data,
        }
    }

    async fn engine(&self) -> Result<Engine, Error> {
        Engine::here().await.map_err(|error| {
            let cause = match error {
                docker::Error::NoEngine { cause, .. } => cause,
                other => other.to_string(),
            };
            if Engine::is_expected_here() {
                return failed("asking the Docker Engine of this machine", cause);
            }
            Error::NotConfigured {
                provider: NAME.to_owned(),
                cause,
                help: "`hitc run local.setup` installs and starts Docker here".to_owned(),
            }
        })
    }

    /// The key pair that all local servers admit.
    fn key(&self) -> Result<KeyPair, Error> {
        Ok(KeyPair::ensure(&self.data.join("id_ed25519"))?)
    }

    fn container_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Held while addresses are given out or images are made, so that two runs do not do the same
    /// thing twice.
    async fn lock(&self) -> Result<File, Error> {
        let fail = |error: std::io::Error| failed("taking the lock", error);
        make_private_folder(&self.data).map_err(fail)?;
        let file = File::create(self.data.join("local.lock")).map_err(fail)?;
        // Not by waiting in the kernel, which nothing could end.
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => sleep(LOCK_RETRY).await,
                Err(TryLockError::Error(error)) => return Err(fail(error)),
            }
        }
    }

    async fn inspect(
        &self,
        engine: &Engine,
        name: &str,
    ) -> Result<Option<ContainerInspectResponse>, Error> {
        match engine
            .api()
            .inspect_container(name, None::<InspectContainerOptions>)
            .await
        {
            Ok(found) => Ok(Some(found)),
            Err(BollardError::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(None),
            Err(error) => Err(refusal(&format!("inspecting `{name}`"), &error)),
        }
    }

    /// Removes a container with its volumes; one that is gone already is fine.
    async fn remove(&self, engine: &Engine, name: &str) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        match engine.api().remove_container(name, Some(options)).await {
            Ok(())
            | Err(BollardError::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(()),
            Err(error) => Err(refusal(&format!("removing `{name}`"), &error)),
        }
    }

    /// All local servers of this machine, whatever their prefix.
    async fn all(&self, engine: &Engine) -> Result<Vec<ContainerInspectResponse>, Error> {
        let filters = HashMap::from([("label", vec![LABEL_PREFIX])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let listed = engine
            .api()
            .list_containers(Some(options))
            .await
            .map_err(|error| refusal("listing its servers", &error))?;
        let mut servers = Vec::new();
        for id in listed.into_iter().filter_map(|one| one.id) {
            servers.extend(self.inspect(engine, &id).await?);
        }
        Ok(servers)
    }

    fn node(&self, found: &ContainerInspectResponse) -> Option<Node> {
        let labels = found.config.as_ref()?.labels.as_ref()?;
        if labels.get(LABEL_PREFIX)? != &self.prefix {
            return None;
        }
        let name = found.name.as_ref()?.trim_start_matches('/');
        let host_config = found.host_config.as_ref()?;
        let unsigned = |n: Option<i64>| u64::try_from(n.unwrap_or_default()).unwrap_or(0);
        let size = Size {
            nano_cpus: unsigned(host_config.nano_cpus),
            memory: unsigned(host_config.memory),
        };
        let ip = address(found).map(|ip| ip.to_string()).unwrap_or_default();
        let status = found.state.as_ref()?.status?.to_string();
        Some(Node {
            provider: NAME.to_owned(),
            name: name.strip_prefix(&self.prefix)?.to_owned(),
            id: found.id.as_ref()?.chars().take(12).collect(),
            size: size.to_string(),
            image: labels.get(LABEL_IMAGE).cloned().unwrap_or_default(),
            internal_ip: ip.clone(),
            ip,
            state: match status.as_str() {
                "created" => NodeState::Creating,
                "running" | "restarting" => NodeState::Running,
                _ => NodeState::Stopped,
            },
            created: found
                .created
                .as_ref()
                .and_then(|created| created.parse::<Timestamp>().ok()),
            region: String::new(),
            is_protected: labels.contains_key(LABEL_PROTECT),
            manifest: labels.get(LABEL_MANIFEST).cloned(),
        })
    }

    /// Makes a container, without starting it, with an address that is not in `refused`. In one
    /// call: it has its name, its labels and its address from the first moment, or it is not there.
    async fn make(
        &self,
        engine: &Engine,
        create: &Create,
        options: &Options,
        image: &str,
        refused: &BTreeSet<Ipv4Addr>,
    ) -> Result<(), Error> {
        let (subnet, gateway) = ensure_network(engine).await?;
        let mut taken: BTreeSet<Ipv4Addr> =
            self.all(engine).await?.iter().filter_map(address).collect();
        taken.extend(refused);
        let ip = free_address(subnet, gateway, &taken, &create.name)
            .ok_or_else(|| failed("finding an address", format!("network `{NETWORK}` is full")))?;
        let name = self.container_name(&create.name);
        let mut body = body(
            &self.prefix,
            create,
            options,
            image,
            ip,
            &self.key()?.public,
        );
        let query = CreateContainerOptionsBuilder::new().name(&name).build();
        let mut made = engine
            .api()
            .create_container(Some(query.clone()), body.clone())
            .await;
        // A machine without SYS_RESOURCE: an engine before 26 would add it with ALL, and fail to
        // start the container, unless it is dropped; a later one knows that it has none to drop.
        if made
            .as_ref()
            .is_err_and(|error| error.to_string().contains("CapDrop"))
        {
            let host_config = body.host_config.get_or_insert_default();
            host_config.cap_drop = None;
            made = engine.api().create_container(Some(query), body).await;
        }
        match made {
            Ok(_)
            // Somebody was faster.
            | Err(BollardError::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
            Err(error) => Err(refusal(&format!("making `{name}`"), &error)),
        }
    }
}

#[async_trait]
impl Provider for Local {
    fn name(&self) -> &str {
        NAME
    }

    fn validate(&self, options: &Value) -> Result<(), Invalid> {
        Options::decode(options).map(drop)
    }

    fn is_far(&self) -> bool {
        false
    }

    async fn list(&self) -> Result<Vec<Node>, Error> {
        let engine = self.engine().await?;
        let all = self.all(&engine).await?;
        Ok(all.iter().filter_map(|found| self.node(found)).collect())
    }

    async fn create(&self, create: &Create, activity: &Activity) -> Result<Node, Error> {
        let options = Options::decode(&create.options)
            .map_err(|error| failed("reading its options", error))?;
        let engine = self.engine().await?;
        let name = self.container_name(&create.name);
        let what = format!("starting `{name}`");
        let mut refused = BTreeSet::new();
        loop {
            {
                let _lock = self.lock().await?;
                if self.inspect(&engine, &name).await?.is_none() {
                    let progress = |text| activity.update(text);
                    let image = options.image.ensure(&engine, &progress).await?;
                    self.make(&engine, create, &options, &image, &refused)
                        .await?;
                }
            }
            activity.update("starting");
            let start = engine
                .api()
                .start_container(&name, None::<StartContainerOptions>);
            let started = start.await;
            let found = self.inspect(&engine, &name).await?;
            let found = found.ok_or_else(|| failed(&what, "it is gone"))?;
            match started {
                Ok(()) => return self.node(&found).ok_or_else(|| failed(&what, "it is gone")),
                // Another user's run was faster with the address: the engine decides.
                Err(error) if is_address_taken(&error) && refused.len() < ADDRESS_TRIES => {
                    refused.extend(address(&found));
                    self.remove(&engine, &name).await?;
                }
                Err(error) => return Err(refusal(&what, &error)),
            }
        }
    }

    async fn terminate(&self, node: &Node) -> Result<(), Error> {
        self.remove(&self.engine().await?, &node.id).await
    }

    async fn reboot(&self, node: &Node) -> Result<(), Error> {
        let engine = self.engine().await?;
        let options = RestartContainerOptionsBuilder::new()
            .t(STOP_TIMEOUT)
            .build();
        engine
            .api()
            .restart_container(&node.id, Some(options))
            .await
            .map_err(|error| refusal(&format!("rebooting `{}`", node.name), &error))
    }

    async fn rename(&self, node: &Node, name: &str) -> Result<(), Error> {
        let engine = self.engine().await?;
        let options = RenameContainerOptionsBuilder::new()
            .name(&self.container_name(name))
            .build();
        engine
            .api()
            .rename_container(&node.id, options)
            .await
            .map_err(|error| refusal(&format!("renaming `{}`", node.name), &error))
    }

    fn changes(&self, node: &Node, options: &Value) -> Result<Vec<ServerChange>, Invalid> {
        let wanted = Options::decode(options)?;
        // The engine cannot take a limit away from a container.
        let can_resize = wanted.size != Size::default();
        let (size, image) = (wanted.size.to_string(), wanted.image.name.to_owned());
        Ok(differences([
            ("size", &node.size, &size, can_resize),
            ("image", &node.image, &image, false),
        ]))
    }

    async fn resize(&self, node: &Node, options: &Value) -> Result<(), Error> {
        let size = Options::decode(options)
            .map_err(|error| failed("reading its options", error))?
            .size;
        let (memory, nano_cpus) = size.limits();
        let body = ContainerUpdateBody {
            memory,
            memory_swap: memory.map(|memory| memory.saturating_mul(2)),
            nano_cpus,
            ..ContainerUpdateBody::default()
        };
        let engine = self.engine().await?;
        engine
            .api()
            .update_container(&node.id, body)
            .await
            .map(drop)
            .map_err(|error| refusal(&format!("resizing `{}`", node.name), &error))
    }

    async fn login(&self, node: &Node) -> Result<Login, Error> {
        let engine = self.engine().await?;
        Ok(Login {
            name: node.name.clone(),
            address: node.ip.clone(),
            port: Some(22),
            user: Some("root".to_owned()),
            identity: Some(self.key()?.path),
            unconfigured: true,
            host_key: Some(host_key(&engine, node).await?),
            ..Login::default()
        })
    }

    async fn set_up(&self, activity: &Activity) -> Result<(), Error> {
        activity.update("setting up Docker on this machine");
        let progress = |text| activity.update(text);
        docker::set_up_here(&progress).await?;
        let engine = self.engine().await?;
        let _lock = self.lock().await?;
        IMAGES[0].ensure(&engine, &progress).await?;
        ensure_network(&engine).await?;
        self.key()?;
        Ok(())
    }
}

/// What the engine said.
fn refusal(what: &str, error: &BollardError) -> Error {
    failed(what, docker::cause(error))
}

fn failed(what: &str, cause: impl std::fmt::Display) -> Error {
    Error::Failed {
        provider: NAME.to_owned(),
        what: what.to_owned(),
        cause: cause.to_string(),
    }
}
