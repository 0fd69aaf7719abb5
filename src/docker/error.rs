//! What can go wrong at a Docker engine.

use crate::{
    core::diagnostic::{Diagnostic, Kind},
    ssh,
};

/// Why an engine could not do what it was asked to. `host` is the name of the server, or
/// `this machine`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no engine, or it does not run.
    #[error("host `{host}`: no Docker Engine answers: {cause}")]
    NoEngine {
        /// Where.
        host: String,
        /// What was tried and what came back.
        cause: String,
    },
    /// The engine refused, or failed to do it.
    #[error("host `{host}`: {what}: {cause}")]
    Api {
        /// Where.
        host: String,
        /// What was asked for.
        what: String,
        /// What the engine said.
        cause: String,
    },
    /// There is no such image.
    #[error("host `{host}`: no image `{image}`: {cause}")]
    NoImage {
        /// Where.
        host: String,
        /// The image.
        image: String,
        /// Why it could not be had.
        cause: String,
    },
    /// There is no such container.
    #[error("host `{host}`: no container `{name}`")]
    NoContainer {
        /// Where.
        host: String,
        /// Its name.
        name: String,
    },
    /// There is a container of that name already.
    #[error("host `{host}`: there is a container `{name}` already")]
    NameTaken {
        /// Where.
        host: String,
        /// Its name.
        name: String,
    },
    /// A container did not become ready.
    #[error("host `{host}`: container `{name}` {cause}")]
    NotReady {
        /// Where.
        host: String,
        /// Its name.
        name: String,
        /// What happened instead.
        cause: String,
        /// The last lines it wrote.
        log: String,
        /// What became of it and of the one before; empty if it is as it was.
        now: String,
    },
    /// A container failed, and the one before it did not come back.
    #[error("{error}; and the old `{name}` did not come back: {back}")]
    NotRestored {
        /// Where.
        host: String,
        /// Its name.
        name: String,
        /// How the new one failed.
        error: Box<Error>,
        /// Why the old one is not back.
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
    /// Docker could not be set up.
    #[error("host `{host}`: Docker could not be set up: {cause}")]
    Setup {
        /// Where.
        host: String,
        /// What went wrong.
        cause: String,
        /// The last lines of the script.
        log: String,
    },
    /// The server could not be reached.
    #[error(transparent)]
    Ssh(#[from] ssh::Error),
}

impl Error {
    fn help(&self) -> Option<String> {
        let text = self.to_string();
        if text.contains("no space left on device") {
            return Some(
                "the disk is full there: make room, or give the server a larger one".into(),
            );
        }
        match self {
            Error::NoEngine { host, .. } if host == super::engine::HERE => {
                Some("install and start Docker here with `hitc run local.setup`".to_owned())
            }
            Error::NoEngine { host, .. } => Some(format!(
                "install and start it with `hitc run -H {host} docker.setup`"
            )),
            Error::NoImage { host, .. } if host == super::engine::HERE => {
                Some("check the name; `docker images` lists what is here".to_owned())
            }
            Error::NoImage { host, image, .. } => Some(format!(
                "check the name, or send it from this machine with `hitc run -H {host} docker.push {image}`"
            )),
            Error::NameTaken { name, .. } => Some(format!(
                "add `replace=true` to take its place, or end it with `docker.kill {name}`"
            )),
            Error::NoContainer { .. } => Some("`hitc run docker.ps` lists what runs".to_owned()),
            _ => None,
        }
    }

    fn host(&self) -> Option<&str> {
        match self {
            Error::NoEngine { host, .. }
            | Error::Api { host, .. }
            | Error::NoImage { host, .. }
            | Error::NoContainer { host, .. }
            | Error::NameTaken { host, .. }
            | Error::NotReady { host, .. }
            | Error::NotRestored { host, .. }
            | Error::Setup { host, .. } => Some(host),
            Error::Build { .. } | Error::Ssh(_) => None,
        }
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        if let Error::Ssh(error) = error {
            return error.into();
        }
        let mut diagnostic = Diagnostic::new(Kind::Failed, error.to_string()).help(error.help());
        if let Some(host) = error.host() {
            diagnostic = diagnostic.on(host);
        }
        if let Error::NotReady { now, .. } = &error
            && !now.is_empty()
        {
            diagnostic = diagnostic.note(now.as_str());
        }
        match error {
            Error::NotReady { log, .. } | Error::Build { log, .. } | Error::Setup { log, .. }
                if !log.is_empty() =>
            {
                diagnostic.note(format!("its last lines:\n{log}"))
            }
            _ => diagnostic,
        }
    }
}
