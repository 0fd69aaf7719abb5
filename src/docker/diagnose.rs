//! Finds out why a server's engine does not answer: not installed, or for which other reason.
//!
//! Run only after the engine failed to answer, so that an engine that does costs nothing more.

use std::{sync::Arc, time::Duration};

use super::transport::SOCKET;
use crate::ssh::{self, Command, Connection};

/// How long each command may take, and the engine to answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Why an engine does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Docker is not installed on the server.
    NotInstalled,
    /// It is, or may be; with the cause.
    Unknown(String),
}

/// Looks for Docker's programs and its socket. `cause` is how the engine failed to answer.
pub(super) async fn diagnose(
    connection: &Arc<Connection>,
    cause: String,
) -> Result<Reason, ssh::Error> {
    // dockerd is not in the search path of every user.
    let line = format!(
        "PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/snap/bin; \
         if command -v docker >/dev/null || command -v dockerd >/dev/null || [ -e {SOCKET} ]; \
         then echo installed; else echo missing; fi"
    );
    let command = Command {
        timeout: Some(TIMEOUT),
        ..Command::new(line)
    };
    match connection.run(&command).await?.text().lines().last() {
        Some("missing") => return Ok(Reason::NotInstalled),
        Some("installed") => {}
        other => {
            let answer = other.unwrap_or("nothing");
            return Ok(Reason::Unknown(format!(
                "{cause}; looking for Docker on the server gave {answer:?}"
            )));
        }
    }
    if connection.target().user == "root" {
        return Ok(Reason::Unknown(cause));
    }
    // The user reaches the engine through sudo: sudo or the docker command says what is wrong.
    let command = Command {
        timeout: Some(TIMEOUT),
        ..Command::root("exec docker version --format '{{.Server.Version}}'")
    };
    let said = match connection.run(&command).await {
        Ok(output) if output.ok() => cause,
        Ok(output) => output.tail(1),
        Err(error) if matches!(error.cause, ssh::Cause::Lost { .. }) => return Err(error),
        Err(error) => error.to_string(),
    };
    Ok(Reason::Unknown(said))
}
