//! The ports that the programs of a server listen to.

use std::net::IpAddr;

use super::{Protocol, failed};
use crate::{core::diagnostic::Diagnostic, machine::Machine, ssh::Command};

/// Lists the sockets that listen, with their programs. `ss` is in `/usr/sbin` or `/usr/bin`.
const LIST: &str = "PATH=$PATH:/usr/sbin:/sbin; ss -Hltnup";

/// A port that a program listens to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address of the server; none for all.
    pub address: Option<IpAddr>,
    /// The program; empty if it is unknown.
    pub program: String,
}

/// Finds the ports that programs listen to, sorted. A port over IPv4 and IPv6 is one.
pub async fn listeners(machine: &dyn Machine) -> Result<Vec<Listener>, Diagnostic> {
    let output = machine.run(&Command::root(LIST)).await?;
    if !output.ok() {
        return Err(failed(machine, "listing the ports", &output));
    }
    let text = output.text();
    let mut found: Vec<Listener> = text.lines().filter_map(parse).collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// Parses `tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))`.
fn parse(line: &str) -> Option<Listener> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let protocol = match *words.first()? {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    let (address, port) = words.get(4)?.rsplit_once(':')?;
    // An interface may follow: `127.0.0.53%lo`.
    let address = address.split('%').next().unwrap_or_default();
    let address: Option<IpAddr> = address.trim_matches(['[', ']']).parse().ok();
    let program = line
        .split_once("((\"")
        .and_then(|(_, rest)| rest.split('"').next());
    Some(Listener {
        port: port.parse().ok()?,
        protocol,
        address: address.filter(|address| !address.is_unspecified()),
        program: program.unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_both_families() {
        let show = |line: &str| {
            parse(line).map(|found| {
                let address = found.address.map(|address| address.to_string());
                let address = address.unwrap_or_default();
                format!(
                    "{address} {}/{} {}",
                    found.port, found.protocol, found.program
                )
            })
        };
        for (line, expected) in [
            (
                "tcp   LISTEN 0      128          0.0.0.0:22        0.0.0.0:*    users:((\"sshd\",pid=1,fd=3))",
                Some(" 22/tcp sshd"),
            ),
            (
                "tcp   LISTEN 0      128             [::]:8080         [::]:*    users:((\"docker-proxy\",pid=1,fd=4))",
                Some(" 8080/tcp docker-proxy"),
            ),
            ("tcp   LISTEN 0 128 *:80 *:*", Some(" 80/tcp ")),
            (
                "udp   UNCONN 0      0      127.0.0.53%lo:53        0.0.0.0:*",
                Some("127.0.0.53 53/udp "),
            ),
            (
                "tcp LISTEN 0 1 [fe80::1]%eth0:1 [::]:*",
                Some("fe80::1 1/tcp "),
            ),
            ("nl UNCONN 0 0 rtnl:kernel *", None),
        ] {
            assert_eq!(show(line).as_deref(), expected, "{line}");
        }
    }
}
