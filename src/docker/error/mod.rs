//! Errors of Docker engines.

mod about;
mod diagnostic;

use crate::{
    core::owner::Ownership,
    http::RegistryError,
    machine::{self, Local},
};

/// The name of the local machine in messages.
pub(super) const HERE: &str = Local::NAME;

/// Why an engine could not do what it was asked to. `host` is the name of the server, or
/// `this machine`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The engine is absent, or on the local machine does not answer.
    #[error("host `{host}`: no Docker Engine: {cause}")]
    NoEngine {
        /// The server, or `this machine`.
        host: String,
        /// The cause.
        cause: String,
    },
    /// The engine does not answer.
    #[error("host `{host}`: the Docker Engine does not answer: {cause}")]
    Unanswered {
        /// The server, or `this machine`.
        host: String,
        /// The cause.
        cause: String,
    },
    /// The engine went away in the middle of an operation, or does not answer in time.
    #[error("host `{host}`: {what}: the Docker Engine stopped answering: {cause}")]
    Broken {
        /// The server, or `this machine`.
        host: String,
        /// The operation.
        what: String,
        /// How the connection ended.
        cause: String,
    },
    /// The engine sends more than hitc keeps in memory.
    #[error("host `{host}`: {what}: the Docker Engine sent too much: {cause}")]
    TooLarge {
        /// The server, or `this machine`.
        host: String,
        /// The operation.
        what: String,
        /// The limit that was exceeded.
        cause: String,
    },
    /// The engine refused, or failed to do it.
    #[error("host `{host}`: {what}: {cause}")]
    Api {
        /// The server, or `this machine`.
        host: String,
        /// The operation.
        what: String,
        /// The message of the engine.
        cause: String,
    },
    /// The engine does not have the image, and it could not be pulled.
    #[error("host `{host}`: image `{image}` not found: {cause}")]
    NoImage {
        /// The server, or `this machine`.
        host: String,
        /// The image.
        image: String,
        /// Why it could not be pulled.
        cause: String,
    },
    /// The image could not be pulled.
    #[error("host `{host}`: pulling image `{image}`: {cause}")]
    Pull {
        /// The server, or `this machine`.
        host: String,
        /// The image.
        image: String,
        /// Its registry.
        registry: String,
        /// The message of the engine.
        cause: String,
    },
    /// The image is for another platform than the engine's machine.
    #[error("host `{host}`: image `{image}` is for {platform}, and the server is {wanted}")]
    Platform {
        /// The server, or `this machine`.
        host: String,
        /// The image.
        image: String,
        /// The platform of the image.
        platform: String,
        /// The platform of the server.
        wanted: String,
    },
    /// A registry did not answer, or refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The Docker configuration of this machine could not be read or written.
    #[error("Docker configuration `{path}`: {cause}")]
    Config {
        /// The file.
        path: String,
        /// What went wrong.
        cause: String,
    },
    /// A credential helper failed.
    #[error("credential helper `{program}` for registry `{registry}`: {cause}")]
    Helper {
        /// The program.
        program: String,
        /// The registry.
        registry: String,
        /// The message of the helper.
        cause: String,
    },
    /// This machine has no credentials for a registry.
    #[error("registry `{registry}`: no credentials on this machine")]
    NoLogin {
        /// The registry.
        registry: String,
    },
    /// The container does not exist.
    #[error("host `{host}`: container `{name}` not found")]
    NoContainer {
        /// The server, or `this machine`.
        host: String,
        /// Its name.
        name: String,
        /// A similar name of a container that exists.
        near: Option<String>,
    },
    /// No container on any of several servers has the name.
    #[error("container `{name}` not found on any of the servers")]
    NoneNamed {
        /// The name, or a glob.
        name: String,
        /// A similar name of a container that exists.
        near: Option<String>,
    },
    /// More responses of an engine would have to be open than sshd allows sessions.
    #[error("host `{host}`: {count} containers are too many at once; {limit} are possible")]
    TooManyStreams {
        /// The server.
        host: String,
        /// How many were asked for.
        count: usize,
        /// How many are possible.
        limit: usize,
    },
    /// A copy is not complete.
    #[error("host `{host}`: {what}: {cause}")]
    Incomplete {
        /// The server.
        host: String,
        /// The copy.
        what: String,
        /// What is missing or differs.
        cause: String,
    },
    /// Something that was unused is used by now.
    #[error("host `{host}`: {what} is in use by now")]
    InUse {
        /// The server.
        host: String,
        /// What is used.
        what: String,
    },
    /// The container exists, but does not run.
    #[error("host `{host}`: container `{name}` is not running")]
    NotRunning {
        /// The server, or `this machine`.
        host: String,
        /// Its name.
        name: String,
    },
    /// The engine could not start a command in a container.
    #[error("host `{host}`: cannot start `{command}`: {cause}")]
    NotStarted {
        /// The server and the container: `web/shop`.
        host: String,
        /// The command.
        command: String,
        /// The message of the engine.
        cause: String,
        /// Whether the program does not exist.
        is_missing: bool,
    },
    /// A command needs a shell, and the container's image has none.
    #[error("host `{host}`: `{command}` needs a shell, and the image has none (`sh`)")]
    NoShell {
        /// The server and the container: `web/shop`.
        host: String,
        /// The command.
        command: String,
    },
    /// Files of a container without a shell, which only the engine can read and write, cannot be
    /// read or written as the user wants.
    #[error("host `{host}`: {what}: {cause}, as the image has no shell (`sh`)")]
    WithoutShell {
        /// The server and the container: `web/shop`.
        host: String,
        /// What was to be done.
        what: String,
        /// What cannot be done.
        cause: String,
        /// What the user can do.
        help: &'static str,
    },
    /// hitc does not run on a terminal.
    #[error("host `{host}`: a terminal is needed, and hitc does not run on one")]
    NoTerminal {
        /// The server and the container: `web/shop`.
        host: String,
    },
    /// hitc was told to end while it passed on its terminal.
    #[error("host `{host}`: the terminal was closed by a signal")]
    Closed {
        /// The server and the container: `web/shop`.
        host: String,
    },
    /// No SSH server listens in the container.
    #[error("host `{host}`: no SSH server listens on port 22 of the container")]
    NoSshd {
        /// The server and the container: `web/shop`.
        host: String,
    },
    /// A program of this machine, which passes on the terminal or files, failed.
    #[error("host `{host}`: {program}: {cause}")]
    Program {
        /// The server and the container: `web/shop`.
        host: String,
        /// The program.
        program: String,
        /// Why it failed.
        cause: String,
    },
    /// Another container has the name.
    #[error("host `{host}`: container `{name}` already exists; it {}", owner)]
    NameTaken {
        /// The server, or `this machine`.
        host: String,
        /// The name.
        name: String,
        /// Who owns the other container.
        owner: Ownership,
    },
    /// The container belongs to another owner, or to none, and was not adopted.
    #[error("host `{host}`: container `{name}` {}", owner)]
    NotOwned {
        /// The server, or `this machine`.
        host: String,
        /// Its name.
        name: String,
        /// Its owner.
        owner: Ownership,
    },
    /// A container of another owner, or of none, has a name that replacing a container needs.
    #[error(
        "host `{host}`: container `{name}` has a name that is needed to create or replace `{wanted}`; it {}",
        owner
    )]
    InTheWay {
        /// The server, or `this machine`.
        host: String,
        /// Its name.
        name: String,
        /// The name of the container that was to be created or replaced.
        wanted: String,
        /// The owner of the container that is in the way.
        owner: Ownership,
    },
    /// The engine reports that the port is taken. The holder is not known yet.
    #[error("host `{host}`: starting container `{name}`: port {port} is already allocated")]
    PortAllocated {
        /// The server, or `this machine`.
        host: String,
        /// The name of the container that was started.
        name: String,
        /// The public port.
        port: u16,
        /// Whether the engine itself has allocated it, for this or another address.
        is_by_engine: bool,
    },
    /// A program that is no container listens on the port.
    #[error("host `{host}`: container `{name}`: port {port} is in use by a program of the server")]
    PortInUse {
        /// The server, or `this machine`.
        host: String,
        /// The name of the container that was started.
        name: String,
        /// The public port.
        port: u16,
    },
    /// Another running container publishes the port.
    #[error(
        "host `{host}`: container `{name}`: port {port} is already allocated to container `{holder}`"
    )]
    PortTaken {
        /// The server, or `this machine`.
        host: String,
        /// The name of the container that was started.
        name: String,
        /// The public port.
        port: u16,
        /// The name of the container that publishes it.
        holder: String,
    },
    /// A port could not be published or withdrawn while the container ran.
    #[error("host `{host}`: container `{name}`: port {port}: {cause}")]
    Bind {
        /// The server, or `this machine`.
        host: String,
        /// The container's name.
        name: String,
        /// The public port.
        port: u16,
        /// The cause.
        cause: String,
    },
    /// The engine keeps a port allocated although no running container publishes it.
    #[error(
        "host `{host}`: the engine still reserves port {port} for a container that no longer runs"
    )]
    PortReserved {
        /// The server, or `this machine`.
        host: String,
        /// The public port.
        port: u16,
    },
    /// A container did not become ready.
    #[error("host `{host}`: container `{name}` {cause}")]
    NotReady {
        /// The server, or `this machine`.
        host: String,
        /// Its name.
        name: String,
        /// Why it is not ready.
        cause: String,
        /// The last lines it wrote.
        log: String,
        /// What was done with it and with the previous container; empty if nothing was done.
        now: String,
    },
    /// A container whose end was waited for failed.
    #[error("host `{host}`: container `{name}` ended with status {status}")]
    Ended {
        /// The server, or `this machine`.
        host: String,
        /// Its name.
        name: String,
        /// Its exit status.
        status: i64,
    },
    /// A new container failed, and the previous one could not be restored.
    #[error("{error}; the previous `{name}` could not be restored: {back}")]
    NotRestored {
        /// The server, or `this machine`.
        host: String,
        /// Its name.
        name: String,
        /// The error of the new container.
        error: Box<Error>,
        /// Why the previous container could not be restored.
        back: Box<Error>,
    },
    /// An image could not be built.
    #[error("building `{image}` from `{folder}`: {cause}")]
    Build {
        /// The image's name.
        image: String,
        /// The folder with the Dockerfile.
        folder: String,
        /// What went wrong.
        cause: String,
        /// The last lines of the build.
        log: String,
    },
    /// A Dockerfile requires a secret that the caller did not give.
    #[error("building `{image}` from `{folder}`: secret `{id}` is required and was not given")]
    BuildSecret {
        /// The image's name.
        image: String,
        /// The folder with the Dockerfile.
        folder: String,
        /// The id of the secret.
        id: String,
    },
    /// Docker could not be set up.
    #[error("host `{host}`: Docker could not be set up: {cause}")]
    Setup {
        /// The server, or `this machine`.
        host: String,
        /// What went wrong.
        cause: String,
        /// The last lines of the script.
        log: String,
    },
    /// The engine's machine could not be reached, or not run a command.
    #[error(transparent)]
    Machine(#[from] machine::Error),
}
