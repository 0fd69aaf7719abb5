//! A server that somebody else has made.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Run,
    live::{Live, docker},
};

/// A server, known to hitc by its address only, as one that somebody else has made.
pub struct Stranger {
    pub live: Live,
    /// Its address.
    pub ip: String,
}

impl Stranger {
    /// Makes it.
    pub fn new() -> Self {
        let live = Live::new();
        live.run(&["run", "create", "name=web"]).ok();
        let ip = live.ip("web");
        // From now on nobody knows where it comes from.
        let live = live.env("HITC_NAME_PREFIX", "NONE-");
        fs::create_dir_all(live.home().join(".ssh")).unwrap();
        Stranger { live, ip }
    }

    /// A file in `~/.ssh`.
    pub fn ssh(&self, name: &str) -> PathBuf {
        self.live.home().join(".ssh").join(name)
    }

    /// Hitc's own key, which the server admits.
    pub fn own_key(&self) -> PathBuf {
        self.live.home().join(".local/share/hitc/id_ed25519")
    }

    /// Writes `~/.ssh/config`.
    pub fn config(&self, text: &str) {
        fs::write(self.ssh("config"), text).unwrap();
    }

    /// Runs a line of shell on the server, whatever its sshd admits.
    pub fn inside(&self, line: &str) -> String {
        docker(&["exec", &self.live.container("web"), "sh", "-c", line])
    }

    /// Another sshd on the server, with options of its own, on this port. What it says is in
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

    /// A key pair in `~/.ssh`; gives its public half.
    pub fn new_key(&self, name: &str) -> String {
        let path = self.ssh(name);
        keygen(&[
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-f",
            path.to_str().unwrap(),
        ]);
        public(&path)
    }
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
