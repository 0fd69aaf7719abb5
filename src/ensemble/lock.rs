//! A lock on a server, so that two people do not bring up the same manifest at once.
//!
//! It is held by a process on the server whose input is our channel: it ends with the connection,
//! whatever happens to us, and the kernel gives the lock back.

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    diagnostic::{Diagnostic, Kind},
    ssh::{Connection, Dialect, Stream, quote},
};

/// Held until it is dropped.
pub(super) struct Lock {
    _channel: BufReader<Stream>,
}

impl Lock {
    /// Takes the lock of a manifest on a server. Fails at once if somebody else has it, and says
    /// who.
    pub async fn take(connection: &Connection, manifest: &str) -> Result<Self, Diagnostic> {
        let host = &connection.target().name;
        let fail = |message: String| {
            Diagnostic::new(Kind::Failed, format!("host `{host}`: {message}")).on(host)
        };
        let stream = connection
            .stream(&Dialect::Command(script(manifest)))
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
                let message = format!("`{manifest}` is being brought up by {}", holder.trim());
                Err(fail(message).help("wait until that is done".to_owned()))
            }
            _ => Err(fail("the lock could not be taken".to_owned())),
        }
    }
}

/// Prints `locked` and waits for the end of its input, or `busy` and who has it.
fn script(manifest: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let user = std::env::var("USER").unwrap_or_default();
    let holder = format!("{user}@{} (process {})", host.trim(), std::process::id());
    let file = quote(&format!("/run/lock/hitc-{manifest}.lock"));
    format!(
        "umask 0; exec 9>>{file} && if flock -n 9; then echo {holder} >{file}; echo locked .; \
         cat >/dev/null; else echo busy \"$(cat {file})\"; fi",
        holder = quote(&holder),
    )
}
