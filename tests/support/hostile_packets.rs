//! A server that sends raw SSH messages: see `hostile_packets.py`.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use super::{cloud::tools, sources};

/// The server, which is stopped when dropped.
pub struct HostilePackets {
    child: Child,
    /// The port of a server of an unknown kind.
    pub unknown: u16,
    /// The port of one that says that it is OpenSSH.
    pub openssh: u16,
    /// The port of one that compresses.
    pub compressed: u16,
}

impl HostilePackets {
    pub fn start() -> Self {
        let mut child = Command::new(tools().join("bin/python"))
            .arg(sources().join("tests/support/hostile_packets.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What the clients did to it.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let ports: Vec<u16> = line
            .split_whitespace()
            .map(|port| port.parse().unwrap())
            .collect();
        let [unknown, openssh, compressed] = ports[..] else {
            panic!("{line:?}");
        };
        HostilePackets {
            child,
            unknown,
            openssh,
            compressed,
        }
    }
}

impl Drop for HostilePackets {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
