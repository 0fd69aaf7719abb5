//! The firewall that a server has.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use super::{Firewall, Ports, Source, chains, failed, nft, sections::sections};
use crate::{
    core::{
        diagnostic::Diagnostic,
        owner::{Owner, Ownership},
    },
    machine::Machine,
    ssh::Command,
};

/// Prints the confirmed rules and those in force; nothing if there is no firewall of hitc. A plain line,
/// because it is part of every look at a server.
const OBSERVE: &str = r##"cd /etc/hitc/firewall 2>/dev/null || exit 0
export PATH=$PATH:/usr/sbin:/sbin
for file in backend owner ssh rules; do echo "#= $file"; cat $file; done
if [ "$(cat backend)" = nft ]; then echo "#= live"; nft list table inet hitc; else
for n in "" 6; do echo "#= live$n"; i=ip${n}tables; $i -w 10 -S HITC-IN && $i -w 10 -t mangle -S HITC-FWD
echo "#= works$n"; $i -w 10 -S INPUT | head -n 1
echo "#= jumps$n"; $i -w 10 -S INPUT | grep -m 1 ^-A; $i -w 10 -t mangle -S FORWARD | grep -m 1 ^-A; done
echo "#= dropped"; iptables -w 10 -nvxL HITC-IN; iptables -w 10 -t mangle -nvxL HITC-FWD; fi 2>/dev/null
echo "#= end""##;

/// The calls of the chains, each the first rule of its chain.
const JUMPS: &str = "-A INPUT -j HITC-IN\n-A FORWARD -j HITC-FWD\n";

/// The program that filters packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// A table of nftables.
    Nft,
    /// Chains of iptables.
    Iptables,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Nft => "nft",
            Backend::Iptables => "iptables",
        })
    }
}

/// A firewall that hitc loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The program that filters packets.
    pub backend: Backend,
    /// For whom it was loaded.
    pub owner: Ownership,
    /// The rules that are in force, without those that keep SSH open. The error says why they are not
    /// those of hitc.
    pub rules: Result<Firewall, String>,
    /// The ports of SSH that stay open without a rule.
    pub ssh: BTreeSet<u16>,
    /// The number of packets that were dropped since the rules were loaded.
    pub dropped: u64,
}

/// Finds the firewall that hitc loaded on a machine; none if there is none. One command of root.
pub async fn observe(machine: &dyn Machine) -> Result<Option<Installed>, Diagnostic> {
    let output = machine.run(&Command::root(OBSERVE)).await?;
    if !output.ok() {
        return Err(failed(machine, "reading the firewall", &output));
    }
    let text = output.text();
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = parse(&text);
    parsed.map(Some).map_err(|cause| {
        let host = machine.name();
        let message = format!("host `{host}`: reading the firewall: {cause}");
        Diagnostic::new(crate::core::diagnostic::Kind::Failed, message)
            .on(host)
            .help(format!(
                "remove what is left of it with `hitc run -H {host} iptables.clear adopt=true`"
            ))
    })
}

/// Parses what the server answers.
pub fn parse(text: &str) -> Result<Installed, String> {
    let sections = sections(text);
    let section = |name: &str| sections.get(name).map_or("", String::as_str);
    if !sections.contains_key("end") {
        return Err("the answer is incomplete".to_owned());
    }
    let backend = match section("backend").trim() {
        "nft" => Backend::Nft,
        "iptables" => Backend::Iptables,
        other => return Err(format!("unknown backend `{other}`")),
    };
    let owner: Option<Owner> = serde_json::from_str(section("owner")).ok();
    let numbers = section("ssh").lines().map(|line| line.parse::<u16>().ok());
    let ssh = numbers
        .collect::<Option<BTreeSet<u16>>>()
        .ok_or("invalid ports of SSH")?;
    let mut stored = Firewall::from_lines(section("rules"))?;
    let (live, dropped) = match backend {
        Backend::Nft if section("live").trim().is_empty() => {
            (Err("its table was removed".to_owned()), 0)
        }
        Backend::Nft => match nft::parse(section("live")) {
            Ok(listed) => (Ok(listed.firewall), listed.dropped),
            Err(cause) => (Err(cause), 0),
        },
        Backend::Iptables => (live_chains(&section), dropped(section("dropped"))),
    };
    let with_ufw = stored.with_ufw;
    let rules = live.map(|mut live| {
        live.with_ufw = with_ufw;
        if live == stored.with_ssh(&ssh) {
            return std::mem::take(&mut stored);
        }
        // Another program changed the rules in force: returns them without those that keep SSH open.
        let without_rule = stored.with_ssh(&ssh);
        for port in &ssh {
            let ports = Ports::tcp(*port);
            if without_rule
                .sources(ports)
                .any(|source| *source == Source::Everywhere)
                && stored.sources(ports).next().is_none()
            {
                live.remove(ports, &Source::Everywhere);
            }
        }
        live
    });
    Ok(Installed {
        backend,
        owner: owner.map_or(Ownership::Foreign, Ownership::Owner),
        rules,
        ssh,
        dropped,
    })
}

/// The firewall in the chains of iptables, if they are called first.
fn live_chains<'a>(section: &impl Fn(&str) -> &'a str) -> Result<Firewall, String> {
    // A server without IPv6 has no list of it, and a removed list is another thing.
    let has_v6 = !section("works6").is_empty();
    if section("live").is_empty() || has_v6 && section("live6").is_empty() {
        return Err("its chains were removed".to_owned());
    }
    if section("jumps") != JUMPS || has_v6 && section("jumps6") != JUMPS {
        return Err("its chains are not called first".to_owned());
    }
    let v6 = if has_v6 { Some(section("live6")) } else { None };
    Ok(chains::parse(section("live"), v6)?.0)
}

/// The packets of the rules that drop, in the list that `iptables -nvxL` prints.
fn dropped(list: &str) -> u64 {
    let counts = list.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let packets = words.next()?.parse::<u64>().ok()?;
        (words.nth(1)? == "DROP").then_some(packets)
    });
    counts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iptables::{Family, sections::join};

    /// What a server with iptables answers, whose rules of IPv6 are these.
    fn answer(works6: &str, live6: &str) -> Result<Firewall, String> {
        let open = Firewall::default().with_ssh(&BTreeSet::from([22]));
        let v4 = chains::render(&open, &[], Family::V4);
        let text = join(&[
            ("backend", "iptables"),
            ("owner", "null"),
            ("ssh", "22"),
            ("rules", ""),
            ("live", &v4),
            ("works", "-P INPUT ACCEPT"),
            ("jumps", JUMPS),
            ("live6", live6),
            ("works6", works6),
            ("jumps6", if live6.is_empty() { "" } else { JUMPS }),
            (
                "dropped",
                "     7   420 DROP  0 -- * * 0.0.0.0/0 0.0.0.0/0\n",
            ),
        ]);
        let installed = parse(&text).unwrap();
        assert_eq!(installed.dropped, 7);
        installed.rules
    }

    #[test]
    fn removed_rules_of_one_family_are_noticed() {
        let open = Firewall::default().with_ssh(&BTreeSet::from([22]));
        let v6 = chains::render(&open, &[], Family::V6);
        assert_eq!(answer("-P INPUT ACCEPT", &v6), Ok(Firewall::default()));
        assert_eq!(
            answer("", ""),
            Ok(Firewall::default()),
            "a server without IPv6"
        );
        let removed = Err("its chains were removed".to_owned());
        assert_eq!(answer("-P INPUT ACCEPT", ""), removed);
    }
}
