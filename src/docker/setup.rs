//! Installs and starts the Docker Engine on a machine.

use bytes::Bytes;

use super::{Engine, Error, Progress, error::HERE, transport::SOCKET};
use crate::{
    core::{
        process::{Output, is_root},
        value::{Fields, Invalid, Value, shorten},
    },
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

/// Where the engine's packages come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repository {
    /// The repository of the distribution.
    #[default]
    Distribution,
    /// Docker's own repository.
    Docker,
}

/// How Docker is set up. A running engine is left as it is, but for [`SetupOptions::mount`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupOptions {
    /// Where the packages come from.
    pub repository: Repository,
    /// Whether the logs of containers are rotated.
    pub log_rotation: bool,
    /// Whether containers run on while the engine restarts.
    pub live_restore: bool,
    /// The block device for `/var/lib/docker`. Formatted if it has no file system.
    pub mount: Option<String>,
    /// Whether the data folder may be moved to the device although the engine has containers.
    pub force: bool,
}

impl Default for SetupOptions {
    fn default() -> Self {
        SetupOptions {
            repository: Repository::Distribution,
            log_rotation: true,
            live_restore: true,
            mount: None,
            force: false,
        }
    }
}

impl SetupOptions {
    /// Decodes the options of `docker.setup`.
    ///
    /// # Errors
    /// Names the option that is unknown or invalid.
    pub fn decode(options: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::new(options, "docker.setup")?;
        let default = SetupOptions::default();
        let repository = fields.decode("repository", |value, what| {
            match value.to_text(what)?.as_str() {
                "distribution" => Ok(Repository::Distribution),
                "docker" => Ok(Repository::Docker),
                other => Err(
                    Invalid::new(value, format!("{what}: unknown value `{other}`"))
                        .help("known values: distribution, docker".to_owned()),
                ),
            }
        })?;
        let decoded = SetupOptions {
            repository: repository.unwrap_or_default(),
            log_rotation: fields
                .decode("log_rotation", Value::to_bool)?
                .unwrap_or(default.log_rotation),
            live_restore: fields
                .decode("live_restore", Value::to_bool)?
                .unwrap_or(default.live_restore),
            mount: fields.decode("docker_mount", device)?,
            force: fields.decode("force", Value::to_bool)?.unwrap_or(false),
        };
        fields.finish()?;
        Ok(decoded)
    }

    fn arguments(&self) -> String {
        let repository = match self.repository {
            Repository::Distribution => "distribution",
            Repository::Docker => "docker",
        };
        format!(
            "{repository} {} {} {} {}",
            self.log_rotation,
            self.live_restore,
            self.force,
            quote(self.mount.as_deref().unwrap_or_default())
        )
    }
}

/// Decodes the path of a block device.
pub fn device(value: &Value, what: &str) -> Result<String, Invalid> {
    let text = value.to_text(what)?;
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "/-_.:+".contains(c);
    if text.starts_with("/dev/") && text.chars().all(is_safe) && !text.contains("..") {
        return Ok(text);
    }
    let message = format!("{what}: invalid device `{}`", shorten(&text));
    Err(Invalid::new(value, message)
        .help("write the path of a block device, as /dev/sdb".to_owned()))
}

/// Installs the engine on a machine and starts it. Does nothing if it runs. Debian and Ubuntu only.
pub async fn set_up(machine: &dyn Machine, options: &SetupOptions) -> Result<Setup, Error> {
    let command = Command {
        stdin: Input::Bytes(Bytes::from_static(SCRIPT.as_bytes())),
        ..Command::root(format!("sh -s -- {}", options.arguments()))
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
        // The local machine is the user's own: its engine keeps the distribution's settings.
        Err(_) => {
            let options = SetupOptions {
                log_rotation: false,
                live_restore: false,
                ..SetupOptions::default()
            };
            set_up(&Local::new(), &options).await?
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
