//! What can go wrong at a provider.

use crate::{
    diagnostic::{Diagnostic, Kind, did_you_mean},
    docker, ssh,
};

/// Why a provider could not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no provider of that name.
    #[error("there is no provider `{name}`")]
    Unknown {
        /// The name.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// The provider is not set up on this machine.
    #[error("provider `{provider}` is not configured: {cause}")]
    NotConfigured {
        /// The provider.
        provider: &'static str,
        /// What is missing.
        cause: String,
        /// What to do.
        help: String,
    },
    /// The provider cannot do this at all.
    #[error("provider `{provider}` cannot {what}")]
    Unsupported {
        /// The provider.
        provider: &'static str,
        /// What was asked for.
        what: &'static str,
        /// What to do instead.
        help: String,
    },
    /// The provider failed to do it.
    #[error("provider `{provider}`: {what}: {cause}")]
    Failed {
        /// The provider.
        provider: &'static str,
        /// What was being done.
        what: String,
        /// What went wrong.
        cause: String,
    },
    /// A file that the provider reads is wrong.
    #[error("`{path}`, line {line}: {cause}")]
    File {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        cause: String,
    },
    /// The Docker engine failed.
    #[error(transparent)]
    Docker(#[from] docker::Error),
    /// A key could not be used.
    #[error(transparent)]
    Ssh(#[from] ssh::Error),
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Docker(error) => error.into(),
            Error::Ssh(error) => error.into(),
            Error::Unknown { name, known } => Diagnostic::new(Kind::Usage, message).help(
                did_you_mean(&name, known.iter().copied())
                    .or_else(|| Some(format!("there is {}", known.join(", ")))),
            ),
            Error::NotConfigured { help, .. } | Error::Unsupported { help, .. } => {
                Diagnostic::new(Kind::Usage, message).help(help)
            }
            Error::File { .. } => Diagnostic::new(Kind::Usage, message),
            Error::Failed { .. } => Diagnostic::new(Kind::Failed, message),
        }
    }
}
