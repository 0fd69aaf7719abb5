//! The system's own SSH client, for what it does better: a terminal, and `rsync`.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;
use tokio::process::Command;

use super::{Error, HostKey, Route, Target};

/// `ssh` with the same settings as ours: user, keys, known hosts, the way there. They stand in a
/// file that lives as long as this, before the user's own configuration.
#[derive(Debug)]
pub struct OpenSsh {
    host: String,
    file: NamedTempFile,
    /// Read by the program.
    _known_hosts: Option<NamedTempFile>,
}

impl OpenSsh {
    /// Settings for a server; `files` are the user's configuration.
    pub(super) fn new(target: &Target, files: &[PathBuf]) -> Result<Self, Error> {
        let fail = |error: std::io::Error| Error::Connect {
            host: target.name.clone(),
            address: target.endpoint(),
            cause: format!("a file for the system's ssh: {error}"),
        };
        // Of those on the way, the key is on record.
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

    /// The name under which the server is known to it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The program and its arguments, without the server.
    pub fn argv(&self) -> Vec<String> {
        let file = self.file.path().display().to_string();
        ["ssh", "-F", &file].map(str::to_owned).to_vec()
    }

    /// Hands it this terminal, and waits for its end.
    pub async fn terminal(&self, target: &Target) -> Result<(), Error> {
        let fail = |cause: String| Error::Connect {
            host: target.name.clone(),
            address: target.endpoint(),
            cause,
        };
        let argv = self.argv();
        let status = Command::new(&argv[0])
            .args(&argv[1..])
            .args(["--", &self.host])
            .status()
            .await
            .map_err(|error| fail(format!("the system's ssh does not start: {error}")))?;
        match status.code() {
            // ssh's own errors; anything else is the status of the shell, which is the user's
            // business.
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

/// The settings of one server, in the words of ssh_config(5).
fn block(target: &Target, pinned: Option<&NamedTempFile>) -> String {
    let mut lines = format!("Host {}\n", target.alias);
    let mut set = |keyword: &str, value: String| {
        let _ = writeln!(lines, "  {keyword} {value}");
    };
    let quoted = |path: &Path| format!("\"{}\"", path.display());
    set("HostName", target.address.clone());
    set("Port", target.port.to_string());
    set("User", target.user.clone());
    // We have connected already: what is not on record is nowhere.
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

/// Lines that read these files too. They are named, because `ssh` looks for a home folder by
/// itself, and not where `HOME` says.
pub(super) fn includes(files: &[PathBuf]) -> String {
    let mut lines = "Match all\n".to_owned();
    for path in files.iter().filter(|path| path.exists()) {
        let _ = writeln!(lines, "Include \"{}\"", path.display());
    }
    lines
}
