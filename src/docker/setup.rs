//! Making a machine ready to run containers.

use bytes::Bytes;

use super::{Error, engine::HERE};
use crate::{
    process::{Output, Program},
    ssh::{Command, Connection},
};

const SCRIPT: &str = include_str!("setup.sh");

/// How many lines of the script go into an error.
const LOG_LINES: usize = 10;

/// What had to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Nothing.
    Ready,
    /// The engine was there and has been started.
    Started,
    /// The engine was installed and started.
    Installed,
}

/// Makes a server ready: installs the engine from the distribution's packages and starts it,
/// where that is not done yet. Debian and Ubuntu only.
pub async fn set_up(connection: &Connection) -> Result<Setup, Error> {
    let command = Command {
        stdin: Bytes::from_static(SCRIPT.as_bytes()),
        ..Command::root("sh -s")
    };
    let output = connection.run(&command).await?;
    judge(&connection.target().name, &output)
}

/// Makes this machine ready in the same way. Needs to be root, or sudo without a password.
pub async fn set_up_here() -> Result<Setup, Error> {
    let program = Program {
        stdin: Bytes::from_static(SCRIPT.as_bytes()),
        ..Program::new(["sh", "-s"]).as_root()
    };
    let output = program.run(|_, _| ()).await.map_err(|error| Error::Setup {
        host: HERE.to_owned(),
        cause: error.to_string(),
        log: String::new(),
    })?;
    judge(HERE, &output)
}

fn judge(host: &str, output: &Output) -> Result<Setup, Error> {
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
