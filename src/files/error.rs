//! Errors of file transfers.

use std::{io, path::Path};

use crate::{
    core::{
        diagnostic::{Diagnostic, Kind, plain},
        process::Output,
    },
    machine,
};

/// Why a file could not be transferred.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host could not be reached, or the command not be run.
    #[error(transparent)]
    Machine(#[from] machine::Error),
    /// A local file could not be read or written.
    #[error("`{path}`: {cause}")]
    Local {
        /// The path of the file.
        path: String,
        /// The message of the system.
        cause: String,
    },
    /// A pattern does not say what to download.
    #[error("host `{host}`: download {from}: {cause}")]
    Pattern {
        /// The name of the host.
        host: String,
        /// The pattern.
        from: String,
        /// What is wrong.
        cause: String,
    },
    /// A command on the server failed.
    #[error("host `{host}`: {what}: {cause}")]
    Remote {
        /// The name of the host.
        host: String,
        /// The operation that failed.
        what: String,
        /// The last lines of the command's standard error, or its exit status.
        cause: String,
    },
}

impl Error {
    /// Creates the error of a local file.
    pub(super) fn local(path: &Path, error: impl std::borrow::Borrow<io::Error>) -> Self {
        Error::Local {
            path: path.display().to_string(),
            cause: plain(error.borrow()),
        }
    }

    /// Returns an error if a command on the server failed.
    pub(super) fn check(host: &str, what: &str, output: &Output) -> Result<(), Self> {
        if output.ok() {
            return Ok(());
        }
        let message = output.tail(3);
        Err(Error::Remote {
            host: host.to_owned(),
            what: what.to_owned(),
            cause: if message.is_empty() {
                output.exit.to_string()
            } else {
                message
            },
        })
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        match error {
            Error::Machine(error) => error.into(),
            Error::Local { .. } => Diagnostic::new(Kind::Usage, error.to_string()),
            Error::Pattern { ref host, .. } | Error::Remote { ref host, .. } => {
                let host = host.clone();
                Diagnostic::new(Kind::Failed, error.to_string()).on(&host)
            }
        }
    }
}
