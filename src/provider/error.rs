//! What can go wrong at a provider.

use crate::{
    core::{
        diagnostic::{Diagnostic, Kind, did_you_mean},
        value::Invalid,
    },
    docker, http, ssh,
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
        known: Vec<String>,
    },
    /// The provider is not set up on this machine.
    #[error("provider `{provider}` is not configured: {cause}")]
    NotConfigured {
        /// The provider.
        provider: String,
        /// What is missing.
        cause: String,
        /// What to do.
        help: String,
    },
    /// The provider cannot do this at all.
    #[error("provider `{provider}` cannot {what}")]
    Unsupported {
        /// The provider.
        provider: String,
        /// What was asked for.
        what: &'static str,
        /// What to do instead.
        help: String,
    },
    /// The provider failed to do it.
    #[error("provider `{provider}`: {what}: {cause}")]
    Failed {
        /// The provider.
        provider: String,
        /// What was being done.
        what: String,
        /// What went wrong.
        cause: String,
    },
    /// The provider's API did not do it.
    #[error("{0}")]
    Api(http::Error, Option<String>),
    /// A script that is a provider failed.
    #[error("{}", .0.message)]
    Script(Box<Diagnostic>),
    /// The provider refused.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// What was asked for is not there, or not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// They may not be terminated.
    #[error("protected: {}; nothing was terminated", names.join(", "))]
    Protected {
        /// The servers.
        names: Vec<String>,
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

impl Error {
    /// What the user asked for is not allowed, and what to do.
    pub fn invalid(message: impl Into<String>, help: Option<String>) -> Self {
        Error::Invalid(Invalid::at(None, message).help(help))
    }

    /// There is no such thing: the help names the nearest that there is, or says what it is told
    /// `otherwise`, or lists what is known.
    pub fn missing<'a>(
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
        otherwise: Option<&str>,
    ) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let list = || match otherwise {
            None if !known.is_empty() => Some(format!("there is {}", known.join(", "))),
            other => other.map(str::to_owned),
        };
        let help = did_you_mean(name, known.iter().copied()).or_else(list);
        Error::invalid(format!("{what}: there is no `{name}`"), help)
    }
}

/// What a provider said no to, and how.
#[derive(Clone, Debug, thiserror::Error)]
#[error("provider `{provider}`: {what}: {cause}{}", self.details())]
pub struct Refusal {
    /// The provider.
    pub provider: String,
    /// What was being done.
    pub what: String,
    /// What it said.
    pub cause: String,
    /// Its own word for it.
    pub code: Option<String>,
    /// How it calls the request.
    pub request: Option<String>,
    /// The kind that decides the exit status.
    pub kind: Kind,
    /// What to do.
    pub help: Option<String>,
}

impl Refusal {
    fn details(&self) -> String {
        match (&self.code, &self.request) {
            (Some(code), Some(request)) => format!(" (`{code}`, request {request})"),
            (Some(code), None) => format!(" (`{code}`)"),
            (None, Some(request)) => format!(" (request {request})"),
            (None, None) => String::new(),
        }
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Docker(error) => error.into(),
            Error::Ssh(error) => error.into(),
            Error::Unknown { name, known } => Diagnostic::new(Kind::Usage, message).help(
                did_you_mean(&name, known.iter().map(String::as_str))
                    .or_else(|| Some(format!("there is {}", known.join(", ")))),
            ),
            Error::NotConfigured { help, .. } | Error::Unsupported { help, .. } => {
                Diagnostic::new(Kind::Usage, message).help(help)
            }
            Error::Api(error, help) => Diagnostic::from(error).help(help),
            Error::Script(diagnostic) => *diagnostic,
            Error::Refused(refusal) => Diagnostic::new(refusal.kind, message).help(refusal.help),
            Error::Invalid(error) => error.into(),
            Error::Protected { .. } => Diagnostic::new(Kind::Usage, message).help(
                "if it must be, take the mark away at the provider: the tag or label with \
                 `protect` in its name"
                    .to_owned(),
            ),
            Error::File { .. } => Diagnostic::new(Kind::Usage, message),
            Error::Failed { .. } => Diagnostic::new(Kind::Failed, message),
        }
    }
}
