//! What can go wrong with files.

use std::{io, path::Path};

use crate::{
    core::{
        diagnostic::{Diagnostic, Kind, plain},
        process::Output,
    },
    ssh,
};

/// Why a file did not get where it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server could not be reached.
    #[error(transparent)]
    Ssh(#[from] ssh::Error),
    /// A file of this machine.
    #[error("`{path}`: {cause}")]
    Here {
        /// The file.
        path: String,
        /// What the system said.
        cause: String,
    },
    /// Something on the server.
    #[error("host `{host}`: {what}: {cause}")]
    There {
        /// The host's name.
        host: String,
        /// What was tried.
        what: String,
        /// What was said there.
        cause: String,
    },
}

impl Error {
    pub(super) fn here(path: &Path, error: impl std::borrow::Borrow<io::Error>) -> Self {
        Error::Here {
            path: path.display().to_string(),
            cause: plain(error.borrow()),
        }
    }

    /// An error if a command went wrong.
    pub(super) fn check(host: &str, what: &str, output: &Output) -> Result<(), Self> {
        if output.ok() {
            return Ok(());
        }
        let said = output.tail(3);
        Err(Error::There {
            host: host.to_owned(),
            what: what.to_owned(),
            cause: if said.is_empty() {
                output.exit.to_string()
            } else {
                said
            },
        })
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        match error {
            Error::Ssh(error) => error.into(),
            Error::Here { .. } => Diagnostic::new(Kind::Usage, error.to_string()),
            Error::There { ref host, .. } => {
                let host = host.clone();
                Diagnostic::new(Kind::Failed, error.to_string()).on(&host)
            }
        }
    }
}
