//! A server that was not created by the project.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Run,
    live::{Live, docker},
};

/// A server that hitc knows only by its address, as if another project had created it.
pub struct ForeignServer {
    pub live: Live,
    /// The address of the server.
    pub ip: String,
}

impl ForeignServer {
    /// Creates the server.
    pub fn new() -> Self {
        let live = Live::new();
        live.run(&["run", "create", "name=web"]).ok();
        let ip = live.ip("web");
        // From here on, hitc does not list it.
        let live = live.env("HITC_NAME_PREFIX", "NONE-");
        fs::create_dir_all(live.home().join(".ssh")).unwrap();
        ForeignServer { live, ip }
    }

    /// The path of a file in `~/.ssh`.
    pub fn ssh(&self, name: &str) -> PathBuf {
        self.live.home().join(".ssh").join(name)
    }

    /// The private key of hitc, which the server accepts.
    pub fn own_key(&self) -> PathBuf {
        self.live.home().join(".local/share/hitc/id_ed25519")
    }

    /// Writes `~/.ssh/config`.
    pub fn config(&self, text: &str) {
        fs::write(self.ssh("config"), text).unwrap();
    }

    /// Runs a shell line on the server without SSH.
    pub fn inside(&self, line: &str) -> String {
        docker(&["exec", &self.live.container("web"), "sh", "-c", line])
    }

    /// Starts another sshd on the server, on this port, with options separated by `|`. Its log is
    /// `/tmp/sshd-PORT.log`.
    pub fn sshd(&self, port: u16, options: &str) {
        let options: String = options
            .split('|')
            .filter(|option| !option.is_empty())
            .map(|option| format!(" -o '{option}'"))
            .collect();
        self.inside(&format!(
            "/usr/sbin/sshd -p {port} -E /tmp/sshd-{port}.log -o PidFile=none -o LogLevel=VERBOSE{options}"
        ));
    }

    /// Runs a command on a host.
    pub fn exec(&self, host: &str, line: &str) -> Run {
        self.live.run(&["exec", "-H", host, "--", line])
    }

    /// Generates a key pair in `~/.ssh`, and returns the public key.
    pub fn new_key(&self, name: &str) -> String {
        let path = self.ssh(name);
        new_key(&path);
        public(&path)
    }
}

/// Generates a key pair without a passphrase.
pub fn new_key(path: &Path) {
    let path = path.to_str().unwrap();
    keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "hitc", "-f", path]);
}

/// Runs ssh-keygen.
pub fn keygen(arguments: &[&str]) {
    let done = Command::new("ssh-keygen").args(arguments).output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

fn public(key: &Path) -> String {
    let text = fs::read_to_string(key.with_extension("pub")).unwrap();
    text.trim().to_owned()
}
