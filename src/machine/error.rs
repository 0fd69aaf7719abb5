//! Errors of machines.

use crate::{
    core::diagnostic::{Diagnostic, Kind},
    ssh,
};

/// Why a machine could not do something.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{diagnostic}")]
pub struct Error {
    /// The cause, as far as callers handle it.
    pub cause: Cause,
    diagnostic: Box<Diagnostic>,
}

/// The causes that callers handle differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The machine answers, but did not make a connection: nothing listens there, or the user may
    /// not connect.
    Refused {
        /// The configuration of the machine forbids it.
        is_forbidden: bool,
    },
    /// The connection to the machine broke.
    Lost,
    /// Anything else.
    Other,
}

impl Error {
    /// Creates the error of an operation that failed on a machine with this name.
    pub(crate) fn failed(host: &str, message: &str) -> Self {
        let message = format!("host `{host}`: {message}");
        Diagnostic::new(Kind::Failed, message).on(host).into()
    }

    /// The host where it happened.
    pub(crate) fn host(&self) -> Option<&str> {
        self.diagnostic.host.as_deref()
    }

    /// Sets the cause.
    #[must_use]
    pub(crate) fn because(self, cause: Cause) -> Self {
        Error { cause, ..self }
    }
}

impl From<Diagnostic> for Error {
    fn from(diagnostic: Diagnostic) -> Self {
        Error {
            cause: Cause::Other,
            diagnostic: Box::new(diagnostic),
        }
    }
}

impl From<ssh::Error> for Error {
    fn from(error: ssh::Error) -> Self {
        let cause = match error.cause {
            ssh::Cause::Refused { is_forbidden, .. } => Cause::Refused { is_forbidden },
            ssh::Cause::Lost { .. } => Cause::Lost,
            _ => Cause::Other,
        };
        Error::from(Diagnostic::from(error)).because(cause)
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        *error.diagnostic
    }
}
