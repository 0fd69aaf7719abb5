//! A lock on a server, so that two people do not change it at once.
//!
//! It is held by a process on the server whose input is our channel: it ends with the connection,
//! whatever happens to us, and the kernel gives the lock back.

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    core::diagnostic::{Diagnostic, Kind},
    ssh::{Command, Connection, Stream, StreamTarget, quote},
};

/// Held until it is dropped.
pub struct Lock {
    _channel: BufReader<Stream>,
}

impl Lock {
    /// Takes the lock of a server for a manifest. Fails at once if somebody else has it, and says
    /// who.
    pub async fn take(connection: &Connection, manifest: &str) -> Result<Self, Diagnostic> {
        let host = &connection.target().name;
        let fail = |message: String| {
            Diagnostic::new(Kind::Failed, format!("host `{host}`: {message}")).on(host)
        };
        let stream = connection
            .stream(&StreamTarget::Command(Box::new(Command::new(script(
                manifest,
            )))))
            .await?;
        let mut channel = BufReader::new(stream);
        let mut answer = String::new();
        channel
            .read_line(&mut answer)
            .await
            .map_err(|error| fail(format!("the lock could not be taken: {error}")))?;
        match answer.trim().split_once(' ') {
            Some(("locked", _)) => Ok(Lock { _channel: channel }),
            Some(("busy", holder)) => {
                let message = match holder.trim() {
                    "" => "somebody else is changing it".to_owned(),
                    holder => holder.to_owned(),
                };
                Err(fail(message).help("wait until that is done".to_owned()))
            }
            _ => Err(fail("the lock could not be taken".to_owned())),
        }
    }
}

/// Prints `locked` and waits for the end of its input, or `busy` and who has it.
///
/// The lock is on a folder, which every user may open and nobody has to make: a file in a folder
/// that all may write to could be somebody's trap. Who has it is told by the arguments of the
/// process that waits.
fn script(manifest: &str) -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let process = std::process::id();
    let holder = format!(
        "`{manifest}` is being brought up by {user}{} (process {process})",
        machine.trim()
    );
    format!(
        r#"exec 9</run
if flock -n 9; then
  echo locked .
  exec sh -c 'cat >/dev/null; :' hitc-lock {holder}
fi
for process in /proc/[0-9]*; do
  case $(tr '\0' '\n' <$process/cmdline 2>/dev/null | sed -n 4p) in hitc-lock)
    echo busy "$(tr '\0' '\n' <$process/cmdline | sed -n 5p)"
    exit ;;
  esac
done
echo "busy ""#,
        holder = quote(&holder),
    )
}
