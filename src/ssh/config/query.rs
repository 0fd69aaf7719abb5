//! Queries OpenSSH for the settings of a host: `ssh -G`.

use std::{io, path::PathBuf, process::Stdio};

use tokio::{io::AsyncWriteExt, process::Command};

use super::settings::Settings;
use crate::{
    core::diagnostic::plain,
    ssh::{Login, openssh::includes},
};

/// Why OpenSSH cannot be queried.
pub(super) enum QueryError {
    /// `ssh` is not installed.
    NotInstalled,
    /// `ssh` failed, with this message.
    Failed(String),
}

/// Queries OpenSSH for the settings of a host in these configuration files.
pub(super) async fn query_openssh(
    login: &Login,
    files: &[PathBuf],
) -> Result<Settings, QueryError> {
    let failed = |error: io::Error| QueryError::Failed(format!("`ssh -G`: {}", plain(error)));
    let mut command = Command::new("ssh");
    command.args(["-G", "-F", "/dev/stdin"]);
    if let Some(user) = &login.user {
        command.args(["-l", user]);
    }
    if let Some(port) = login.port {
        command.args(["-p", &port.to_string()]);
    }
    let child = command
        .args(["--", &login.address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .process_group(0)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(QueryError::NotInstalled);
        }
        Err(error) => return Err(failed(error)),
    };
    if let Some(mut stdin) = child.stdin.take() {
        let lines = includes(files);
        stdin.write_all(lines.as_bytes()).await.map_err(failed)?;
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    if output.status.success() {
        return Ok(Settings::parse(&String::from_utf8_lossy(&output.stdout)));
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let first = stderr.lines().next().unwrap_or("`ssh -G` failed");
    Err(QueryError::Failed(first.to_owned()))
}
