//! OpenSSH is asked what a configuration says of a host.

use std::{io, path::PathBuf, process::Stdio};

use tokio::{io::AsyncWriteExt, process::Command};

use super::answer::Answer;
use crate::{
    core::diagnostic::plain,
    ssh::{Login, openssh::includes},
};

/// Why OpenSSH does not say it.
pub(super) enum Refusal {
    /// There is none on this machine.
    NoOpenSsh,
    /// What it does not like.
    Said(String),
}

/// Asks OpenSSH.
pub(super) async fn ask_openssh(login: &Login, files: &[PathBuf]) -> Result<Answer, Refusal> {
    let said = |error: io::Error| Refusal::Said(format!("`ssh -G`: {}", plain(error)));
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
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Refusal::NoOpenSsh),
        Err(error) => return Err(said(error)),
    };
    if let Some(mut stdin) = child.stdin.take() {
        let lines = includes(files);
        stdin.write_all(lines.as_bytes()).await.map_err(said)?;
    }
    let output = child.wait_with_output().await.map_err(said)?;
    if output.status.success() {
        return Ok(Answer::parse(&String::from_utf8_lossy(&output.stdout)));
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let first = stderr.lines().next().unwrap_or("`ssh -G` failed");
    Err(Refusal::Said(first.to_owned()))
}
