//! Finds out why a machine's engine does not answer: Docker is not installed, was never started, or
//! fails.
//!
//! Runs only after the engine failed to answer, so that it costs nothing otherwise.

use std::time::Duration;

use super::transport::SOCKET;
use crate::{
    machine::{self, Machine},
    ssh::Command,
};

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
    machine: &dyn Machine,
    cause: String,
) -> Result<Reason, machine::Error> {
    let line = LOOK.replace("SOCKET", SOCKET);
    let command = Command {
        timeout: Some(TIMEOUT),
        ..Command::new(line)
    };
    match machine.run(&command).await?.text().lines().last() {
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
    if machine.is_root() {
        return Ok(Reason::Unknown(cause));
    }
    // The user reaches the engine through sudo: sudo or the docker command reports the cause.
    let command = Command {
        timeout: Some(TIMEOUT),
        ..Command::root("exec docker version --format '{{.Server.Version}}'")
    };
    let cause = match machine.run(&command).await {
        Ok(output) if output.ok() => cause,
        Ok(output) => output.tail(1),
        Err(error) if error.cause == machine::Cause::Lost => return Err(error),
        Err(error) => error.to_string(),
    };
    Ok(Reason::Unknown(cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{machine::MockMachine, mock::Answer};

    /// Diagnoses a machine on which looking for Docker prints `looked`, and `sudo` fails.
    async fn diagnosed(looked: &str, is_root: bool) -> Reason {
        let machine = MockMachine {
            is_root,
            ..MockMachine::default()
        };
        let answer = |stdout: &str, stderr: &str, code| Answer {
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
            code,
        };
        let answers = [
            ("PATH=*", answer(looked, "", 0)),
            ("exec docker version*", answer("", "sudo: no\n", 1)),
        ];
        for (glob, answer) in answers {
            machine.mock.answer(glob, answer).unwrap();
        }
        diagnose(&machine, "no answer".to_owned()).await.unwrap()
    }

    #[tokio::test]
    async fn reasons() {
        let absent = |cause: &str| Reason::Absent(cause.to_owned());
        let unknown = |cause: &str| Reason::Unknown(cause.to_owned());
        let missing = diagnosed("missing\n", false).await;
        assert_eq!(missing, absent("Docker is not installed"));
        let unused = diagnosed("unused\n", false).await;
        assert_eq!(unused, absent("Docker is installed, but was never started"));
        // Root needs no sudo: the engine itself is the cause.
        assert_eq!(diagnosed("used\n", true).await, unknown("no answer"));
        assert_eq!(diagnosed("used\n", false).await, unknown("sudo: no"));
        let odd = "no answer; unexpected output of the check whether Docker is installed: \"odd\"";
        assert_eq!(diagnosed("odd\n", false).await, unknown(odd));
    }

    #[tokio::test]
    async fn a_lost_connection_is_no_reason() {
        let machine = MockMachine {
            is_lost: true,
            ..MockMachine::default()
        };
        let error = diagnose(&machine, String::new()).await.unwrap_err();
        assert_eq!(error.cause, machine::Cause::Lost);
    }

    /// The whole way: what the engine does when nothing listens on its socket.
    #[tokio::test]
    async fn an_engine_that_does_not_listen() {
        use std::sync::Arc;

        use crate::docker::{Engine, EngineStatus};

        let machine = MockMachine {
            is_root: true,
            ..MockMachine::default()
        };
        let stdout = "missing\n".to_owned();
        let answer = Answer {
            stdout,
            ..Answer::default()
        };
        machine.mock.answer("*", answer).unwrap();
        let machine: Arc<dyn Machine> = Arc::new(machine);
        let EngineStatus::Absent { host, cause } = Engine::at(&machine).await else {
            panic!("not absent");
        };
        assert_eq!(
            (host.as_str(), cause.as_str()),
            ("mock", "Docker is not installed")
        );
    }
}
