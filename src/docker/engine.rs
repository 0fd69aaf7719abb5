//! The connection to a Docker Engine, of the local machine or of a server.

use std::{
    collections::HashMap,
    future::Future,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bollard::{BollardRequest, ClientVersion, Docker, body_full, errors::Error as BollardError};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::{sync::OnceCell, time::timeout};

use super::{
    Error, Listed, Platform, Registries,
    api_error::{cause, is_broken},
    diagnose::{self, Reason, diagnose},
    error::HERE,
    transport::{self, Answer, Exceeded, Route, SOCKET, Transport},
};
use crate::{
    machine::{self, Local, Machine, Stream},
    ssh::Endpoint,
};

/// The newest API version that bollard supports. With an older engine, the version of the engine is
/// used.
const API: &ClientVersion = bollard::API_DEFAULT_VERSION;

/// The address of all engines: the transport leads to one of them.
const ADDRESS: &str = "http://docker";

/// The paths of the first request: one that only tells the version, and the list of containers.
const PING: &str = "/_ping";
const LIST: &str = "/containers/json";

/// The timeout of a request, in seconds. Sending a large image is one request.
const REQUEST_TIMEOUT: u64 = 3600;

/// The timeout of a request that reads or sets something small.
const BRIEF_TIMEOUT: Duration = Duration::from_mins(1);

/// The maximum number of simultaneous requests over sessions, and over channels to a socket.
const SESSIONS: usize = 4;
const SOCKETS: usize = 16;

/// The maximum number of responses that last, over sessions and over channels to a socket.
const SESSION_STREAMS: usize = 6;
const SOCKET_STREAMS: usize = 500;

/// The engine of this machine or of a server. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(super) docker: Docker,
    pub(super) host: String,
    machine: Arc<dyn Machine>,
    /// Held while an image is pulled or sent, so that two containers of it wait for one transfer.
    pub(super) images: Arc<tokio::sync::Mutex<()>>,
    /// The name that each container had when it was last seen, by id: errors show names.
    names: Arc<Mutex<HashMap<String, String>>>,
    /// The registries that its images come from.
    pub(super) registries: Arc<Registries>,
    pub(super) platform: Arc<OnceCell<Platform>>,
    route: Route,
    /// Sends requests without bollard; none for the engine of the local machine.
    transport: Option<Transport>,
    exceeded: Exceeded,
}

/// The state of an engine.
#[derive(Clone)]
pub enum EngineStatus {
    /// The engine answers.
    Running(Engine),
    /// Docker is not installed or never ran, so that no container exists.
    Absent {
        /// The server.
        host: String,
        /// Why the engine is absent.
        cause: String,
    },
    /// The engine does not answer, so that its containers are unknown.
    Unknown(Error),
}

impl EngineStatus {
    /// The engine; none if it is absent.
    pub fn present(self) -> Result<Option<Engine>, Error> {
        match self {
            EngineStatus::Running(engine) => Ok(Some(engine)),
            EngineStatus::Absent { .. } => Ok(None),
            EngineStatus::Unknown(error) => Err(error),
        }
    }

    /// The engine, which must answer.
    pub fn running(self) -> Result<Engine, Error> {
        match self {
            EngineStatus::Running(engine) => Ok(engine),
            EngineStatus::Absent { host, cause } => Err(Error::NoEngine { host, cause }),
            EngineStatus::Unknown(error) => Err(error),
        }
    }
}

impl Engine {
    /// The engine of this machine, found as the docker command finds it (`DOCKER_HOST`).
    ///
    /// # Errors
    /// [`Error::NoEngine`] if it does not answer.
    pub async fn here() -> Result<Self, Error> {
        let docker = Docker::connect_with_defaults().map_err(|error| no_engine(HERE, &error))?;
        let docker = docker.with_timeout(Duration::from_secs(REQUEST_TIMEOUT));
        let docker = negotiate(docker, HERE).await?;
        let machine = Arc::new(Local::new());
        Ok(Engine::new(docker, machine, Route::Socket, None))
    }

    fn new(
        docker: Docker,
        machine: Arc<dyn Machine>,
        route: Route,
        transport: Option<Transport>,
    ) -> Self {
        Engine {
            docker,
            host: machine.name().to_owned(),
            machine,
            images: Arc::default(),
            names: Arc::default(),
            registries: Arc::default(),
            platform: Arc::default(),
            route,
            transport,
            exceeded: Exceeded::default(),
        }
    }

    /// Uses these registries. By default, an engine pulls images without credentials.
    #[must_use]
    pub fn with_registries(self, registries: &Arc<Registries>) -> Self {
        Engine {
            registries: registries.clone(),
            ..self
        }
    }

    /// Whether this machine is expected to have an engine: one is configured, or has run before.
    pub fn is_expected_here() -> bool {
        std::env::var_os("DOCKER_HOST").is_some() || std::path::Path::new(SOCKET).exists()
    }

    /// Connects to the engine of a machine, and queries its version.
    pub async fn at(machine: &Arc<dyn Machine>) -> EngineStatus {
        match Engine::connect(machine, PING).await {
            Ok((engine, _)) => EngineStatus::Running(engine),
            Err(error) => match explain(machine.as_ref(), error).await {
                Error::NoEngine { host, cause } => EngineStatus::Absent { host, cause },
                error => EngineStatus::Unknown(error),
            },
        }
    }

    /// Connects to the engine of a machine by listing its containers, sorted by name: the running
    /// ones, or all. This is a round trip less than [`Engine::at`] and [`Engine::list`].
    ///
    /// # Errors
    /// [`Error::NoEngine`] if the engine is absent, so that no container exists.
    pub async fn list_at(
        machine: &Arc<dyn Machine>,
        all: bool,
    ) -> Result<(Self, Vec<Listed>), Error> {
        let path = format!("{LIST}?all={all}");
        let (engine, answer) = match Engine::connect(machine, &path).await {
            Ok(connected) => connected,
            Err(error) => return Err(explain(machine.as_ref(), error).await),
        };
        let listed = answer.and_then(|answer| Listed::parse(&answer));
        let listed = match listed {
            Some(listed) => listed,
            None => engine.list(all).await?,
        };
        Ok((engine, listed))
    }

    /// Connects to the engine of a machine with a GET request for this path, whose response tells the
    /// version of the engine's API. Returns the body, if the request succeeded.
    async fn connect(
        machine: &Arc<dyn Machine>,
        path: &str,
    ) -> Result<(Self, Option<Bytes>), Error> {
        let (route, first) = match Route::Socket.open(machine.as_ref()).await {
            Ok(stream) => (Route::Socket, Some(stream)),
            Err(error) => match error.cause {
                // Root may open every socket: no process listens on this one.
                machine::Cause::Refused {
                    is_forbidden: false,
                } if machine.is_root() => {
                    return Err(Error::NoEngine {
                        host: machine.name().to_owned(),
                        cause: format!("no process listens on {SOCKET}"),
                    });
                }
                machine::Cause::Refused { .. } => (Route::Command, None),
                machine::Cause::Lost | machine::Cause::Other => return Err(error.into()),
            },
        };
        let exceeded = Exceeded::default();
        let transport = transport::over(machine.clone(), route, first, exceeded.clone());
        let transport: Transport = Arc::new(transport);
        let connected = async {
            let opened = in_time(machine.name(), open(transport.as_ref(), path)).await?;
            let own = transport.clone();
            let docker = Docker::connect_with_custom_transport(
                move |request| own(request),
                Some(ADDRESS),
                REQUEST_TIMEOUT,
                opened.version.as_ref().unwrap_or(API),
            )
            .map_err(|error| no_engine(machine.name(), &error))?;
            let docker = match opened.version {
                Some(_) => docker,
                None => negotiate(docker, machine.name()).await?,
            };
            let engine = Engine {
                exceeded,
                ..Engine::new(docker, machine.clone(), route, Some(transport.clone()))
            };
            Ok((engine, opened.body))
        };
        connected.await.map_err(|error| {
            let connected = machine.check_connected("connecting to the Docker Engine");
            connected.err().map_or(error, Error::from)
        })
    }

    /// Whether the connection to the engine's machine is open.
    pub fn is_open(&self) -> bool {
        is_connected(self.machine.as_ref())
    }

    /// The API itself, for the local provider, whose servers are containers of a special kind.
    pub(crate) fn api(&self) -> &Docker {
        &self.docker
    }

    /// The API for requests that an engine answers at once.
    pub(super) fn brief(&self) -> Docker {
        self.docker.clone().with_timeout(BRIEF_TIMEOUT)
    }

    /// Sends a GET request without bollard. Returns the body if the request succeeded; none on the local
    /// machine, whose engine is reached by bollard only.
    pub(super) async fn read(&self, path: &str) -> Result<Option<Bytes>, BollardError> {
        let Some(transport) = &self.transport else {
            return Ok(None);
        };
        let answer = timeout(BRIEF_TIMEOUT, open(transport.as_ref(), path)).await;
        let opened = answer.map_err(|_| BollardError::RequestTimeoutError)??;
        Ok(opened.body)
    }

    /// Notes that the error of a response is ignored: no later error tells its cause.
    pub(super) fn ignore_error(&self) {
        self.exceeded.take();
    }

    /// The machine that it runs on.
    pub(super) fn machine(&self) -> &dyn Machine {
        self.machine.as_ref()
    }

    /// How many requests are made at once. Channels to a socket are not limited; each session, as
    /// `docker system dial-stdio` needs one, counts against sshd's `MaxSessions`.
    pub(super) fn max_concurrent_requests(&self) -> usize {
        match self.route {
            Route::Command => SESSIONS,
            Route::Socket => SOCKETS,
        }
    }

    /// How many responses that last may be open at the same time.
    pub(super) fn max_concurrent_streams(&self) -> usize {
        match self.route {
            Route::Command => SESSION_STREAMS,
            Route::Socket => SOCKET_STREAMS,
        }
    }

    /// Fails if so many responses cannot be open at the same time.
    pub(super) fn check_streams(&self, count: usize) -> Result<(), Error> {
        let limit = self.max_concurrent_streams();
        if count <= limit {
            return Ok(());
        }
        let host = self.host.clone();
        Err(Error::TooManyStreams { host, count, limit })
    }

    /// Opens a byte stream to the engine, for one request.
    pub(super) async fn open(&self) -> Result<Stream, machine::Error> {
        self.route.open(self.machine.as_ref()).await
    }

    /// Opens a TCP connection from the engine's machine, which reaches the containers on it.
    pub(super) async fn dial(&self, address: IpAddr, port: u16) -> Result<Stream, machine::Error> {
        let to = Endpoint::Tcp(address.to_string(), port);
        self.machine.dial(&to).await
    }

    /// Stores a container's name for messages.
    pub(super) fn remember_name(&self, id: &str, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(id.to_owned(), name.to_owned());
    }

    /// The name of a container for messages: the last one seen, else the first digits of its id.
    pub(super) fn name_of(&self, id: &str) -> String {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let name = names.get(id).map(String::as_str);
        name.unwrap_or_else(|| id.get(..12).unwrap_or(id))
            .to_owned()
    }

    /// Converts an error of bollard. `what` is what was being done.
    pub(super) fn error(&self, what: impl Into<String>, error: &BollardError) -> Error {
        let what = what.into();
        if let Err(lost) = self.machine().check_connected(&what) {
            return lost.into();
        }
        let (host, cause) = (self.host.clone(), cause(error));
        if !is_broken(error) {
            return Error::Api { host, what, cause };
        }
        if let Some(cause) = self.exceeded.take() {
            return Error::TooLarge { host, what, cause };
        }
        // The machine names itself if it cannot connect to the engine again.
        let own = format!("host `{host}`: ");
        let cause = cause.strip_prefix(&own).unwrap_or(&cause).to_owned();
        self.broken(what, cause)
    }

    /// The error of an engine that went away while something was being done.
    pub(super) fn broken(&self, what: String, cause: String) -> Error {
        let host = self.host.clone();
        Error::Broken { host, what, cause }
    }
}

fn is_connected(machine: &dyn Machine) -> bool {
    machine.check_connected("").is_ok()
}

/// Finds out why an engine could not be connected to: [`Error::NoEngine`] if it is absent.
async fn explain(machine: &dyn Machine, error: Error) -> Error {
    let Error::NoEngine { host, cause } = error else {
        return error;
    };
    match diagnose(machine, cause).await {
        Ok(Reason::Absent(cause)) => Error::NoEngine { host, cause },
        Ok(Reason::Unknown(cause)) => Error::Unanswered { host, cause },
        Err(error) => error.into(),
    }
}

/// The response to the first request to an engine.
struct Opened {
    /// The newest version that the engine and bollard support, if the engine tells its own.
    version: Option<ClientVersion>,
    /// The body, if the request succeeded.
    body: Option<Bytes>,
}

/// Sends a GET request without a version of the API, which means the engine's newest one.
async fn open(
    transport: impl Fn(BollardRequest) -> Answer,
    path: &str,
) -> Result<Opened, BollardError> {
    let request = hyper::Request::get(format!("{ADDRESS}{path}")).body(body_full(Bytes::new()))?;
    let response = transport(request).await?;
    let is_ok = response.status().is_success();
    let version = response.headers().get("Api-Version");
    let version = version.and_then(|version| parse_version(version.to_str().ok()?));
    let body = response.into_body().collect().await?.to_bytes();
    Ok(Opened {
        version: version.map(|own| if own < *API { own } else { *API }),
        body: is_ok.then_some(body),
    })
}

fn parse_version(text: &str) -> Option<ClientVersion> {
    let (major, minor) = text.split_once('.')?;
    Some(ClientVersion {
        major_version: major.parse().ok()?,
        minor_version: minor.parse().ok()?,
    })
}

/// Negotiates the API version with the engine.
async fn negotiate(docker: Docker, host: &str) -> Result<Docker, Error> {
    in_time(host, docker.negotiate_version()).await
}

/// Waits for the first response of an engine.
async fn in_time<T>(
    host: &str,
    request: impl Future<Output = Result<T, BollardError>>,
) -> Result<T, Error> {
    match timeout(diagnose::TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| no_engine(host, &error)),
        Err(_) => Err(Error::NoEngine {
            host: host.to_owned(),
            cause: format!("no answer within {} s", diagnose::TIMEOUT.as_secs()),
        }),
    }
}

fn no_engine(host: &str, error: &BollardError) -> Error {
    let cause = match error {
        BollardError::SocketNotFoundError(path) => format!("socket {path} not found"),
        other => cause(other),
    };
    Error::NoEngine {
        host: host.to_owned(),
        cause,
    }
}
