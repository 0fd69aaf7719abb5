//! The system's `ssh` program with the settings of a connection, for terminals and `rsync`.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;
use tokio::process::Command;

use super::{Cause, Error, HostKey, Route, Target};

/// The `ssh` program with the settings of a connection: user, keys, known hosts, route. They are in
/// a temporary configuration file, before the user's own configuration.
#[derive(Debug)]
pub struct OpenSsh {
    host: String,
    file: NamedTempFile,
    /// The pinned host key, which `ssh` reads from a file.
    _known_hosts: Option<NamedTempFile>,
}

impl OpenSsh {
    /// Writes the settings for a server; `files` are the user's configuration files.
    pub(super) fn new(target: &Target, files: &[PathBuf]) -> Result<Self, Error> {
        let fail = |error: std::io::Error| {
            target.error(Cause::Connect {
                address: target.endpoint(),
                cause: format!("cannot write the configuration for ssh: {error}"),
            })
        };
        // Only the server itself can have a pinned key; jump hosts are in known_hosts files.
        let known_hosts = match &target.host_key {
            HostKey::Pinned(key) => {
                let key = key.to_openssh().unwrap_or_default();
                Some(write(&format!("pinned {key}\n")).map_err(fail)?)
            }
            HostKey::KnownHosts { .. } => None,
        };
        let mut lines = String::new();
        let mut hop = Some(target);
        while let Some(target) = hop {
            lines.push_str(&block(target, known_hosts.as_ref()));
            hop = match &target.route {
                Route::Jump(jump) => Some(jump),
                Route::Direct | Route::ProxyCommand(_) => None,
            };
        }
        lines.push_str(&includes(files));
        Ok(OpenSsh {
            host: target.alias.clone(),
            file: write(&lines).map_err(fail)?,
            _known_hosts: known_hosts,
        })
    }

    /// The host name that selects the server in the settings.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The program and its arguments, without the host name.
    pub fn argv(&self) -> Vec<String> {
        let file = self.file.path().display().to_string();
        ["ssh", "-F", &file].map(str::to_owned).to_vec()
    }

    /// Runs an interactive shell in the current terminal, and waits until it ends.
    pub async fn terminal(&self, target: &Target) -> Result<(), Error> {
        let fail = |cause: String| {
            target.error(Cause::Connect {
                address: target.endpoint(),
                cause,
            })
        };
        let argv = self.argv();
        let status = Command::new(&argv[0])
            .args(&argv[1..])
            .args(["--", &self.host])
            .status()
            .await
            .map_err(|error| fail(format!("cannot start ssh: {error}")))?;
        match status.code() {
            // 255 is the status of ssh's own errors (ssh(1)); any other is that of the shell, and no
            // error of hitc.
            Some(255) => Err(fail("ssh could not connect".to_owned())),
            _ => Ok(()),
        }
    }
}

fn write(text: &str) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::with_prefix("hitc-ssh-")?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// The `Host` block of one server, as in ssh_config(5).
fn block(target: &Target, pinned: Option<&NamedTempFile>) -> String {
    let mut lines = format!("Host {}\n", target.alias);
    let mut set = |keyword: &str, value: String| {
        let _ = writeln!(lines, "  {keyword} {value}");
    };
    let quoted = |path: &Path| format!("\"{}\"", path.display());
    set("HostName", target.address.clone());
    set("Port", target.port.to_string());
    set("User", target.user.clone());
    // hitc has connected already: an unrecorded key cannot be recorded anywhere.
    set("StrictHostKeyChecking", "accept-new".to_owned());
    for identity in &target.identities {
        set("IdentityFile", quoted(&identity.path));
    }
    for certificate in &target.certificates {
        set("CertificateFile", quoted(certificate));
    }
    if let Some(agent) = &target.agent {
        set("IdentityAgent", quoted(agent));
    }
    if target.identities_only {
        set("IdentitiesOnly", "yes".to_owned());
    }
    if target.forward_agent {
        set("ForwardAgent", "yes".to_owned());
    }
    match &target.host_key {
        HostKey::Pinned(_) => {
            set("HostKeyAlias", "pinned".to_owned());
            if let Some(file) = pinned {
                set("UserKnownHostsFile", quoted(file.path()));
            }
        }
        HostKey::KnownHosts { hosts, alias } => {
            let paths: Vec<String> = hosts.paths().map(quoted).collect();
            set("UserKnownHostsFile", paths.join(" "));
            if let Some(alias) = alias {
                set("HostKeyAlias", alias.clone());
            }
        }
    }
    match &target.route {
        Route::Direct => set("ProxyJump", "none".to_owned()),
        Route::Jump(jump) => set("ProxyJump", jump.alias.clone()),
        Route::ProxyCommand(command) => set("ProxyCommand", command.replace('%', "%%")),
    }
    lines
}

/// `Include` lines for these files. `ssh -F` does not read the default files, and by itself it would
/// look in the home folder of the user database, not in `HOME`.
pub(super) fn includes(files: &[PathBuf]) -> String {
    let mut lines = "Match all\n".to_owned();
    for path in files.iter().filter(|path| path.exists()) {
        let _ = writeln!(lines, "Include \"{}\"", path.display());
    }
    lines
}
