//! The context of one run of hitc: runtime, user interface, settings, project, API clients.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    core::{cancel::Cancel, diagnostic::Diagnostic, event::Events},
    fleet::{Rollout, Selection},
    http::{self, AccessTokens, JsonApi, Network},
    mock::Mock,
    project::Project,
};

/// The settings of a run: by flag, in the environment or in the hitcfile, in this order of
/// precedence.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The prefix of our servers' names at the providers.
    pub name_prefix: String,
    /// The default provider of new servers.
    pub provider: String,
    /// The providers to ask, besides `unmanaged`; all of them if empty.
    pub providers: Vec<String>,
    /// The regions of EC2 besides the one of AWS's own settings. Each is a provider, `ec2:REGION`.
    pub ec2_regions: Vec<String>,
    /// The number of hosts on which a task runs in parallel.
    pub forks: usize,
    /// The same, if the user named a number, on the command line or in HITC_FORKS. The hitcfile's does not count.
    pub named_forks: Option<usize>,
    /// The batches of hosts, and the failures after which no further host is started.
    pub rollout: Rollout,
    /// The user to log in as, instead of the provider's.
    pub user: Option<String>,
    /// The private key to log in with, instead of the provider's.
    pub identity: Option<PathBuf>,
    /// The SSH port, instead of the provider's.
    pub port: Option<u16>,
    /// The jump hosts, as for `ssh -J`.
    pub jump: Option<String>,
    /// Whether programs on servers may use the local SSH agent.
    pub forward_agent: bool,
    /// The password that sudo gets when it asks for one.
    pub sudo_password: Option<String>,
    /// The shell that runs commands, instead of `sh`.
    pub shell: Option<String>,
    /// The Docker configuration with the credentials for registries, a file or a folder, instead of
    /// `~/.docker`. Relative to the project's folder.
    pub docker_config: Option<PathBuf>,
    /// The timeout of a command.
    pub timeout: Option<Duration>,
    /// How long to wait for a server that another run is changing, if the user says it.
    pub wait_lock: Option<Duration>,
    /// Whether every question is answered with yes.
    pub yes: bool,
    /// The servers to run on.
    pub selection: Selection,
}

/// Whether a run changes anything.
#[derive(Clone, Default)]
pub enum Mode {
    /// Changes are made.
    #[default]
    Real,
    /// Changes are reported, not made.
    Dry,
    /// Commands are answered by a mock, changes are recorded by it: `hitc test`.
    Mock(Arc<Mock>),
}

impl Mode {
    /// Whether changes are made.
    pub fn is_real(&self) -> bool {
        matches!(self, Mode::Real)
    }

    /// The mock that answers commands, if there is one.
    pub fn mock(&self) -> Option<&Arc<Mock>> {
        match self {
            Mode::Mock(mock) => Some(mock),
            Mode::Real | Mode::Dry => None,
        }
    }
}

/// One run of hitc.
pub struct Context {
    /// The runtime that drives futures.
    pub runtime: Handle,
    /// Shows events to the user.
    pub events: Events,
    /// The cancellation of the run by Ctrl-C.
    pub cancel: Cancel,
    /// The settings.
    pub settings: Settings,
    /// The user's project.
    pub project: Project,
    /// The mode in which the run's tasks start. Each call of a function has its own copy.
    pub mode: Mode,
    /// Where the requests of scripts go.
    pub network: Network,
    /// The access tokens for APIs.
    pub tokens: AccessTokens,
    apis: Mutex<HashMap<[String; 3], Arc<JsonApi>>>,
    assumed: Mutex<Vec<String>>,
    late: Mutex<Vec<Diagnostic>>,
}

impl Context {
    /// Creates the context of a run.
    pub fn new(
        runtime: Handle,
        events: Events,
        cancel: Cancel,
        settings: Settings,
        project: Project,
        mode: Mode,
    ) -> Self {
        let network = match mode.mock() {
            Some(mock) => Network::mocked(mock.clone()),
            None => Network::default(),
        };
        Context {
            runtime,
            events,
            cancel,
            settings,
            project,
            mode,
            tokens: AccessTokens::over(&network),
            network,
            apis: Mutex::default(),
            assumed: Mutex::default(),
            late: Mutex::default(),
        }
    }

    /// Returns the client of the API at a URL. All callers in a run share one, and so its limits.
    pub fn api(&self, name: &str, url: &str, token: &str) -> Result<Arc<JsonApi>, http::Error> {
        let mut apis = lock(&self.apis);
        let key = [name, url, token].map(str::to_owned);
        if let Some(api) = apis.get(&key) {
            return Ok(api.clone());
        }
        let api = JsonApi::new(name, url, token, &self.events)?;
        let api = Arc::new(api.over(&self.network));
        apis.insert(key, api.clone());
        Ok(api)
    }

    /// Forgets the clients of APIs and their access tokens.
    pub fn forget_apis(&self) {
        lock(&self.apis).clear();
        self.runtime.block_on(self.tokens.clear());
    }

    /// Notes an error that lets the run go on, and fails it at its end.
    pub fn fail_at_end(&self, error: Diagnostic) {
        let mut late = lock(&self.late);
        if !late.contains(&error) {
            late.push(error);
        }
    }

    /// Everything noted by [`Context::fail_at_end`].
    pub fn late(&self) -> Vec<Diagnostic> {
        lock(&self.late).clone()
    }

    /// Notes something whose outcome a dry run does not know.
    pub fn assume(&self, what: String) {
        let mut assumed = lock(&self.assumed);
        if !assumed.contains(&what) {
            assumed.push(what);
        }
    }

    /// Everything noted by [`Context::assume`].
    pub fn assumed(&self) -> Vec<String> {
        lock(&self.assumed).clone()
    }
}

/// Locks a value. It is consistent even if a thread panicked while holding the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
