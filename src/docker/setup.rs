//! Installs and starts the Docker Engine on a machine.

use bytes::Bytes;

use super::{Engine, Error, Progress, error::HERE, transport::SOCKET};
use crate::{
    core::process::{Output, is_root},
    machine::{Local, Machine},
    ssh::{Command, Input, quote},
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

/// Installs the engine on a machine from the distribution's packages and starts it. Does nothing if
/// it runs. Debian and Ubuntu only.
pub async fn set_up(machine: &dyn Machine) -> Result<Setup, Error> {
    let command = Command {
        stdin: Input::Bytes(Bytes::from_static(SCRIPT.as_bytes())),
        ..Command::root("sh -s")
    };
    let output = machine.run(&command).await?;
    match output.text().lines().last() {
        Some("ready") if output.ok() => Ok(Setup::Ready),
        Some("started") if output.ok() => Ok(Setup::Started),
        Some("installed") if output.ok() => Ok(Setup::Installed),
        _ => Err(failed(machine.name(), &output)),
    }
}

/// Installs and starts the engine on the local machine, and allows the user to use it. Needs root,
/// or sudo without a password.
pub async fn set_up_here(progress: Progress<'_>) -> Result<Setup, Error> {
    let done = match Engine::here().await {
        Ok(_) => return Ok(Setup::Ready),
        Err(_) => set_up(&Local::new()).await?,
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
    let machine = Local::new();
    let user = machine.run(&Command::new("id -un")).await?.text();
    let group = machine.run(&Command::new("id -gn")).await?.text();
    for line in [
        format!("usermod -aG docker {}", quote(&user)),
        format!("chgrp {} {SOCKET}", quote(&group)),
    ] {
        let output = machine.run(&Command::root(line)).await?;
        if !output.ok() {
            return Err(failed(HERE, &output));
        }
    }
    Ok(())
}

fn failed(host: &str, output: &Output) -> Error {
    Error::Setup {
        host: host.to_owned(),
        cause: output.exit.to_string(),
        log: output.tail(LOG_LINES),
    }
}
