//! Programs of this machine that talk to an SSH server in a container: `ssh` and `sshfs`.
//!
//! They connect to a local port that leads to port 22 of the container. A container gets a new host
//! key whenever it is created, so that its key is not checked; the way to its server is.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    time::timeout,
};

use super::Inside;
use crate::{
    core::diagnostic::plain,
    docker::Error,
    machine,
    ssh::{Endpoint, Forward},
};

/// The port of SSH.
const PORT: u16 = 22;
/// How long an SSH server may take to announce itself.
const BANNER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long sshfs may take to unmount, and how often it is looked at.
const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(2);
const UNMOUNT_POLL: Duration = Duration::from_millis(10);
/// The variable from which [`ASKPASS`] takes the password.
const PASSWORD_VARIABLE: &str = "HITC_CONTAINER_PASSWORD";
/// The program that `ssh` asks for the password.
const ASKPASS: &str = "#!/bin/sh\nprintf '%s\\n' \"$HITC_CONTAINER_PASSWORD\"\n";

/// How to log in to the SSH server of a container.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

/// A local port that leads to the SSH server, and the files of its clients.
struct Sshd {
    port: u16,
    folder: TempDir,
    _forward: Forward,
}

impl Inside {
    /// Whether an SSH server listens in the container.
    pub async fn has_sshd(&self) -> bool {
        let banner = async {
            let mut stream = self.dial_port(PORT).await.ok()?;
            let mut banner = [0; 4];
            stream.read_exact(&mut banner).await.ok()?;
            Some(&banner == b"SSH-")
        };
        timeout(BANNER_TIMEOUT, banner).await.ok().flatten() == Some(true)
    }

    /// Runs a shell on the terminal of hitc, with the `ssh` program. Returns the exit status of the
    /// shell.
    pub async fn ssh(&self, account: &Account) -> Result<u32, machine::Error> {
        let sshd = self.sshd().await?;
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(sshd.config());
        ssh.args(["-p", &sshd.port.to_string()]);
        ssh.args(["-o", "NumberOfPasswordPrompts=1"])
            .args(["-l", &account.user, "--", "127.0.0.1"])
            .env("SSH_ASKPASS", sshd.folder.path().join("askpass"))
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env(PASSWORD_VARIABLE, &account.password);
        let status = ssh.status().await;
        let status = status.map_err(|error| self.program("ssh", plain(&error)))?;
        match status.code() {
            // 255 is the status of ssh's own errors (ssh(1)).
            Some(255) | None => {
                let cause = format!(
                    "could not log in as `{}`, or lost the connection",
                    account.user
                );
                Err(self.program("ssh", cause).into())
            }
            Some(code) => Ok(u32::try_from(code).unwrap_or(u32::MAX)),
        }
    }

    /// Mounts a folder of the container at a local folder with the `sshfs` program, until the future
    /// is dropped or the folder is unmounted.
    pub async fn sshfs(
        &self,
        account: &Account,
        from: &str,
        to: &Path,
    ) -> Result<(), machine::Error> {
        if !self.has_sshd().await {
            let host = self.name.clone();
            return Err(Error::NoSshd { host }.into());
        }
        let sshd = self.sshd().await?;
        let mut sshfs = Command::new("sshfs");
        sshfs.arg("-F").arg(sshd.config());
        sshfs.arg("-f").args(["-p", &sshd.port.to_string()]);
        let remote = format!("{}@127.0.0.1:{from}", account.user);
        sshfs
            .args(["-o", "password_stdin"])
            .arg(remote)
            .arg(to)
            .stdin(std::process::Stdio::piped());
        let failed = |error: io::Error| self.program("sshfs", plain(&error));
        let mut mount = Mount(sshfs.spawn().map_err(failed)?);
        if let Some(mut stdin) = mount.0.stdin.take() {
            let line = format!("{}\n", account.password);
            // Fails if sshfs has ended; its status says so.
            let _ = stdin.write_all(line.as_bytes()).await;
        }
        let status = mount.0.wait().await.map_err(failed)?;
        if status.success() {
            return Ok(());
        }
        Err(self.program("sshfs", format!("ended with {status}")).into())
    }

    async fn sshd(&self) -> Result<Sshd, machine::Error> {
        let failed = |error: io::Error| self.program("ssh", plain(&error));
        let folder = tempfile::Builder::new().prefix("hitc-ssh-").tempdir();
        let folder = folder.map_err(failed)?;
        let askpass = folder.path().join("askpass");
        fs::write(&askpass, ASKPASS).map_err(failed)?;
        fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        fs::write(folder.path().join("config"), config(folder.path())).map_err(failed)?;
        let from = Endpoint::Tcp("127.0.0.1".to_owned(), 0);
        let to = Endpoint::Tcp("127.0.0.1".to_owned(), PORT);
        let forward = self.tunnel(&from, &to, |_| ()).await?;
        let Endpoint::Tcp(_, port) = forward.from else {
            return Err(self.program("ssh", "no local port".to_owned()).into());
        };
        Ok(Sshd {
            port,
            folder,
            _forward: forward,
        })
    }

    fn program(&self, program: &str, cause: String) -> Error {
        Error::Program {
            host: self.name.clone(),
            program: program.to_owned(),
            cause,
        }
    }
}

/// A running sshfs. It is terminated when this is dropped, by which it unmounts the folder; when it is
/// killed, the folder stays mounted and cannot be read.
struct Mount(Child);

impl Drop for Mount {
    fn drop(&mut self) {
        let pid = self.0.id().and_then(|pid| i32::try_from(pid).ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            return;
        };
        // Fails if it has ended.
        let _ = kill_process(pid, Signal::TERM);
        let end = Instant::now() + UNMOUNT_TIMEOUT;
        while matches!(self.0.try_wait(), Ok(None)) {
            if Instant::now() >= end {
                let _ = self.0.start_kill();
                return;
            }
            std::thread::sleep(UNMOUNT_POLL);
        }
    }
}

impl Sshd {
    /// The configuration for `ssh`. A file, because sshfs takes commas in options for their end.
    fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }
}

/// The text of the configuration. The container's host key is new to this machine each time.
fn config(folder: &Path) -> String {
    let known_hosts = folder.join("known_hosts");
    // An agent with many keys would use up the attempts.
    format!(
        "UserKnownHostsFile \"{}\"\nGlobalKnownHostsFile /dev/null\n\
         StrictHostKeyChecking accept-new\nLogLevel ERROR\n\
         PreferredAuthentications password,keyboard-interactive,publickey\n",
        known_hosts.display()
    )
}
