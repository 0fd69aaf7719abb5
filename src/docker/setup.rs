//! Installs and starts the Docker Engine, on a server or on the local machine.

use std::sync::Arc;

use bytes::Bytes;

use super::{Engine, Error, Progress, error::HERE, transport::SOCKET};
use crate::{
    core::{
        diagnostic::plain,
        process::{Output, Program, is_root},
    },
    ssh::{Command, Connection, Input},
};

const SCRIPT: &str = include_str!("setup.sh");

/// How many lines of the script go into an error.
const LOG_LINES: usize = 10;

/// The result of setting up Docker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// The engine was running already.
    Ready,
    /// The engine was installed already, and was started.
    Started,
    /// The engine was installed and started.
    Installed,
}

/// Installs the engine on a server from the distribution's packages and starts it. Does nothing if
/// it runs. Debian and Ubuntu only.
pub async fn set_up(connection: &Arc<Connection>) -> Result<Setup, Error> {
    let command = Command {
        stdin: Input::Bytes(Bytes::from_static(SCRIPT.as_bytes())),
        ..Command::root("sh -s")
    };
    let output = connection.run(&command).await?;
    result_of(&connection.target().name, &output)
}

/// Installs and starts the engine on the local machine, and allows the user to use it. Needs root,
/// or sudo without a password.
pub async fn set_up_here(progress: Progress<'_>) -> Result<Setup, Error> {
    let done = match Engine::here().await {
        Ok(_) => return Ok(Setup::Ready),
        Err(_) => {
            let program = Program {
                stdin: Bytes::from_static(SCRIPT.as_bytes()),
                ..Program::new(["sh", "-s"]).as_root()
            };
            result_of(HERE, &run(&program).await?)?
        }
    };
    if !is_root() && Engine::here().await.is_err() {
        progress("adding you to the group docker".to_owned());
        add_to_group().await?;
    }
    Ok(done)
}

/// Adds the user of this process to the group docker, which takes effect at the next login. Until
/// the engine restarts, its socket belongs to the user's own group.
async fn add_to_group() -> Result<(), Error> {
    let id = |flag: &str| Program::new(["id", flag]);
    let user = run(&id("-un")).await?.text();
    let group = run(&id("-gn")).await?.text();
    for program in [
        Program::new(["usermod", "-aG", "docker", &user]),
        Program::new(["chgrp", &group, SOCKET]),
    ] {
        let output = run(&program.as_root()).await?;
        if !output.ok() {
            return Err(failed(output.exit.to_string(), output.tail(LOG_LINES)));
        }
    }
    Ok(())
}

async fn run(program: &Program) -> Result<Output, Error> {
    let output = program.run(|_, _| ()).await;
    output.map_err(|error| failed(plain(error), String::new()))
}

fn failed(cause: String, log: String) -> Error {
    Error::Setup {
        host: HERE.to_owned(),
        cause,
        log,
    }
}

fn result_of(host: &str, output: &Output) -> Result<Setup, Error> {
    match output.text().lines().last() {
        Some("ready") if output.ok() => Ok(Setup::Ready),
        Some("started") if output.ok() => Ok(Setup::Started),
        Some("installed") if output.ok() => Ok(Setup::Installed),
        _ => Err(Error::Setup {
            host: host.to_owned(),
            cause: output.exit.to_string(),
            log: output.tail(LOG_LINES),
        }),
    }
}
