//! The packet filter of servers: hitc's own firewall, and the rules of all others, read-only.
//!
//! A [`Firewall`] says which public ports are open to whom. It is rendered for nftables ([`nft`]) and, where
//! nft is absent, for iptables ([`chains`]); loaded so that no user is locked out ([`apply`]); and read
//! back from what is in force ([`observe`]).

mod apply;
mod bridges;
mod chains;
mod change;
mod firewall;
mod listener;
mod nft;
mod observe;
mod parse;
mod ports;
mod probe;
mod rule;
mod sections;
mod source;
#[cfg(test)]
mod tests;

pub use apply::{apply, clear, connection};
pub use chains::{parse as parse_chains, render as render_iptables};
pub use change::{change, remove};
pub use firewall::Firewall;
pub use listener::{Listener, listeners};
pub use nft::{parse as parse_nft, render as render_nft};
pub use observe::{Backend, Installed, observe, parse as parse_answer};
pub use parse::parse;
pub use ports::{Ports, Protocol};
pub use probe::{Probe, probe};
pub use rule::{Family, Rule};
pub use source::Source;

use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        process::Output,
    },
    machine::Machine,
    ssh::Command,
};

/// Reads all rules of a server: IPv4 first, then IPv6. Needs sudo, unless the login user is root.
pub async fn rules(machine: &dyn Machine) -> Result<Vec<Rule>, Diagnostic> {
    let mut rules = Vec::new();
    for family in [Family::V4, Family::V6] {
        let line = family.save_command();
        let output = machine.run(&Command::root(line)).await?;
        if !output.ok() {
            return Err(failed(machine, &format!("`{line}`"), &output));
        }
        let parsed = parse(family, &output.text());
        rules.extend(parsed.map_err(|cause| {
            let host = machine.name();
            Diagnostic::new(Kind::Failed, format!("host `{host}`: `{line}`: {cause}")).on(host)
        })?);
    }
    Ok(rules)
}

/// The error of a command that failed on a machine.
fn failed(machine: &dyn Machine, doing: &str, output: &Output) -> Diagnostic {
    let host = machine.name();
    let mut cause = output.tail(3);
    if cause.is_empty() {
        cause = output.exit.to_string();
    }
    Diagnostic::new(Kind::Failed, format!("host `{host}`: {doing}: {cause}")).on(host)
}
