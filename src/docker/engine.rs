//! The connection to a Docker Engine, of this machine or of a server.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bollard::{ClientVersion, Docker, errors::Error as BollardError};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use super::{
    Error,
    diagnose::{self, Reason, diagnose},
    error::HERE,
    transport::{self, SOCKET},
};
use crate::ssh::{self, Connection, StreamTarget};

/// The newest API version that bollard supports. With an older engine, the version of the engine is
/// used.
const API: &ClientVersion = bollard::API_DEFAULT_VERSION;

/// The timeout of a request, in seconds. Sending a large image is one request.
const REQUEST_TIMEOUT: u64 = 3600;

/// The maximum number of simultaneous requests over sessions, and over channels to a socket.
const SESSIONS: usize = 4;
const SOCKETS: usize = 16;

/// The engine of this machine or of a server. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(super) docker: Docker,
    pub(super) host: String,
    connection: Option<Arc<Connection>>,
    /// Held while an image is pulled or sent, so that two containers of it wait for one transfer.
    pub(super) images: Arc<tokio::sync::Mutex<()>>,
    /// The name that each container had when it was last seen, by id: errors show names.
    names: Arc<Mutex<HashMap<String, String>>>,
    /// Whether each channel to the engine is a session of the SSH server.
    is_session: bool,
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

/// A byte stream to a port of a container.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Engine {
    /// The engine of this machine, found as the docker command finds it (`DOCKER_HOST`).
    ///
    /// # Errors
    /// [`Error::NoEngine`] if it does not answer.
    pub async fn here() -> Result<Self, Error> {
        let docker = Docker::connect_with_defaults().map_err(|error| no_engine(HERE, &error))?;
        let docker = docker.with_timeout(Duration::from_secs(REQUEST_TIMEOUT));
        Ok(Engine {
            docker: negotiate(docker, HERE).await?,
            host: HERE.to_owned(),
            connection: None,
            images: Arc::default(),
            names: Arc::default(),
            is_session: false,
        })
    }

    /// Whether this machine is expected to have an engine: one is configured, or has run before.
    pub fn is_expected_here() -> bool {
        std::env::var_os("DOCKER_HOST").is_some() || std::path::Path::new(SOCKET).exists()
    }

    /// Connects to the engine of a server, and queries its version.
    pub async fn at(connection: &Arc<Connection>) -> EngineStatus {
        match Engine::connect(connection).await {
            Ok(engine) => EngineStatus::Running(engine),
            Err(Error::NoEngine { host, cause }) if !connection.is_closed() => {
                match diagnose(connection, cause).await {
                    Ok(Reason::Absent(cause)) => EngineStatus::Absent { host, cause },
                    Ok(Reason::Unknown(cause)) => {
                        EngineStatus::Unknown(Error::Unanswered { host, cause })
                    }
                    Err(error) => EngineStatus::Unknown(error.into()),
                }
            }
            Err(error) => EngineStatus::Unknown(error),
        }
    }

    async fn connect(connection: &Arc<Connection>) -> Result<Self, Error> {
        let target = connection.target();
        let socket = StreamTarget::Socket(SOCKET.to_owned());
        let (endpoint, first) = match connection.stream(&socket).await {
            Ok(stream) => (socket, Some(stream)),
            // Root may open every socket: no process listens on this one.
            Err(ssh::Error {
                cause:
                    ssh::Cause::Refused {
                        is_forbidden: false,
                        ..
                    },
                ..
            }) if target.user == "root" => {
                return Err(Error::NoEngine {
                    host: target.name.clone(),
                    cause: format!("no process listens on {SOCKET}"),
                });
            }
            Err(ssh::Error {
                cause: ssh::Cause::Refused { .. },
                ..
            }) => {
                let command = ssh::Command::root("exec docker system dial-stdio");
                (StreamTarget::Command(Box::new(command)), None)
            }
            Err(error) => return Err(error.into()),
        };
        let is_session = matches!(endpoint, StreamTarget::Command(_));
        let transport = transport::over_ssh(connection.clone(), endpoint, first);
        let docker = Docker::connect_with_custom_transport(
            transport,
            Some("http://docker"),
            REQUEST_TIMEOUT,
            API,
        )
        .map_err(|error| no_engine(&target.name, &error))?;
        let docker = negotiate(docker, &target.name).await.map_err(|error| {
            if connection.is_closed() {
                return connection.lost("connecting to the Docker Engine").into();
            }
            error
        })?;
        Ok(Engine {
            docker,
            host: target.name.clone(),
            connection: Some(connection.clone()),
            images: Arc::default(),
            names: Arc::default(),
            is_session,
        })
    }

    /// Whether the connection to the engine's machine is open.
    pub fn is_open(&self) -> bool {
        self.connection.as_ref().is_none_or(|c| !c.is_closed())
    }

    /// The API itself, for the local provider, whose servers are containers of a special kind.
    pub(crate) fn api(&self) -> &Docker {
        &self.docker
    }

    /// How many requests are made at once. Channels to a socket are not limited; each session, as
    /// `docker system dial-stdio` needs one, counts against sshd's `MaxSessions`.
    pub(super) fn at_once(&self) -> usize {
        if self.is_session { SESSIONS } else { SOCKETS }
    }

    /// Opens a TCP connection from the engine's machine, which reaches the containers on it.
    pub(super) async fn dial(
        &self,
        address: IpAddr,
        port: u16,
    ) -> Result<Box<dyn Duplex>, std::io::Error> {
        match &self.connection {
            Some(connection) => match connection.dial(&address.to_string(), port).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(std::io::Error::other(error)),
            },
            None => Ok(Box::new(TcpStream::connect((address, port)).await?)),
        }
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
        if let Some(connection) = self.connection.as_ref().filter(|c| c.is_closed()) {
            return connection.lost(&what.into()).into();
        }
        Error::Api {
            host: self.host.clone(),
            what: what.into(),
            cause: cause(error),
        }
    }
}

/// Negotiates the API version with the engine.
async fn negotiate(docker: Docker, host: &str) -> Result<Docker, Error> {
    match timeout(diagnose::TIMEOUT, docker.negotiate_version()).await {
        Ok(agreed) => agreed.map_err(|error| no_engine(host, &error)),
        Err(_) => Err(Error::NoEngine {
            host: host.to_owned(),
            cause: format!("no answer within {} s", diagnose::TIMEOUT.as_secs()),
        }),
    }
}

/// Whether the engine answered that the container or image does not exist.
pub(super) fn is_missing(error: &BollardError) -> bool {
    matches!(
        error,
        BollardError::DockerResponseServerError {
            status_code: 404,
            ..
        }
    )
}

/// The root cause of an error, without bollard's own words around it.
pub(crate) fn cause(error: &BollardError) -> String {
    match error {
        BollardError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        BollardError::DockerStreamError { error } => error.trim().to_owned(),
        BollardError::RequestTimeoutError => format!("no answer within {REQUEST_TIMEOUT} s"),
        other => {
            let mut root: &dyn std::error::Error = other;
            while let Some(source) = root.source() {
                root = source;
            }
            crate::core::diagnostic::plain(root)
        }
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
