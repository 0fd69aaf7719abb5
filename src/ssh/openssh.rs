//! The system's own SSH client, for what it does better: a terminal, and `rsync`.

use std::{fmt::Write as _, io::Write as _, path::PathBuf};

use tempfile::NamedTempFile;
use tokio::process::Command;

use super::{Error, HostKey, Target, Via};

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
        let fail = |cause: String| Error::Connect {
            host: target.name.clone(),
            address: target.endpoint(),
            cause: format!("a file for the system's ssh: {cause}"),
        };
        let write = |text: &str| {
            let mut file = NamedTempFile::with_prefix("hitc-ssh-")?;
            file.write_all(text.as_bytes())?;
            Ok::<_, std::io::Error>(file)
        };
        let mut known_hosts = None;
        let mut lines = format!("Host {}\n", target.alias);
        let mut set = |keyword: &str, value: String| {
            let _ = writeln!(lines, "  {keyword} {value}");
        };
        set("HostName", target.address.clone());
        set("Port", target.port.to_string());
        set("User", target.user.clone());
        // We have connected already: the key is on record.
        set("StrictHostKeyChecking", "yes".to_owned());
        for identity in &target.identities {
            set("IdentityFile", format!("\"{}\"", identity.path.display()));
        }
        for certificate in &target.certificates {
            set("CertificateFile", format!("\"{}\"", certificate.display()));
        }
        if target.identities_only {
            set("IdentitiesOnly", "yes".to_owned());
        }
        if target.forward_agent {
            set("ForwardAgent", "yes".to_owned());
        }
        match &target.host_key {
            HostKey::Pinned(key) => {
                let key = key.to_openssh().map_err(|e| fail(e.to_string()))?;
                let file = write(&format!("pinned {key}\n")).map_err(|e| fail(e.to_string()))?;
                set("HostKeyAlias", "pinned".to_owned());
                set(
                    "UserKnownHostsFile",
                    format!("\"{}\"", file.path().display()),
                );
                known_hosts = Some(file);
            }
            HostKey::KnownHosts { hosts, alias } => {
                let paths: Vec<String> = hosts
                    .paths()
                    .map(|path| format!("\"{}\"", path.display()))
                    .collect();
                set("UserKnownHostsFile", paths.join(" "));
                if let Some(alias) = alias {
                    set("HostKeyAlias", alias.clone());
                }
            }
        }
        match &target.via {
            Via::Direct => set("ProxyJump", "none".to_owned()),
            Via::Jump(jump) => set("ProxyJump", chain(jump)),
            Via::Command(command) => set("ProxyCommand", command.replace('%', "%%")),
        }
        lines.push_str(&includes(files));
        Ok(OpenSsh {
            host: target.alias.clone(),
            file: write(&lines).map_err(|error| fail(error.to_string()))?,
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

/// The servers to go through, in the words of `ProxyJump`, the first one first.
fn chain(jump: &Target) -> String {
    let own = format!("{}@{}:{}", jump.user, jump.alias, jump.port);
    match &jump.via {
        Via::Jump(before) => format!("{},{own}", chain(before)),
        Via::Direct | Via::Command(_) => own,
    }
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
