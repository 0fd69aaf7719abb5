//! What one run holds: the runtime, the connections, the providers, the settings, the user.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    core::{
        cancel::Cancel,
        diagnostic::{Diagnostic, Failure, Kind},
        event::{Events, Stream},
        process::Output,
    },
    docker::{Engine, EngineStatus},
    fleet::Rollout,
    http::{self, JsonApi},
    inventory::{NodeCache, NodePoll, Providers, Selection},
    machine::Mock,
    project::{Project, ProjectId},
    provider::{self, DigitalOcean, Ec2, Local, Node, Unmanaged},
    ssh::{self, Command, Connection, OpenSsh, Pool, Target, Terminations},
};

/// The file with the unmanaged servers, in the project's folder.
const UNMANAGED: &str = "unmanaged_servers.txt";

/// How long a new server may take to answer on SSH.
const READY_TIMEOUT: Duration = Duration::from_mins(5);

/// What the user set: by flag, in the environment or in the hitcfile, in this order.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The names of our servers at the providers begin with this.
    pub name_prefix: String,
    /// The provider of servers that name none.
    pub provider: String,
    /// On how many hosts a task runs at once.
    pub forks: usize,
    /// In which portions, and until how many failures.
    pub rollout: Rollout,
    /// The user to log in as, instead of the provider's.
    pub user: Option<String>,
    /// The private key to log in with, instead of the provider's.
    pub identity: Option<PathBuf>,
    /// The SSH port, instead of the provider's.
    pub port: Option<u16>,
    /// The servers to go through, as for `ssh -J`.
    pub jump: Option<String>,
    /// Whether programs on servers may use our SSH agent.
    pub forward_agent: bool,
    /// What sudo is told when it asks for a password.
    pub sudo_password: Option<String>,
    /// The shell that reads commands, instead of `sh`.
    pub shell: Option<String>,
    /// How long a command may take.
    pub timeout: Option<Duration>,
    /// How long to wait for a server that another run is changing.
    pub wait_lock: Duration,
    /// Every question is answered with yes.
    pub yes: bool,
    /// Nothing is changed; what would be is said.
    pub dry_run: bool,
    /// The servers to run on.
    pub selection: Selection,
}

/// One run of hitc.
pub struct Session {
    /// Where futures are driven.
    pub runtime: Handle,
    /// The user.
    pub events: Events,
    /// Whether the user wants it to end.
    pub cancel: Cancel,
    /// What the user set.
    pub settings: Settings,
    /// Where the user's files are.
    pub project: Project,
    /// Where servers come from.
    pub providers: Providers,
    /// One of them, for what no other has.
    pub ec2: Arc<Ec2>,
    /// Connections to servers.
    pub pool: Pool,
    /// What takes the place of servers in a user's own tests.
    pub stage: Option<Arc<Mock>>,
    /// Whether the task that runs changes nothing.
    readonly: AtomicBool,
    assumed: Mutex<Vec<String>>,
    ssh: ssh::Config,
    /// What the providers said a moment ago.
    pub recent: NodeCache,
    /// What they say while new servers are waited for.
    pub looks: NodePoll,
    /// The APIs that scripts speak to.
    apis: Mutex<HashMap<[String; 3], Arc<JsonApi>>>,
    targets: Mutex<HashMap<String, Target>>,
    engines: Mutex<HashMap<String, Engine>>,
}

impl Session {
    /// A run with these settings.
    pub fn new(
        runtime: Handle,
        events: Events,
        cancel: Cancel,
        settings: Settings,
        project: Project,
        stage: Option<Arc<Mock>>,
        endings: Terminations,
    ) -> Self {
        let (providers, ec2) = Session::providers(&settings, &project);
        Session {
            stage,
            readonly: AtomicBool::new(false),
            assumed: Mutex::default(),
            runtime,
            cancel,
            providers,
            ec2,
            ssh: ssh::Config::new(&project.home),
            recent: NodeCache::new(project.remembered("nodes")),
            looks: NodePoll::default(),
            pool: Pool::new(events.clone(), settings.sudo_password.clone(), endings),
            events,
            settings,
            project,
            apis: Mutex::default(),
            targets: Mutex::default(),
            engines: Mutex::default(),
        }
    }

    /// Says whether the task that runs changes nothing, so that its commands run in a dry run too.
    pub fn set_readonly(&self, readonly: bool) {
        self.readonly.store(readonly, Ordering::Relaxed);
    }

    /// Whether commands are run, and not only said.
    pub fn runs_commands(&self) -> bool {
        !self.settings.dry_run || self.readonly.load(Ordering::Relaxed)
    }

    /// Where it is remembered on which hosts a run did not go well: nowhere, if it was none that
    /// changes anything.
    pub fn remembers(&self) -> Option<&Project> {
        let is_real = !self.settings.dry_run && self.stage.is_none();
        (is_real && !self.readonly.load(Ordering::Relaxed)).then_some(&self.project)
    }

    /// Notes something whose outcome a dry run does not know.
    pub fn assume(&self, what: String) {
        let mut assumed = lock(&self.assumed);
        if !assumed.contains(&what) {
            assumed.push(what);
        }
    }

    /// All that was noted by [`Session::assume`].
    pub fn assumed(&self) -> Vec<String> {
        lock(&self.assumed).clone()
    }

    /// The providers that there are, and the one that has what no other has.
    pub fn providers(settings: &Settings, project: &Project) -> (Providers, Arc<Ec2>) {
        let (prefix, data) = (&settings.name_prefix, || project.data.clone());
        let home = || project.home.clone();
        let ec2 = Arc::new(Ec2::new(prefix, data(), home()));
        let providers = Providers::new(vec![
            Arc::new(Local::new(prefix, data())),
            ec2.clone(),
            Arc::new(DigitalOcean::new(prefix, data(), home())),
            Arc::new(Unmanaged::new(project.root.join(UNMANAGED))),
        ]);
        (providers, ec2)
    }

    async fn list(&self) -> (Vec<Node>, Vec<provider::Error>) {
        let (nodes, errors) = self.providers.list(&self.recent).await;
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        self.project.see_servers(&names);
        (nodes, errors)
    }

    /// All servers, as they are now. A provider that fails is reported and does not hide the others.
    pub async fn nodes(&self) -> Vec<Node> {
        self.recent.flush();
        let (nodes, errors) = self.list().await;
        self.warn(errors);
        nodes
    }

    /// What providers could not do, where the others did.
    pub fn warn(&self, errors: impl IntoIterator<Item = provider::Error>) {
        for error in errors {
            let Diagnostic { message, help, .. } = error.into();
            let help = help
                .map(|help| format!("\n  help: {help}"))
                .unwrap_or_default();
            self.events.warn(format!("{message}{help}"));
        }
    }

    /// The servers of a selection. Where it is not sure which they are, because a provider did
    /// not answer, that is an error; unless nothing will be changed, or they are all there.
    pub async fn select(
        &self,
        selection: &Selection,
        readonly: bool,
    ) -> Result<Vec<Node>, Failure> {
        let project = self.project.id()?;
        let project = project.as_ref().map(ProjectId::as_str);
        let (mut nodes, mut errors) = self.list().await;
        let mut selected = selection.apply(&nodes, project, &self.providers);
        if selected.is_err() {
            // What was remembered may be too old.
            self.recent.flush();
            (nodes, errors) = self.list().await;
            selected = selection.apply(&nodes, project, &self.providers);
        }
        let certain = readonly || selection.is_exact();
        if errors.is_empty() || certain && selected.is_ok() {
            self.warn(errors);
            return Ok(selected?);
        }
        let errors = errors.into_iter().map(Diagnostic::from);
        Err(Failure(errors.chain(selected.err()).collect()))
    }

    /// How to log in to a server: by the user's settings, its provider, and `~/.ssh/config`.
    pub async fn target(&self, node: &Node) -> Result<Target, Diagnostic> {
        let known = lock(&self.targets).get(&node.id).cloned();
        if let Some(target) = known {
            return Ok(target);
        }
        let mut login = self.providers.of(node)?.login(node).await?;
        let settings = &self.settings;
        login.user = settings.user.clone().or(login.user);
        login.port = settings.port.or(login.port);
        if let Some(identity) = &settings.identity {
            login.identity = Some(identity.clone());
        }
        login.jump = settings.jump.clone().or(login.jump);
        login.forward_agent = settings.forward_agent;
        let target = self.ssh.target(&login).await?;
        lock(&self.targets).insert(node.id.clone(), target.clone());
        Ok(target)
    }

    /// The connection to a server.
    pub async fn connect(&self, node: &Node) -> Result<Arc<Connection>, Diagnostic> {
        let target = self.reachable(node).await?;
        let connection = self.pool.connect(&target).await?;
        self.welcome(&connection);
        Ok(connection)
    }

    /// The system's own SSH client with our settings for a server, which was reached first: our
    /// errors say more.
    pub async fn openssh(&self, node: &Node) -> Result<OpenSsh, Diagnostic> {
        let connection = self.connect(node).await?;
        Ok(self.ssh.openssh(&connection)?)
    }

    /// The connection to a server that may still be starting.
    pub async fn wait_for(&self, node: &Node) -> Result<Arc<Connection>, Diagnostic> {
        let target = self.target(node).await?;
        let connection = self.pool.wait_for(&target, READY_TIMEOUT).await?;
        self.welcome(&connection);
        Ok(connection)
    }

    /// Runs a command on a server; `on_output` is given what it writes as it comes.
    pub async fn exec(
        &self,
        node: &Node,
        command: &Command,
        on_output: impl FnMut(Stream, &[u8]),
    ) -> Result<Output, Diagnostic> {
        let target = self.reachable(node).await?;
        let welcome = |connection: &Connection| self.welcome(connection);
        let output = self.pool.exec(&target, command, welcome, on_output).await?;
        self.events.detail(format!(
            "{}: `{}`: {} after {:.3} s",
            node.name,
            command.line,
            output.exit,
            output.elapsed.as_secs_f64()
        ));
        Ok(output)
    }

    /// How to log in to a server, if there is any use in trying.
    async fn reachable(&self, node: &Node) -> Result<Target, Diagnostic> {
        if self.stage.is_some() {
            let message = format!("host `{}` is played by a test", node.name);
            return Err(Diagnostic::new(Kind::Failed, message)
                .help("only commands can be answered".to_owned())
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
        self.target(node).await
    }

    /// Says, once, that a host was seen for the first time.
    pub fn welcome(&self, connection: &Connection) {
        if let Some(learned) = connection.take_new_host_key() {
            self.events.note(format!(
                "host `{}`: its key {} was not known; it is {}",
                connection.target().name,
                learned.fingerprint,
                if learned.is_recorded {
                    "now"
                } else {
                    "not recorded, as your SSH configuration says"
                }
            ));
        }
    }

    /// The Docker Engine of a server, or why it does not answer.
    pub async fn engine_status(&self, node: &Node) -> Result<EngineStatus, Diagnostic> {
        let connection = self.connect(node).await?;
        let known = lock(&self.engines).get(&node.id).cloned();
        if let Some(engine) = known.filter(Engine::is_open) {
            return Ok(EngineStatus::Running(engine));
        }
        let status = Engine::at(&connection).await;
        if let EngineStatus::Running(engine) = &status {
            lock(&self.engines).insert(node.id.clone(), engine.clone());
        }
        Ok(status)
    }

    /// The Docker Engine of a server; none if Docker is not installed there or never ran. One
    /// that does not answer is an error.
    pub async fn find_engine(&self, node: &Node) -> Result<Option<Engine>, Diagnostic> {
        Ok(self.engine_status(node).await?.present()?)
    }

    /// The Docker engine of a server, which must run.
    pub async fn engine(&self, node: &Node) -> Result<Engine, Diagnostic> {
        Ok(self.engine_status(node).await?.running()?)
    }

    /// The API at an address: one for the whole run.
    pub fn api(&self, name: &str, url: &str, token: &str) -> Result<Arc<JsonApi>, http::Error> {
        let mut apis = lock(&self.apis);
        let key = [name, url, token].map(str::to_owned);
        if let Some(api) = apis.get(&key) {
            return Ok(api.clone());
        }
        let api = Arc::new(JsonApi::new(name, url, token)?);
        apis.insert(key, api.clone());
        Ok(api)
    }

    /// Forgets what is known of a server that was terminated or rebooted.
    pub fn forget(&self, node: &Node) {
        self.recent.flush();
        self.pool.forget(&node.ip_text());
        lock(&self.targets).remove(&node.id);
        lock(&self.engines).remove(&node.id);
    }
}

/// A thread that died with the lock held has left a sound map behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
