//! Finds out why a server's engine does not answer: Docker is not installed, was never started, or
//! fails.
//!
//! Runs only after the engine failed to answer, so that it costs nothing otherwise.

use std::{sync::Arc, time::Duration};

use super::transport::SOCKET;
use crate::ssh::{self, Command, Connection};

/// How long each command may take, and the engine to answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Prints `missing` if Docker is not installed, `unused` if its engine never ran, else `used`.
/// dockerd is not in the search path of every user. It makes its folder unreadable for others than
/// root when it first starts; a `daemon.json` may name another folder.
const LOOK: &str = "PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/snap/bin
data=/var/lib/docker
if [ -e SOCKET ]; then echo used
elif ! command -v docker >/dev/null && ! command -v dockerd >/dev/null; then echo missing
elif [ -e /etc/docker/daemon.json ] || [ -e /var/snap/docker ]; then echo used
elif [ -e $data/containers ] || { [ -d $data ] && ! [ -x $data ]; }; then echo used
else echo unused; fi";

/// Why an engine does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The engine never ran on the server, so that no containers exist.
    Absent(String),
    /// The engine has run, or may have.
    Unknown(String),
}

/// Looks for Docker's programs, its socket and its data. `cause` is how the engine failed to answer.
pub(super) async fn diagnose(
    connection: &Arc<Connection>,
    cause: String,
) -> Result<Reason, ssh::Error> {
    let line = LOOK.replace("SOCKET", SOCKET);
    let command = Command {
        timeout: Some(TIMEOUT),
        ..Command::new(line)
    };
    match connection.run(&command).await?.text().lines().last() {
        Some("missing") => return Ok(Reason::Absent("Docker is not installed".to_owned())),
        Some("unused") => {
            let cause = "Docker is installed, but was never started".to_owned();
            return Ok(Reason::Absent(cause));
        }
        Some("used") => {}
        other => {
            let answer = other.unwrap_or_default();
            return Ok(Reason::Unknown(format!(
                "{cause}; unexpected output of the check whether Docker is installed: {answer:?}"
            )));
        }
    }
    if connection.target().user == "root" {
        return Ok(Reason::Unknown(cause));
    }
    // The user reaches the engine through sudo: sudo or the docker command reports the cause.
    let command = Command {
        timeout: Some(TIMEOUT),
        ..Command::root("exec docker version --format '{{.Server.Version}}'")
    };
    let cause = match connection.run(&command).await {
        Ok(output) if output.ok() => cause,
        Ok(output) => output.tail(1),
        Err(error) if matches!(error.cause, ssh::Cause::Lost { .. }) => return Err(error),
        Err(error) => error.to_string(),
    };
    Ok(Reason::Unknown(cause))
}
