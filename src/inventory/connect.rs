//! The connections to servers and to their Docker Engines.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::{
    NodePoll,
    key::{Key, key},
    locks::Locks,
};
use crate::{
    context::Context,
    core::{
        diagnostic::{Diagnostic, Kind},
        event::{Events, Stream},
        process::Output,
    },
    docker::{self, ConfigPath, Engine, EngineStatus, Inside, Listed, Registries},
    machine::Machine,
    provider::{Node, OnServer, Provider},
    ssh::{self, Command, Connection, OpenSsh, Pool, Target, Terminations},
};

/// The timeout until a server that may still be starting answers on SSH.
const READY_TIMEOUT: Duration = Duration::from_mins(5);
/// How long a new server may refuse our key. Many images install it after SSH has started.
const KEY_TIMEOUT: Duration = Duration::from_secs(90);
const KEY_RETRY: Duration = Duration::from_secs(1);

/// Access to servers: their machines and listings. The real one is [`super::Inventory`]; the tests of
/// the ensemble simulate it.
#[async_trait]
pub trait Access: Send + Sync {
    /// Shows events to the user.
    fn events(&self) -> &Events;

    /// The provider listings that callers who wait for servers share.
    fn poll(&self) -> &NodePoll;

    /// Forgets the cached listings of providers.
    fn flush(&self);

    /// The machine of a server that answers on SSH.
    async fn machine(&self, node: &Node) -> Result<Arc<dyn Machine>, Diagnostic>;

    /// The machine of a server over another connection, which is opened now.
    async fn reconnect(&self, node: &Node) -> Result<Arc<dyn Machine>, Diagnostic>;

    /// The machine of a server that may still be starting. Waits until it answers on SSH.
    async fn wait_until_reachable(&self, node: &Node) -> Result<Arc<dyn Machine>, Diagnostic>;

    /// Forgets a server that was terminated, stopped or rebooted.
    fn forget(&self, node: &Node);
}

/// The connections of a run.
pub struct Connections {
    context: Arc<Context>,
    pool: Pool,
    /// The commands that are being terminated.
    pub(super) terminations: Terminations,
    ssh: ssh::Config,
    targets: Mutex<HashMap<Key, Target>>,
    engines: Mutex<HashMap<Key, Engine>>,
    /// By server and name.
    containers: Mutex<HashMap<(Key, String), Inside>>,
    /// The locks of servers that the run holds.
    pub(super) locks: Locks,
    /// The registries that images come from.
    pub registries: Arc<Registries>,
}

impl Connections {
    /// Creates an empty set of connections. `terminations` collects the remote commands that are
    /// being terminated.
    pub fn new(context: Arc<Context>, terminations: Terminations) -> Self {
        let password = context.settings.sudo_password.clone();
        let project = &context.project;
        let docker_config = context.settings.docker_config.as_deref();
        let docker_config = ConfigPath::find(docker_config, &project.root, &project.home);
        Connections {
            registries: Arc::new(Registries::new(docker_config, context.events.clone())),
            pool: Pool::new(context.events.clone(), password, terminations.clone()),
            terminations,
            ssh: ssh::Config::new(&context.project.home),
            targets: Mutex::default(),
            engines: Mutex::default(),
            containers: Mutex::default(),
            locks: Locks::default(),
            context,
        }
    }

    /// How to log in to a server: by the user's settings, its provider, and `~/.ssh/config`.
    pub async fn target(&self, provider: &dyn Provider, node: &Node) -> Result<Target, Diagnostic> {
        let known = lock(&self.targets).get(&key(node)).cloned();
        if let Some(target) = known {
            return Ok(target);
        }
        let mut login = provider.login(node).await?;
        let settings = &self.context.settings;
        login.user = settings.user.clone().or(login.user);
        login.port = settings.port.or(login.port);
        if let Some(identity) = &settings.identity {
            login.identity = Some(identity.clone());
        }
        login.jump = settings.jump.clone().or(login.jump);
        login.forward_agent = settings.forward_agent;
        let target = self.ssh.target(&login).await?;
        lock(&self.targets).insert(key(node), target.clone());
        Ok(target)
    }

    /// The connection to a target.
    pub async fn connect(&self, target: &Target) -> Result<Arc<Connection>, ssh::Error> {
        let connection = self.pool.connect(target).await?;
        self.report_host_key(&connection);
        Ok(connection)
    }

    /// Opens another connection to a target, beside the one that callers share.
    pub async fn connect_anew(&self, target: &Target) -> Result<Arc<Connection>, ssh::Error> {
        self.pool.connect_anew(target).await
    }

    /// The connection to a server that may still be starting.
    pub async fn wait_for(
        &self,
        node: &Node,
        target: &Target,
    ) -> Result<Arc<Connection>, Diagnostic> {
        let started = Instant::now();
        let mut end = None;
        loop {
            match self.pool.wait_for(target, READY_TIMEOUT).await {
                Ok(connection) => {
                    self.report_host_key(&connection);
                    return Ok(connection);
                }
                Err(ssh::Error {
                    cause: ssh::Cause::Auth { .. },
                    ..
                }) if !node.state.is_made()
                    && Instant::now()
                        < *end.get_or_insert_with(|| Instant::now() + KEY_TIMEOUT) =>
                {
                    sleep(KEY_RETRY).await;
                }
                Err(error) => {
                    let seconds = started.elapsed().as_secs_f64();
                    let tried = format!("hitc tried to connect for {seconds:.0} s");
                    return Err(Diagnostic::from(error).note(tried));
                }
            }
        }
    }

    /// The system's SSH client with our settings for the server at the end of a connection.
    pub fn openssh(&self, connection: &Connection) -> Result<OpenSsh, ssh::Error> {
        self.ssh.openssh(connection)
    }

    /// Runs a command on a target. `on_output` gets what the command writes, as it arrives.
    ///
    /// The first command of a connection is sent with the channel opening, which saves a round trip.
    pub async fn exec(
        &self,
        target: &Target,
        command: &Command,
        on_output: impl FnMut(Stream, &[u8]),
    ) -> Result<Output, ssh::Error> {
        let on_connect = |connection: &Connection| self.report_host_key(connection);
        self.pool.exec(target, command, on_connect, on_output).await
    }

    /// Fails if the server is a mock or does not run.
    pub fn check_reachable(&self, node: &Node) -> Result<(), Diagnostic> {
        if self.context.mode.mock().is_some() {
            let message = format!("host `{}` is a mock and cannot be connected to", node.name);
            return Err(Diagnostic::new(Kind::Failed, message)
                .help("mock hosts record and answer commands only".to_owned())
                .on(&node.name));
        }
        if !node.state.is_up() {
            return Err(Diagnostic::new(
                Kind::Unreachable,
                format!("host `{}`: the server is {}", node.name, node.state),
            )
            .help(format!("start it with `hitc run -H {} reboot`", node.name))
            .on(&node.name));
        }
        Ok(())
    }

    /// Tells the user, once, that a host's key was seen for the first time.
    fn report_host_key(&self, connection: &Connection) {
        if let Some(learned) = connection.take_new_host_key() {
            let name = &connection.target().name;
            let fingerprint = &learned.fingerprint;
            self.context.events.note(if learned.is_recorded {
                format!("host `{name}`: accepted and recorded the new host key {fingerprint}")
            } else {
                format!(
                    "host `{name}`: accepted the new host key {fingerprint}; it is not recorded, \
                     because your SSH configuration disables that"
                )
            });
        }
    }

    /// The Docker Engine of a server, or why it does not answer.
    pub async fn engine_status(&self, node: &Node, machine: &Arc<dyn Machine>) -> EngineStatus {
        let known = lock(&self.engines).get(&key(node)).cloned();
        if let Some(engine) = known.filter(Engine::is_open) {
            return EngineStatus::Running(engine);
        }
        match Engine::at(machine).await {
            EngineStatus::Running(engine) => {
                let engine = engine.with_registries(&self.registries);
                lock(&self.engines).insert(key(node), engine.clone());
                EngineStatus::Running(engine)
            }
            other => other,
        }
    }

    /// The running containers of a server, or all. The list is the first request to an engine that was
    /// not used before.
    pub async fn containers(
        &self,
        node: &Node,
        machine: &Arc<dyn Machine>,
        all: bool,
    ) -> Result<Vec<Listed>, docker::Error> {
        let known = lock(&self.engines).get(&key(node)).cloned();
        let listing = async {
            if let Some(engine) = known.filter(Engine::is_open) {
                return engine.list(all).await;
            }
            let (engine, listed) = Engine::list_at(machine, all).await?;
            let engine = engine.with_registries(&self.registries);
            lock(&self.engines).insert(key(node), engine);
            Ok(listed)
        };
        let bindings = docker::bindings(machine.as_ref());
        let (mut listed, bindings) = tokio::try_join!(listing, bindings)?;
        for container in &mut listed {
            container.add_bindings(&bindings);
        }
        Ok(listed)
    }

    /// A container that was reached before, if the connection to its server is open.
    pub fn known_inside(&self, container: &OnServer) -> Option<Inside> {
        let key = (key(&container.server), container.name.clone());
        let known = lock(&self.containers).get(&key).cloned();
        known.filter(|known| known.check_connected("").is_ok())
    }

    /// A container of an engine as a machine.
    pub async fn inside(
        &self,
        engine: &Engine,
        container: &OnServer,
    ) -> Result<Inside, docker::Error> {
        let inside = engine.inside(&container.name).await?;
        let inside = inside.with(&self.terminations);
        let key = (key(&container.server), container.name.clone());
        lock(&self.containers).insert(key, inside.clone());
        Ok(inside)
    }

    /// Forgets how a server is reached, after it was terminated, stopped or rebooted.
    pub fn forget(&self, node: &Node) {
        let target = lock(&self.targets).remove(&key(node));
        // `~/.ssh/config` may have another address for it.
        let address = target.map_or_else(|| node.ip_text(), |target| target.address);
        self.pool.forget(&address);
        self.locks.forget(node);
        lock(&self.engines).remove(&key(node));
        lock(&self.containers).retain(|(server, _), _| *server != key(node));
    }
}

/// Locks a map. It is consistent even if a thread panicked while holding the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::*;
    use crate::{
        context::{Mode, Settings},
        core::{cancel::Cancel, event::Events},
        project::Project,
        provider::Unmanaged,
    };

    #[tokio::test]
    async fn two_providers_may_give_the_same_id() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project {
            root: folder.path().to_owned(),
            hitcfile: None,
            data: folder.path().to_owned(),
            home: folder.path().to_owned(),
            is_test: false,
        };
        let context = Arc::new(Context::new(
            Handle::current(),
            Events::silent(),
            Cancel::default(),
            Settings::default(),
            project,
            Mode::Real,
        ));
        let connections = Connections::new(context, Terminations::default());
        let provider = Unmanaged::new(folder.path().join("none"));
        let node = |provider_name: &str, name: &str| Node {
            provider: provider_name.to_owned(),
            name: name.to_owned(),
            ..provider.by_address("192.0.2.1").unwrap()
        };
        for (provider_name, name) in [("one", "web"), ("other", "db"), ("one", "web")] {
            let node = node(provider_name, name);
            let target = connections.target(&provider, &node).await.unwrap();
            assert_eq!(target.name, name);
        }
    }
}
