//! The local provider: servers that are containers of this machine's Docker Engine.
//!
//! Each has sshd, sudo, iptables and room for an engine of its own. They run without `--privileged`,
//! which some machines refuse. The engine keeps all state: a server's name is the name of its
//! container, the rest is in labels.

mod adoption;
mod host_key;
mod image;
mod network;
mod options;
mod saved_image;
mod server;

use std::{
    collections::{BTreeSet, HashMap},
    fs::{File, TryLockError},
    net::Ipv4Addr,
    path::PathBuf,
    time::Duration,
};

use adoption::{Adopted, adopt, adopted, forget_adoption};
use async_trait::async_trait;
use bollard::{
    errors::Error as BollardError,
    models::{ContainerInspectResponse, ContainerStateStatusEnum, ContainerUpdateBody},
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
        RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder,
        RestartContainerOptionsBuilder, StartContainerOptions,
    },
};
use futures_util::future::try_join_all;
use host_key::{HostKeys, host_key};
use image::IMAGES;
use jiff::Timestamp;
use network::{NETWORK, address, ensure_network, free_address, is_address_taken};
use options::{Options, Size, Source};
use saved_image::remove_unnamed;
use server::{LABEL_IMAGE, LABEL_MANIFEST, LABEL_PREFIX, LABEL_PROJECT, LABEL_PROTECT, body};
use tokio::{sync::OnceCell, time::sleep};

use super::{
    Address, Cost, Create, CreateImage, Error, Node, NodeState, Provider, SavedImage, ServerChange,
    differences, look_again, refuse_other_server, refuse_protected, tag,
};
use crate::{
    core::{
        diagnostic::plain,
        event::Activity,
        owner::{Owner, Ownership},
        value::{Invalid, Value},
    },
    docker::{self, Engine},
    project::{Project, ProjectId, make_private_folder},
    ssh::{KeyPair, Login},
};

/// The provider's name.
const NAME: &str = "local";

/// Seconds that a server has to stop before it is killed.
const STOP_TIMEOUT: i32 = 5;
/// The pause between attempts to take the lock.
const LOCK_RETRY: Duration = Duration::from_millis(20);
/// How many addresses are tried for one server.
const ADDRESS_TRIES: usize = 20;

/// The local provider.
pub struct Local {
    prefix: String,
    data: PathBuf,
    /// The user's project, whose images its orders may name.
    project: Option<Project>,
    host_keys: HostKeys,
    /// The connection to the engine, once there is one.
    engine: OnceCell<Engine>,
}

impl Local {
    /// The servers with this name prefix. Keys and locks are files in `data`.
    pub fn new(prefix: impl Into<String>, data: PathBuf) -> Self {
        Local {
            prefix: prefix.into(),
            host_keys: HostKeys::new(&data),
            data,
            project: None,
            engine: OnceCell::new(),
        }
    }

    /// The same for the servers of a project, which may be created from its images.
    #[must_use]
    pub fn of_project(self, project: Project) -> Self {
        let project = Some(project);
        Local { project, ..self }
    }

    async fn engine(&self) -> Result<Engine, Error> {
        self.engine.get_or_try_init(Local::connect).await.cloned()
    }

    async fn connect() -> Result<Engine, Error> {
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

    /// The key pair that logs in to all local servers.
    fn key(&self) -> Result<KeyPair, Error> {
        Ok(KeyPair::ensure(&self.data.join("id_ed25519"))?)
    }

    fn container_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Takes the lock that serializes assigning addresses and building images among processes. It is
    /// held until the file is dropped.
    async fn lock(&self) -> Result<File, Error> {
        let path = self.data.join("local.lock");
        let fail = |error: std::io::Error| {
            failed(
                &format!("taking the lock `{}`", path.display()),
                plain(error),
            )
        };
        make_private_folder(&self.data).map_err(fail)?;
        let file = File::create(&path).map_err(fail)?;
        // Waiting in the kernel could not be interrupted.
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

    /// Removes a container with its anonymous volumes. Succeeds if it does not exist.
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

    /// The server as it is now and the full id of its container, after another look at both.
    async fn confirm(&self, engine: &Engine, node: &Node) -> Result<(Node, String), Error> {
        let found = look_again(self, node).await?;
        let container = self.inspect(engine, &node.id).await?;
        let id = container.and_then(|container| container.id);
        Ok((found, id.ok_or_else(|| node.gone())?))
    }

    /// The local servers of this machine: of this label, or whatever their prefix.
    async fn servers(
        &self,
        engine: &Engine,
        label: &str,
    ) -> Result<Vec<ContainerInspectResponse>, Error> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let listed = engine
            .api()
            .list_containers(Some(options))
            .await
            .map_err(|error| refusal("listing its servers", &error))?;
        let ids: Vec<String> = listed.into_iter().filter_map(|one| one.id).collect();
        let servers = try_join_all(ids.iter().map(|id| self.inspect(engine, id))).await?;
        Ok(servers.into_iter().flatten().collect())
    }

    fn node(&self, found: &ContainerInspectResponse, adopted: &Adopted) -> Option<Node> {
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
        let ip = address(found).map(|ip| Address::Ip(ip.into()));
        let label = |key: &str| labels.get(key).cloned();
        let status = found.state.as_ref()?.status?.to_string();
        let node = Node {
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
            container: None,
            owner: match adopted.get(found.id.as_ref()?) {
                Some(owner) => Ownership::Owner(owner.clone()),
                None => tag::ownership(label(LABEL_PROJECT), label(LABEL_MANIFEST)),
            },
            user: None,
        };
        Some(node.of_cloud())
    }

    /// The id of an existing container that has the name of a server to be created, if the container
    /// is the same server.
    fn existing(
        &self,
        found: &ContainerInspectResponse,
        adopted: &Adopted,
        create: &Create,
    ) -> Result<String, Error> {
        let node = self.node(found, adopted).ok_or_else(|| {
            let cause = "a container of this name exists, and is not a server of this prefix";
            let name = self.container_name(&create.name);
            failed(&format!("creating container `{name}`"), cause)
        })?;
        refuse_other_server(&node, create)?;
        Ok(found.id.clone().unwrap_or_default())
    }

    /// Creates a container, without starting it, with an address that is not in `refused`. One call
    /// sets its name, labels and address, so that a run that dies leaves nothing without them.
    /// Returns its id, or none if another process created a container of this name meanwhile.
    async fn make(
        &self,
        engine: &Engine,
        create: &Create,
        options: &Options,
        image: &str,
        refused: &BTreeSet<Ipv4Addr>,
    ) -> Result<Option<String>, Error> {
        let (subnet, gateway) = ensure_network(engine).await?;
        let others = self.servers(engine, LABEL_PREFIX).await?;
        let mut taken: BTreeSet<Ipv4Addr> = others.iter().filter_map(address).collect();
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
        // On a machine without SYS_RESOURCE, an engine before 26 adds that capability with ALL, and
        // fails to start the container unless it is dropped. A later engine refuses to drop it.
        if made
            .as_ref()
            .is_err_and(|error| error.to_string().contains("CapDrop"))
        {
            let host_config = body.host_config.get_or_insert_default();
            host_config.cap_drop = None;
            made = engine.api().create_container(Some(query), body).await;
        }
        match made {
            Ok(made) => Ok(Some(made.id)),
            Err(BollardError::DockerResponseServerError {
                status_code: 409, ..
            }) => Ok(None),
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

    async fn costs(&self, nodes: &[Node]) -> Result<Vec<Cost>, Error> {
        Ok(vec![Cost::Free; nodes.len()])
    }

    async fn quote(&self, _: &str, options: &Value) -> Result<Cost, Error> {
        if let Source::Saved(name) = Options::decode(options)?.image {
            // A mistake in the id's file was reported before.
            let project = self.project.as_ref();
            let project = project.and_then(|project| project.id().ok().flatten());
            let project = project.as_ref().map(ProjectId::as_str);
            self.saved(&name, project).await?;
        }
        Ok(Cost::Free)
    }

    async fn list(&self) -> Result<Vec<Node>, Error> {
        let engine = self.engine().await?;
        let label = format!("{LABEL_PREFIX}={}", self.prefix);
        let servers = self.servers(&engine, &label);
        let (servers, adopted) = tokio::try_join!(servers, adopted(&engine))?;
        let nodes = servers
            .iter()
            .filter_map(|found| self.node(found, &adopted));
        Ok(nodes.collect())
    }

    async fn create(&self, create: &Create, activity: &Activity) -> Result<Node, Error> {
        let options = Options::decode(&create.options)
            .map_err(|error| failed("reading its options", error))?;
        let engine = self.engine().await?;
        let name = self.container_name(&create.name);
        let what = format!("starting `{name}`");
        let mut refused = BTreeSet::new();
        let adopted = adopted(&engine).await?;
        loop {
            let lock = self.lock().await?;
            // A server that has run has data, and is not ours to remove.
            let mut is_new = true;
            let id = match self.inspect(&engine, &name).await? {
                Some(found) => {
                    is_new = has_never_run(&found);
                    Some(self.existing(&found, &adopted, create)?)
                }
                None => {
                    let progress = |text| activity.update(text);
                    let project = Some(create.owner.project.as_str());
                    let image = match &options.image {
                        Source::BuiltIn(image) => image.ensure(&engine, &progress).await?,
                        Source::Saved(name) => self.saved(name, project).await?,
                    };
                    self.make(&engine, create, &options, &image, &refused)
                        .await?
                }
            };
            drop(lock);
            let Some(id) = id else {
                continue;
            };
            activity.update("starting");
            let start = engine
                .api()
                .start_container(&id, None::<StartContainerOptions>);
            let started = start.await;
            let found = self.inspect(&engine, &id).await?;
            let found = found.ok_or_else(|| failed(&what, "another process removed it"))?;
            match started {
                Ok(()) => {
                    let node = self.node(&found, &adopted);
                    return node.ok_or_else(|| failed(&what, "another process renamed it"));
                }
                // A run of another user took the address meanwhile: the engine decides.
                Err(error)
                    if is_new && is_address_taken(&error) && refused.len() < ADDRESS_TRIES =>
                {
                    refused.extend(address(&found));
                    self.remove(&engine, &id).await?;
                }
                Err(error) => return Err(refusal(&what, &error)),
            }
        }
    }

    async fn find(&self, node: &Node) -> Result<Option<Node>, Error> {
        let engine = self.engine().await?;
        let Some(found) = self.inspect(&engine, &node.id).await? else {
            return Ok(None);
        };
        // The engine takes names for ids, too: a container may be called like this id.
        let is_it = found.id.as_ref().is_some_and(|id| id.starts_with(&node.id));
        if !is_it {
            let cause = "a container has this id as its name; rename the container";
            return Err(failed(
                &format!("looking at `{}` ({})", node.name, node.id),
                cause,
            ));
        }
        let adopted = adopted(&engine).await?;
        if let Some(found) = self.node(&found, &adopted) {
            return Ok(Some(found));
        }
        // The labels of a container do not change, but its name may.
        let name = found.name.unwrap_or_default();
        let cause = tag::no_name_cause(name.trim_start_matches('/'), &self.prefix, None);
        Err(node.unrecognized(cause))
    }

    async fn terminate(&self, node: &Node) -> Result<(), Error> {
        let engine = self.engine().await?;
        let (found, id) = match self.confirm(&engine, node).await {
            Ok(confirmed) => confirmed,
            Err(Error::Gone { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        refuse_protected([&found])?;
        let is_saved = IMAGES.iter().all(|image| image.name != found.image);
        let container = if is_saved {
            self.inspect(&engine, &id).await?
        } else {
            None
        };
        self.remove(&engine, &id).await?;
        if let Some(image) = container.and_then(|container| container.image) {
            remove_unnamed(&engine, &image).await;
        }
        self.host_keys.forget(node);
        forget_adoption(&engine, &id).await
    }

    async fn adopt(&self, node: &Node, owner: &Owner) -> Result<(), Error> {
        let engine = self.engine().await?;
        let (_, id) = self.confirm(&engine, node).await?;
        adopt(&engine, &id, owner).await
    }

    async fn reboot(&self, node: &Node) -> Result<(), Error> {
        let engine = self.engine().await?;
        let (_, id) = self.confirm(&engine, node).await?;
        self.host_keys.forget(node);
        let options = RestartContainerOptionsBuilder::new()
            .t(STOP_TIMEOUT)
            .build();
        engine
            .api()
            .restart_container(&id, Some(options))
            .await
            .map_err(|error| refusal(&format!("rebooting `{}`", node.name), &error))
    }

    async fn start(&self, node: &Node) -> Result<(), Error> {
        let engine = self.engine().await?;
        let (_, id) = self.confirm(&engine, node).await?;
        self.host_keys.forget(node);
        // Does nothing to a container that runs.
        engine
            .api()
            .start_container(&id, None::<StartContainerOptions>)
            .await
            .map_err(|error| refusal(&format!("starting `{}`", node.name), &error))
    }

    async fn rename(&self, node: &Node, name: &str) -> Result<(), Error> {
        let engine = self.engine().await?;
        let (_, id) = self.confirm(&engine, node).await?;
        let options = RenameContainerOptionsBuilder::new()
            .name(&self.container_name(name))
            .build();
        engine
            .api()
            .rename_container(&id, options)
            .await
            .map_err(|error| refusal(&format!("renaming `{}`", node.name), &error))
    }

    fn changes(&self, node: &Node, options: &Value) -> Result<Vec<ServerChange>, Invalid> {
        let wanted = Options::decode(options)?;
        // The engine cannot take a limit away from a container.
        let can_resize = wanted.size != Size::default();
        let (size, image) = (wanted.size.to_string(), wanted.image.name().to_owned());
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
        let (_, id) = self.confirm(&engine, node).await?;
        engine
            .api()
            .update_container(&id, body)
            .await
            .map(drop)
            .map_err(|error| refusal(&format!("resizing `{}`", node.name), &error))
    }

    async fn images(&self) -> Result<Vec<SavedImage>, Error> {
        self.saved_images().await
    }

    async fn create_image(
        &self,
        create: &CreateImage,
        activity: &Activity,
    ) -> Result<SavedImage, Error> {
        let progress = |text| activity.update(text);
        self.save(create, &progress).await
    }

    async fn delete_image(&self, image: &SavedImage) -> Result<(), Error> {
        self.delete_saved(image).await
    }

    async fn console(&self, node: &Node) -> Result<String, Error> {
        self.log(node).await
    }

    async fn login(&self, node: &Node) -> Result<Login, Error> {
        let host_key = match self.host_keys.get(node) {
            Some(key) => key,
            None => {
                let key = host_key(&self.engine().await?, node).await?;
                self.host_keys.keep(node, &key);
                key
            }
        };
        Ok(Login {
            name: node.name.clone(),
            address: node.ip_text(),
            port: Some(22),
            user: Some("root".to_owned()),
            identity: Some(self.key()?.path),
            unconfigured: true,
            host_key: Some(host_key),
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

/// Whether a container was never started.
fn has_never_run(found: &ContainerInspectResponse) -> bool {
    let state = found.state.as_ref().and_then(|state| state.status);
    state == Some(ContainerStateStatusEnum::CREATED)
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
