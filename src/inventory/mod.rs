//! All servers of all providers, their short-lived cache, the selection among them, and the way
//! from a server to its connection.

mod cache;
mod connect;
mod containers;
mod key;
mod locks;
mod poll;
mod providers;
mod resolve;
mod selection;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
pub use cache::NodeCache;
pub use connect::{Access, Connections};
use futures_util::{StreamExt, stream};
pub use poll::NodePoll;
pub use providers::Providers;
pub use resolve::Resolved;
use selection::nothing_selected;
use tokio::sync::OwnedMutexGuard;

use crate::{
    context::{Context, Settings},
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::{Events, Stream},
        process::Output,
    },
    docker::{self, Engine, EngineStatus, Inside, Listed, Registries},
    fleet::Selection,
    machine::{Lock, Machine, Server},
    project::{Project, ProjectId, UNMANAGED_FILE},
    provider::{
        self, DigitalOcean, Ec2, Local, MockServers, Node, OnServer, Provider, Unmanaged, Volume,
    },
    ssh::{Command, Connection, OpenSsh, Target, Terminations},
};

/// How long a change by a task waits for another run that changes the same server, unless the user says
/// otherwise.
const WAIT_IN_TASK: Duration = Duration::from_mins(1);

/// The servers of a run.
pub struct Inventory {
    /// The run.
    pub context: Arc<Context>,
    /// The sources of servers.
    pub providers: Providers,
    /// EC2, for the functions that no other provider has.
    pub ec2: Arc<Ec2>,
    /// The short-lived cache of provider listings.
    pub cache: NodeCache,
    /// The listings that callers who wait for servers share.
    pub poll: Arc<NodePoll>,
    /// The servers of a test of scripts, which are in memory.
    pub mock: Option<Arc<MockServers>>,
    connections: Arc<Connections>,
}

impl Inventory {
    /// The servers of the built-in providers.
    pub fn new(context: Arc<Context>, endings: Terminations) -> Self {
        let (providers, ec2) = built_in(&context.settings, &context.project, &context.events);
        Inventory {
            providers,
            ec2,
            cache: NodeCache::new(context.project.remembered("nodes")),
            poll: Arc::default(),
            mock: None,
            connections: Arc::new(Connections::new(context.clone(), endings)),
            context,
        }
    }

    /// The same with further providers, but only those that the settings name. Connections and listings are
    /// shared with `self`. Fails if the settings name an unknown provider.
    pub fn with(&self, further: Vec<Arc<dyn Provider>>) -> Result<Self, Diagnostic> {
        let mut providers = self.providers.clone();
        providers.add(further);
        providers
            .keep(&self.context.settings.providers)
            .map_err(|error| {
                let mut error = Diagnostic::from(error);
                error.message = format!("`config(#{{ providers }})`: {}", error.message);
                error
            })?;
        Ok(Inventory {
            context: self.context.clone(),
            providers,
            ec2: self.ec2.clone(),
            cache: self.cache.clone(),
            poll: self.poll.clone(),
            mock: self.mock.clone(),
            connections: self.connections.clone(),
        })
    }

    /// The same with servers in memory, for a test of scripts: no provider is asked.
    #[must_use]
    pub fn mocked(self) -> Self {
        let servers = Arc::default();
        let providers = self.providers.mocked(&servers);
        Inventory {
            providers,
            mock: Some(servers),
            ..self
        }
    }

    /// Forgets the servers of a test, and the clients of APIs, before the next test.
    pub fn forget_mocks(&self) {
        if let Some(servers) = &self.mock {
            servers.clear();
        }
        self.context.forget_apis();
    }

    /// Fails in a test that did not say which servers there are.
    pub fn check_mock(&self) -> Result<(), Diagnostic> {
        match (&self.mock, self.context.mode.mock()) {
            (Some(servers), Some(mock)) if servers.list().is_none() => {
                let text = "the servers are not known in this test".to_owned();
                Err(mock.unanswered(text, "test::hosts([\"web\"])"))
            }
            _ => Ok(()),
        }
    }

    async fn list(&self) -> (Vec<Node>, Vec<provider::Error>) {
        let (nodes, errors) = self.providers.list(&self.cache).await;
        // Those of other projects cannot be selected without a flag, so that completion does not offer them.
        let project = self.context.project.id().ok().flatten();
        let project = project.as_ref().map(ProjectId::as_str);
        let own = nodes.iter().filter(|node| node.is_of_project(project));
        let names: Vec<&str> = own.map(|node| node.name.as_str()).collect();
        self.context.project.see_servers(&names);
        (nodes, errors)
    }

    /// Lists all servers, without the cache. A provider that fails is reported and does not hide the others.
    pub async fn nodes(&self) -> Vec<Node> {
        self.cache.flush();
        let (nodes, errors) = self.list().await;
        self.report(errors);
        nodes
    }

    /// Lists all volumes. A provider that fails is reported and does not hide the others.
    pub async fn volumes(&self) -> Vec<Volume> {
        let (volumes, errors) = self.providers.volumes().await;
        self.report(errors);
        volumes
    }

    /// Warns of providers that failed. A mistake in a file of the project is an error, with which the
    /// run ends when everything else is done.
    fn report(&self, errors: Vec<provider::Error>) {
        let is_mistake = |error: &provider::Error| matches!(error, provider::Error::File { .. });
        let (mistakes, others): (Vec<_>, Vec<_>) = errors.into_iter().partition(is_mistake);
        self.warn(others);
        for mistake in mistakes {
            self.context.fail_at_end(mistake.into());
        }
    }

    /// Warns of providers that failed while others succeeded.
    pub fn warn(&self, errors: impl IntoIterator<Item = provider::Error>) {
        for error in errors {
            let Diagnostic { message, help, .. } = error.into();
            let help = help
                .map(|help| format!("; help: {help}"))
                .unwrap_or_default();
            self.context.events.warn(format!("{message}{help}"));
        }
    }

    /// Returns the servers and containers of a selection.
    ///
    /// If a provider did not answer, the servers are not known for certain. That is an error, unless
    /// nothing will be changed (`readonly`) or the selection names each server and all were found.
    pub async fn select(
        &self,
        selection: &Selection,
        readonly: bool,
    ) -> Result<Vec<Node>, Failure> {
        self.check_mock()?;
        let project = self.context.project.id()?;
        let project = project.as_ref().map(ProjectId::as_str);
        let (mut nodes, mut errors) = self.list().await;
        let mut selected = selection.choose(&nodes, project, &self.providers);
        if selected.is_err() {
            // The cache may be out of date.
            self.cache.flush();
            (nodes, errors) = self.list().await;
            selected = selection.choose(&nodes, project, &self.providers);
        }
        let certain = readonly || selection.is_exact();
        if errors.is_empty() || certain && selected.is_ok() {
            if selection.is_exact() {
                self.warn(errors);
            } else {
                self.report(errors);
            }
            let mut selected = selected?;
            let containers = self.select_containers(selection, &nodes, project).await?;
            selected.extend(containers);
            if selected.is_empty() {
                return Err(nothing_selected().into());
            }
            return Ok(selected);
        }
        let errors = errors.into_iter().map(Diagnostic::from);
        Err(Failure(errors.chain(selected.err()).collect()))
    }

    /// How to log in to a server: by the user's settings, its provider, and `~/.ssh/config`.
    pub async fn target(&self, node: &Node) -> Result<Target, Diagnostic> {
        let provider = self.providers.of(node)?;
        self.connections.target(provider.as_ref(), node).await
    }

    /// The connection to a server.
    pub async fn connect(&self, node: &Node) -> Result<Arc<Connection>, Diagnostic> {
        self.connections.check_reachable(node)?;
        let target = self.target(node).await?;
        Ok(self.connections.connect(&target).await?)
    }

    /// The machine of a server, over its connection, or of a container.
    pub async fn machine(&self, node: &Node) -> Result<Arc<dyn Machine>, Diagnostic> {
        Ok(match &node.container {
            None => Arc::new(Server(self.connect(node).await?)),
            Some(container) => Arc::new(self.inside(container).await?),
        })
    }

    /// The container that a host is, as a machine.
    pub async fn inside_of(&self, node: &Node) -> Result<Inside, Diagnostic> {
        match &node.container {
            Some(container) => self.inside(container).await,
            None => {
                let message = format!("host `{}` is no container", node.name);
                Err(Diagnostic::new(Kind::Usage, message).on(&node.name))
            }
        }
    }

    /// A container as a machine.
    async fn inside(&self, container: &OnServer) -> Result<Inside, Diagnostic> {
        let known = self.connections.known_inside(container);
        if let Some(known) = known {
            return Ok(known);
        }
        let engine = self.engine(&container.server).await?;
        Ok(self.connections.inside(&engine, container).await?)
    }

    /// The connection to a server that may still be starting.
    pub async fn wait_for(&self, node: &Node) -> Result<Arc<Connection>, Diagnostic> {
        let target = self.target(node).await?;
        self.connections.wait_for(node, &target).await
    }

    /// Prepares the system's SSH client for a server. Connects first, because hitc's own errors say
    /// more.
    pub async fn openssh(&self, node: &Node) -> Result<OpenSsh, Diagnostic> {
        let connection = self.connect(node).await?;
        Ok(self.connections.openssh(&connection)?)
    }

    /// Runs a command on a host. `on_output` gets what the command writes, as it arrives.
    pub async fn exec(
        &self,
        node: &Node,
        command: &Command,
        mut on_output: impl FnMut(Stream, &[u8]) + Send,
    ) -> Result<Output, Diagnostic> {
        self.connections.check_reachable(node)?;
        let output = match &node.container {
            None => {
                let target = self.target(node).await?;
                self.connections.exec(&target, command, on_output).await?
            }
            Some(container) => {
                let inside = self.inside(container).await?;
                inside.exec(command, &mut on_output).await?
            }
        };
        self.context.events.detail(format!(
            "{}: `{}`: {} after {:.3} s",
            node.name,
            command.line,
            output.exit,
            output.elapsed.as_secs_f64()
        ));
        Ok(output)
    }

    /// Takes the lock of a server, unless this run holds it. `purpose` tells other runs what it is held
    /// for. Waits at most `wait` for another run to release it, which is noted.
    ///
    /// # Errors
    /// Names the run that holds it, and its purpose.
    pub async fn lock(
        &self,
        node: &Node,
        purpose: &str,
        wait: Duration,
    ) -> Result<Lock, Diagnostic> {
        node.require_server()?;
        let machine = self.machine(node).await?;
        let locks = &self.connections.locks;
        let take = |wait| {
            let mut is_noted = false;
            Lock::take(machine.as_ref(), purpose, wait, move |holder| {
                if self.context.cancel.is_stopping() {
                    return Err(Diagnostic::new(Kind::Interrupted, "interrupted"));
                }
                if !is_noted {
                    let note = format!("host `{}`: waiting, because {holder}", node.name);
                    self.context.events.note(note);
                }
                is_noted = true;
                Ok(())
            })
        };
        locks.share(node, wait, take).await
    }

    /// Takes the lock of a server as [`Inventory::lock`] does, for a change that depends on what was read
    /// of the server: no other such change is made at the same time in this run.
    ///
    /// # Errors
    /// As [`Inventory::lock`]; or says that another task of this run is changing the server.
    pub async fn lock_alone(
        &self,
        node: &Node,
        purpose: &str,
        wait: Duration,
    ) -> Result<Lock, Diagnostic> {
        let turn = self.turn(node, wait).await?;
        Ok(self.lock(node, purpose, wait).await?.with(turn))
    }

    /// Waits at most `wait` for those in this run that change a server according to what they read of it
    /// before.
    pub async fn turn(
        &self,
        node: &Node,
        wait: Duration,
    ) -> Result<OwnedMutexGuard<()>, Diagnostic> {
        self.connections.locks.turn(node, wait).await
    }

    /// How long a task waits for a lock: as long as `--wait-lock` says, without it for a short time.
    pub fn wait_in_task(&self) -> Duration {
        self.context.settings.wait_lock.unwrap_or(WAIT_IN_TASK)
    }

    /// The Docker Engine of a server, or why it does not answer.
    pub async fn engine_status(&self, node: &Node) -> Result<EngineStatus, Diagnostic> {
        node.require_server()?;
        let machine: Arc<dyn Machine> = Arc::new(Server(self.connect(node).await?));
        Ok(self.connections.engine_status(node, &machine).await)
    }

    /// The registries that images come from.
    pub fn registries(&self) -> &Arc<Registries> {
        &self.connections.registries
    }

    /// The Docker Engine of a server; none if Docker is not installed there. One that does not
    /// answer is an error.
    pub async fn find_engine(&self, node: &Node) -> Result<Option<Engine>, Diagnostic> {
        Ok(self.engine_status(node).await?.present()?)
    }

    /// The Docker Engine of a server, which must run.
    pub async fn engine(&self, node: &Node) -> Result<Engine, Diagnostic> {
        Ok(self.engine_status(node).await?.running()?)
    }

    /// The commands that are being terminated.
    pub fn terminations(&self) -> &Terminations {
        &self.connections.terminations
    }

    /// The running containers of a server, or all. A server without Docker has none, which is noted.
    pub async fn containers(&self, node: &Node, all: bool) -> Result<Vec<Listed>, Diagnostic> {
        node.require_server()?;
        let machine = self.machine(node).await?;
        match self.connections.containers(node, &machine, all).await {
            Ok(listed) => {
                let names: Vec<&str> = listed.iter().map(|found| found.name.as_str()).collect();
                self.context.project.see_containers(&node.name, &names);
                Ok(listed)
            }
            Err(docker::Error::NoEngine { host, cause }) => {
                self.context.events.note(format!("host `{host}`: {cause}"));
                Ok(Vec::new())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The engines of servers, connected to at the same time, and the errors of those that do not
    /// answer. A server without Docker has none, which is noted.
    pub async fn engines(&self, nodes: &[&Node]) -> (Vec<Engine>, Vec<Diagnostic>) {
        let forks = self.context.settings.forks.max(1);
        let statuses = stream::iter(nodes).map(|node| self.engine_status(node));
        let statuses: Vec<_> = statuses.buffered(forks).collect().await;
        let (mut engines, mut errors) = (Vec::new(), Vec::new());
        for status in statuses {
            match status {
                Ok(EngineStatus::Absent { host, cause }) => {
                    self.context.events.note(format!("host `{host}`: {cause}"));
                }
                Ok(status) => match status.running() {
                    Ok(engine) => engines.push(engine),
                    Err(error) => errors.push(error.into()),
                },
                Err(error) => errors.push(error),
            }
        }
        (engines, errors)
    }

    /// Forgets a server that was terminated, stopped or rebooted.
    pub fn forget(&self, node: &Node) {
        self.cache.flush();
        self.connections.forget(node);
    }
}

#[async_trait]
impl Access for Inventory {
    fn events(&self) -> &Events {
        &self.context.events
    }

    fn poll(&self) -> &NodePoll {
        &self.poll
    }

    fn flush(&self) {
        self.cache.flush();
    }

    async fn machine(&self, node: &Node) -> Result<Arc<dyn Machine>, Diagnostic> {
        Inventory::machine(self, node).await
    }

    async fn reconnect(&self, node: &Node) -> Result<Arc<dyn Machine>, Diagnostic> {
        let target = self.target(node).await?;
        let connection = self.connections.connect_anew(&target).await?;
        Ok(Arc::new(Server(connection)))
    }

    async fn wait_until_reachable(&self, node: &Node) -> Result<Arc<dyn Machine>, Diagnostic> {
        Ok(Arc::new(Server(self.wait_for(node).await?)))
    }

    fn forget(&self, node: &Node) {
        Inventory::forget(self, node);
    }
}

/// The built-in providers, and EC2 again with its own type.
fn built_in(settings: &Settings, project: &Project, events: &Events) -> (Providers, Arc<Ec2>) {
    let (prefix, data) = (&settings.name_prefix, || project.data.clone());
    let home = || project.home.clone();
    let ec2 = Ec2::new(prefix, data(), home(), events.clone());
    let ec2 = Arc::new(ec2.of_project(project.clone()));
    let digitalocean = DigitalOcean::new(prefix, data(), home(), events.clone());
    let mut providers = Providers::new(vec![
        Arc::new(Local::new(prefix, data()).of_project(project.clone())),
        ec2.clone(),
        Arc::new(digitalocean.of_project(project.clone())),
        Arc::new(Unmanaged::new(project.root.join(UNMANAGED_FILE))),
    ]);
    let further = settings.ec2_regions.iter();
    let further = further.map(|region| -> Arc<dyn Provider> { Arc::new(ec2.in_region(region)) });
    providers.add(further.collect());
    (providers, ec2)
}
