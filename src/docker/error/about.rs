//! What an error is about: its host and cause, and what was done about it.

use super::Error;

impl Error {
    /// Adds what was done after a container did not become ready.
    pub(in crate::docker) fn now(self, done: String) -> Self {
        match self {
            Error::NotReady {
                host,
                name,
                cause,
                log,
                ..
            } => Error::NotReady {
                host,
                name,
                cause,
                log,
                now: done,
            },
            other => other,
        }
    }

    /// The same error, on the container with this name as a host.
    pub(in crate::docker) fn inside(self, name: &str) -> Self {
        let host = name.to_owned();
        match self {
            Error::Api { what, cause, .. } => Error::Api { host, what, cause },
            Error::Incomplete { what, cause, .. } => Error::Incomplete { host, what, cause },
            other => other,
        }
    }

    /// The port that the engine reserves for a container that no longer runs, if that is the
    /// cause. Restarting the engine releases it.
    pub fn reserved_port(&self) -> Option<u16> {
        match self {
            Error::PortReserved { port, .. } => Some(*port),
            Error::NotRestored { error, back, .. } => {
                error.reserved_port().or_else(|| back.reserved_port())
            }
            _ => None,
        }
    }

    /// Whether the disk of the engine is full.
    pub(in crate::docker) fn is_disk_full(&self) -> bool {
        self.to_string().contains("no space left on device")
    }

    /// The host, if the error is about one.
    pub(in crate::docker) fn host(&self) -> Option<&str> {
        match self {
            Error::NoEngine { host, .. }
            | Error::Unanswered { host, .. }
            | Error::Broken { host, .. }
            | Error::TooLarge { host, .. }
            | Error::Api { host, .. }
            | Error::NoImage { host, .. }
            | Error::Pull { host, .. }
            | Error::Platform { host, .. }
            | Error::NoContainer { host, .. }
            | Error::TooManyStreams { host, .. }
            | Error::InUse { host, .. }
            | Error::Incomplete { host, .. }
            | Error::NotRunning { host, .. }
            | Error::NotStarted { host, .. }
            | Error::NoShell { host, .. }
            | Error::WithoutShell { host, .. }
            | Error::NoTerminal { host }
            | Error::Closed { host }
            | Error::NoSshd { host }
            | Error::Program { host, .. }
            | Error::NameTaken { host, .. }
            | Error::NotOwned { host, .. }
            | Error::InTheWay { host, .. }
            | Error::PortAllocated { host, .. }
            | Error::PortInUse { host, .. }
            | Error::Bind { host, .. }
            | Error::PortTaken { host, .. }
            | Error::PortReserved { host, .. }
            | Error::NotReady { host, .. }
            | Error::Ended { host, .. }
            | Error::NotRestored { host, .. }
            | Error::Setup { host, .. } => Some(host),
            Error::Machine(error) => error.host(),
            Error::Build { .. }
            | Error::BuildSecret { .. }
            | Error::NoneNamed { .. }
            | Error::Registry(_)
            | Error::Config { .. }
            | Error::Helper { .. }
            | Error::NoLogin { .. } => None,
        }
    }
}
