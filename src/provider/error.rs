//! Errors of providers.

use crate::{
    core::{
        diagnostic::{Diagnostic, Kind, did_you_mean},
        owner::Ownership,
        value::Invalid,
    },
    docker, http, ssh,
};

/// Why a provider failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No provider has this name.
    #[error("provider `{name}` not found")]
    Unknown {
        /// The name.
        name: String,
        /// The names of all providers.
        known: Vec<String>,
    },
    /// The provider is not configured on this machine.
    #[error("provider `{provider}` is not configured: {cause}")]
    NotConfigured {
        /// The provider.
        provider: String,
        /// What is missing.
        cause: String,
        /// What to do.
        help: String,
    },
    /// The provider does not offer this.
    #[error("provider `{provider}` cannot {what}")]
    Unsupported {
        /// The provider.
        provider: String,
        /// What it cannot do.
        what: &'static str,
        /// What to do instead.
        help: String,
    },
    /// An operation failed.
    #[error("provider `{provider}`: {what}: {cause}")]
    Failed {
        /// The provider.
        provider: String,
        /// What was being done.
        what: String,
        /// What went wrong.
        cause: String,
    },
    /// A request to the provider's API failed. Has help of the provider.
    #[error("{0}")]
    Api(http::Error, Option<String>),
    /// A scripted provider failed.
    #[error("{}", .0.message)]
    Script(Box<Diagnostic>),
    /// The provider rejected a request.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// An option is invalid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Servers are protected against termination.
    #[error("protected: {}; nothing was terminated", names.join(", "))]
    Protected {
        /// The servers.
        names: Vec<String>,
    },
    /// The server belongs to another owner.
    #[error("server `{name}` at {provider} {owner}")]
    NotOwned {
        /// The provider.
        provider: String,
        /// The server.
        name: String,
        /// The owner.
        owner: Ownership,
        /// The manifest that needs the name. None if a task does.
        manifest: Option<String>,
    },
    /// Two servers have one name.
    #[error("two servers at {provider} are named `{name}`: {first}, and {second}")]
    Duplicate {
        /// The provider.
        provider: String,
        /// The name.
        name: String,
        /// The id of one, and when it was created.
        first: String,
        /// The id of the other, and when it was created.
        second: String,
    },
    /// Only servers can do it, and the host is a container.
    #[error("host `{name}` is a container; this works on servers only")]
    IsContainer {
        /// The host.
        name: String,
        /// Its server.
        server: String,
    },
    /// The server no longer exists.
    #[error("server `{name}` not found at {provider}: it was terminated")]
    Gone {
        /// The provider.
        provider: String,
        /// The server.
        name: String,
    },
    /// The server exists, and lost what hitc recognizes its servers by.
    #[error("server `{name}` ({id}) at {provider} exists, but {cause}; nothing was done to it")]
    Unrecognized {
        /// The provider.
        provider: String,
        /// The server's name when it was listed.
        name: String,
        /// The provider's identifier.
        id: String,
        /// What is missing.
        cause: String,
    },
    /// Another run changed the server since it was listed.
    #[error("server `{name}` at {provider}: {cause}; nothing was done to it")]
    Changed {
        /// The provider.
        provider: String,
        /// The server's name when it was listed.
        name: String,
        /// The difference.
        cause: String,
    },
    /// A file that the provider reads is invalid.
    #[error("`{path}`{}: {cause}", place(*line))]
    File {
        /// The file.
        path: String,
        /// Counted from 1; 0 if it is about the whole file.
        line: usize,
        /// The mistake.
        cause: String,
    },
    /// The Docker engine failed.
    #[error(transparent)]
    Docker(#[from] docker::Error),
    /// A key is unusable.
    #[error(transparent)]
    Ssh(#[from] ssh::Error),
}

impl Error {
    /// An invalid option, and what to do.
    pub fn invalid(message: impl Into<String>, help: Option<String>) -> Self {
        Error::Invalid(Invalid::at(None, message).help(help))
    }

    /// An option names something that the provider does not have. The help suggests the nearest known
    /// name. Without one it is `otherwise`, or else the list of known names.
    pub fn missing<'a>(
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
        otherwise: Option<&str>,
    ) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let list = || match otherwise {
            None if !known.is_empty() => Some(format!("choose one of {}", known.join(", "))),
            other => other.map(str::to_owned),
        };
        let help = did_you_mean(name, known.iter().copied()).or_else(list);
        Error::invalid(format!("{what} `{name}` not found"), help)
    }
}

/// A request that a provider rejected.
#[derive(Clone, Debug, thiserror::Error)]
#[error("provider `{provider}`: {what}: {cause}{}", self.details())]
pub struct Refusal {
    /// The provider.
    pub provider: String,
    /// What was being done.
    pub what: String,
    /// The provider's message.
    pub cause: String,
    /// The provider's error code.
    pub code: Option<String>,
    /// The provider's id of the request, for its support.
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

fn place(line: usize) -> String {
    match line {
        0 => String::new(),
        line => format!(", line {line}"),
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Docker(error) => error.into(),
            Error::Ssh(error) => error.into(),
            Error::Unknown { name, .. } if name.starts_with("ec2:") => {
                let region = name.trim_start_matches("ec2:");
                let add = format!("`config(#{{ ec2_regions: [\"{region}\"] }})`");
                Diagnostic::new(Kind::Usage, message)
                    .help(format!("add the region in the hitcfile: {add}"))
            }
            Error::Unknown { name, known } => Diagnostic::new(Kind::Usage, message).help(
                did_you_mean(&name, known.iter().map(String::as_str))
                    .or_else(|| Some(format!("the providers are {}", known.join(", ")))),
            ),
            Error::NotConfigured { help, .. } | Error::Unsupported { help, .. } => {
                Diagnostic::new(Kind::Usage, message).help(help)
            }
            Error::Api(error, help) => Diagnostic::from(error).help(help),
            Error::Script(diagnostic) => *diagnostic,
            Error::Refused(refusal) => Diagnostic::new(refusal.kind, message).help(refusal.help),
            Error::Invalid(error) => error.into(),
            Error::Protected { .. } => Diagnostic::new(Kind::Usage, message).help(
                "to terminate them anyway, first remove their protection at the provider: the tag \
                 or label with `protect` in its name, or the server's deletion protection"
                    .to_owned(),
            ),
            Error::NotOwned { name, manifest, .. } => {
                let adopt = match manifest {
                    Some(manifest) => format!("hitc run ensemble.up {manifest} adopt={name}"),
                    None => format!("hitc run -H {name} --any-owner adopt"),
                };
                Diagnostic::new(Kind::Usage, message).help(format!(
                    "choose another name, or take it over with `{adopt}`"
                ))
            }
            Error::Duplicate { .. } => Diagnostic::new(Kind::Failed, message).help(
                "select one of them by its id, and rename or terminate it: \
                 `hitc run -H ID rename NAME`"
                    .to_owned(),
            ),
            Error::Changed { .. } => Diagnostic::new(Kind::Failed, message)
                .help("`hitc nodes --any-owner` lists all servers and their owners".to_owned()),
            Error::Unrecognized { .. } => Diagnostic::new(Kind::Failed, message)
                .help("restore it at the provider, or terminate the server there".to_owned()),
            Error::IsContainer { server, name } => Diagnostic::new(Kind::Usage, message)
                .help(format!("select its server with `-H {server}`"))
                .on(&name),
            Error::File { .. } => Diagnostic::new(Kind::Usage, message),
            Error::Gone { .. } | Error::Failed { .. } => Diagnostic::new(Kind::Failed, message),
        }
    }
}
