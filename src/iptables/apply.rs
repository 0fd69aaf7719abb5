//! Loads a firewall on a server, and keeps it only if the server can still be reached.
//!
//! The server takes the rules back by itself unless they are confirmed over a new connection: the old
//! one proves nothing about the rules for new ones, and a run that dies confirms nothing.

use std::{collections::BTreeSet, future::Future, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Family, Firewall, bridges, chains, failed, nft, ports::Protocol, sections::join};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        owner::Owner,
    },
    machine::Machine,
    ssh::{Command, Input},
};

/// The program of the server, which is run as root.
const SCRIPT: &str = include_str!("firewall.sh");
/// Installs the program, and runs it with the rest of standard input.
const INSTALL: &str = "set -e; umask 022; d=/usr/local/lib/hitc; mkdir -p $d; \
    head -c SIZE >$d/firewall.new; chmod 755 $d/firewall.new; mv $d/firewall.new $d/firewall; \
    exec $d/firewall";
/// How long a new connection may take. Shorter than the time after which the server takes the rules
/// back.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the old connection may take to take rules back.
const REVERT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after loading the server takes the rules back, in seconds, as [`SCRIPT`] says.
const PATIENCE: u32 = 45;

/// What the rules of a server depend on beside its firewall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    /// The ports that sshd listens to.
    ssh: BTreeSet<u16>,
    /// The bridges of containers whose names hitc does not recognize.
    bridges: Vec<String>,
    /// Other firewalls that are active.
    others: Vec<String>,
    /// Bridges with a name as those of containers have it, and the network card that is connected.
    cards: Vec<String>,
    /// The address of this machine and the port that it is connected to, as the server sees them. None
    /// if the connection is not one to sshd.
    connection: Option<(IpAddr, u16)>,
}

/// Loads a firewall in the place of the one that hitc loaded before. Checks that this machine can still
/// connect, over the connection that `reconnect` opens; else the server takes the rules back.
///
/// # Errors
/// Rules that do not admit this connection, another active firewall, invalid rules, a server that
/// cannot be reached with the rules. The rules of before are in force then, at the latest after 45 s.
pub async fn apply<F>(
    machine: &dyn Machine,
    firewall: &Firewall,
    owner: &Owner,
    reconnect: impl FnOnce() -> F,
) -> Result<(), Diagnostic>
where
    F: Future<Output = Result<Arc<dyn Machine>, Diagnostic>>,
{
    let facts = facts(machine).await?;
    check(machine.name(), firewall, &facts)?;
    load_and_confirm(machine, firewall, owner, &facts, reconnect).await
}

/// Loads a firewall that was checked.
async fn load_and_confirm<F>(
    machine: &dyn Machine,
    firewall: &Firewall,
    owner: &Owner,
    facts: &Facts,
    reconnect: impl FnOnce() -> F,
) -> Result<(), Diagnostic>
where
    F: Future<Output = Result<Arc<dyn Machine>, Diagnostic>>,
{
    let token = format!("{:016x}", fastrand::u64(..));
    let doing = "loading the firewall";
    execute(
        machine,
        &format!("load {token}"),
        &bundle(firewall, owner, facts),
        doing,
    )
    .await?;
    let confirmed = async {
        let machine = reconnect().await?;
        execute(
            machine.as_ref(),
            &format!("confirm {token}"),
            "",
            "confirming the firewall",
        )
        .await
    };
    let error = match tokio::time::timeout(CONFIRM_TIMEOUT, confirmed).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.message,
        Err(_) => format!("timed out after {} s", CONFIRM_TIMEOUT.as_secs()),
    };
    let line = format!("revert {token}");
    let revert = execute(machine, &line, "", "taking back the firewall");
    let end = match tokio::time::timeout(REVERT_TIMEOUT, revert).await {
        Ok(Ok(())) => "the rules of before are in force again".to_owned(),
        _ => format!(
            "the server puts the rules of before into force by itself, {PATIENCE} s after the change"
        ),
    };
    let host = machine.name();
    let message = format!("host `{host}`: no new connection with the new firewall: {error}");
    Err(Diagnostic::new(Kind::Failed, message).on(host).note(end))
}

/// Removes the firewall that hitc loaded, without a trace.
pub async fn clear(machine: &dyn Machine) -> Result<(), Diagnostic> {
    execute(machine, "clear", "", "removing the firewall").await
}

/// Fails if rules must not be loaded on a server.
fn check(host: &str, firewall: &Firewall, facts: &Facts) -> Result<(), Diagnostic> {
    let refuse = |message: String| {
        Diagnostic::new(Kind::Failed, format!("host `{host}`: {message}")).on(host)
    };
    for other in &facts.others {
        if other == "UFW" && firewall.with_ufw {
            continue;
        }
        let mut help = format!("switch it off on the server: {}", switch_off(other));
        if other == "UFW" {
            help.push_str(
                ", or keep both with `with: ufw`: a packet then needs the consent of both",
            );
        }
        return Err(refuse(format!("{other} is active, which is another firewall")).help(help));
    }
    if let Some(card) = facts.cards.first() {
        let message = format!(
            "{card}, which is named as a bridge of containers: hitc would let all of its packets pass"
        );
        return Err(refuse(message).help("rename the bridge".to_owned()));
    }
    let Some((address, port)) = facts
        .connection
        .filter(|(address, _)| !address.is_loopback())
    else {
        return Ok(());
    };
    let open = firewall.with_ssh(&facts.ssh);
    let mut ports = facts.ssh.clone();
    ports.insert(port);
    match ports
        .into_iter()
        .find(|port| !open.admits(address, Protocol::Tcp, *port))
    {
        None => Ok(()),
        Some(port) => {
            let message = format!(
                "the firewall would close SSH: no rule admits {address} to port {port}, from where hitc \
                 is connected"
            );
            let help = format!("add `{port}: {address}`, or a network that contains it");
            Err(refuse(message).help(help))
        }
    }
}

fn switch_off(firewall: &str) -> &'static str {
    match firewall {
        "UFW" => "ufw disable",
        _ => "systemctl disable --now firewalld",
    }
}

/// Everything that the server needs to load a firewall.
fn bundle(firewall: &Firewall, owner: &Owner, facts: &Facts) -> String {
    let open = firewall.with_ssh(&facts.ssh);
    let ssh: String = facts.ssh.iter().map(|port| format!("{port}\n")).collect();
    join(&[
        ("owner", &serde_json::to_string(owner).unwrap_or_default()),
        ("ssh", &ssh),
        ("rules", &firewall.to_lines()),
        ("nft", &nft::render(&open, &facts.bridges)),
        ("v4", &chains::render(&open, &facts.bridges, Family::V4)),
        ("v6", &chains::render(&open, &facts.bridges, Family::V6)),
    ])
}

/// Asks the server what the rules depend on.
async fn facts(machine: &dyn Machine) -> Result<Facts, Diagnostic> {
    let installed = install("facts", "");
    let facts = async { Ok::<_, Diagnostic>(machine.run(&installed).await?) };
    let (facts, connection) = tokio::try_join!(facts, connection(machine))?;
    if !facts.ok() {
        return Err(failed(machine, "looking at the packet filter", &facts));
    }
    let mut found = Facts::default();
    for line in facts.text().lines() {
        match line.split_once(' ') {
            Some(("ssh", port)) => found.ssh.extend(port.parse::<u16>().ok()),
            Some(("bridge", name)) if is_interface(name) && !bridges::is_bridge(name) => {
                found.bridges.push(name.to_owned());
            }
            Some(("other", name)) => found.others.push(name.to_owned()),
            Some(("card", names)) => {
                let (bridge, card) = names.split_once(' ').unwrap_or((names, "a network card"));
                found
                    .cards
                    .push(format!("network card `{card}` is connected to `{bridge}`"));
            }
            Some(("backend", "nft" | "iptables")) => {}
            _ if line.trim() == "backend" => {
                let message = format!(
                    "host `{}`: neither nft nor iptables works there, and nftables could not be installed",
                    machine.name()
                );
                return Err(Diagnostic::new(Kind::Failed, message)
                    .on(machine.name())
                    .help("install the package nftables".to_owned()));
            }
            _ => {}
        }
    }
    if let Some((address, port)) = connection {
        found.ssh.insert(port);
        found.connection = Some((address, port));
    }
    found.bridges.sort();
    found.bridges.dedup();
    Ok(found)
}

/// The address of this machine, and the port that it is connected to, as a server sees them; none if the
/// connection is not one to sshd.
pub async fn connection(machine: &dyn Machine) -> Result<Option<(IpAddr, u16)>, Diagnostic> {
    // sudo removes the variable, so this is a command of the login user.
    let command = Command::new("printf %s \"${SSH_CONNECTION-}\"");
    let text = machine.run(&command).await?.text();
    let words: Vec<&str> = text.split(' ').collect();
    let [address, _, _, port] = words.as_slice() else {
        return Ok(None);
    };
    let address = address
        .parse()
        .ok()
        .map(|address: IpAddr| address.to_canonical());
    Ok(address.zip(port.parse().ok()))
}

/// Whether a text can be the name of a network interface, and needs no quotes in rules.
fn is_interface(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    !name.is_empty() && name.len() < 16 && !name.starts_with('-') && name.chars().all(is_plain)
}

/// The command that installs the program and runs it.
fn install(words: &str, input: &str) -> Command {
    let line = INSTALL.replace("SIZE", &SCRIPT.len().to_string());
    Command {
        stdin: Input::Bytes(Bytes::from(format!("{SCRIPT}{input}"))),
        ..Command::root(format!("{line} {words}"))
    }
}

async fn execute(
    machine: &dyn Machine,
    words: &str,
    input: &str,
    doing: &str,
) -> Result<(), Diagnostic> {
    let output = machine.run(&install(words, input)).await?;
    if output.ok() {
        return Ok(());
    }
    Err(failed(machine, doing, &output))
}
