//! Handing the terminal to the system's `ssh`.

use std::io::Write;

use tokio::process::Command;

use super::{Error, HostKey, Target};

/// Runs the system's `ssh` on this terminal, with the same settings as ours, and waits for its
/// end. Every value is an argument of its own.
pub async fn terminal(target: &Target) -> Result<(), Error> {
    let fail = |cause: String| Error::Connect {
        host: target.name.clone(),
        address: target.endpoint(),
        cause,
    };
    let mut command = Command::new("ssh");
    command
        .args(["-o", "StrictHostKeyChecking=yes"])
        .args(["-o", "IdentitiesOnly=yes"])
        .args(["-p", &target.port.to_string()])
        .args(["-l", &target.user]);
    for identity in &target.identities {
        command.arg("-i").arg(identity);
    }
    // Lives as long as the program that reads it.
    let mut pinned = tempfile::NamedTempFile::new().map_err(|e| fail(e.to_string()))?;
    let known_hosts = match &target.host_key {
        HostKey::Pinned(key) => {
            let key = key.to_openssh().map_err(|e| fail(e.to_string()))?;
            writeln!(pinned, "pinned {key}").map_err(|e| fail(e.to_string()))?;
            command.args(["-o", "HostKeyAlias=pinned"]);
            pinned.path()
        }
        HostKey::KnownHosts(known_hosts) => known_hosts.path(),
    };
    // The option's value is split at spaces, and may be quoted.
    let option = format!("UserKnownHostsFile=\"{}\"", known_hosts.display());
    let status = command
        .args(["-o", &option])
        .args(["--", &target.address])
        .status()
        .await
        .map_err(|error| fail(format!("the system's ssh does not start: {error}")))?;
    match status.code() {
        // ssh's own errors; anything else is the status of the shell, which is the user's business.
        Some(255) => Err(fail("ssh could not connect".to_owned())),
        _ => Ok(()),
    }
}
