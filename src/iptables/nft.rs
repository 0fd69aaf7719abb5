//! A firewall as a table of nftables, and back.
//!
//! The table is hitc's own. What it drops is dropped, whatever other tables accept; what it accepts may
//! still be dropped by another table (nft(8), "Verdict statements").
//!
//! Each packet of a client is compared with the rules, not only the first one of a connection: only
//! replies are accepted without. So a rule that is removed ends the connections that it admitted.

use super::{
    bridges::{PREFIXES, is_bridge},
    firewall::Firewall,
    ports::{Ports, Protocol},
    source::Source,
};

/// The name of the table, with its family.
pub const TABLE: &str = "inet hitc";

/// The statement that logs what is dropped.
const LOG: &str = "limit rate 5/second burst 5 packets log prefix \"hitc-drop: \"";
/// Before Docker's own chains, which are at the priority of filters.
const HOOK: &str = "priority filter - 5; policy accept;";

/// The two chains of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chain {
    /// To the server itself: its services, and what docker-proxy listens to.
    Input,
    /// To containers.
    Forward,
}

/// Renders the table in the form in which `nft -s list table` lists it. `bridges` are those of
/// containers whose names hitc does not recognize.
pub fn render(firewall: &Firewall, bridges: &[String]) -> String {
    let mut text = format!("table {TABLE} {{\n");
    for (chain, name) in [(Chain::Input, "input"), (Chain::Forward, "forward")] {
        text.push_str(&format!("\tchain {name} {{\n"));
        text.push_str(&format!("\t\ttype filter hook {name} {HOOK}\n"));
        let rules = firewall.rules().map(|(ports, source)| {
            let conditions = conditions(chain, ports, &source);
            format!("{conditions}accept")
        });
        let (before, after) = frame(chain, firewall.log, bridges);
        for line in before.into_iter().chain(rules).chain(after) {
            text.push_str(&format!("\t\t{line}\n"));
        }
        text.push_str("\t}\n");
        if chain == Chain::Input {
            text.push('\n');
        }
    }
    text.push_str("}\n");
    text
}

/// What is before and after the rules of a chain.
fn frame(chain: Chain, log: bool, bridges: &[String]) -> (Vec<String>, Vec<String>) {
    let mut before = vec![
        "ct direction reply ct state established,related accept".to_owned(),
        "ct state related accept".to_owned(),
    ];
    let mut after = Vec::new();
    if chain == Chain::Input {
        before.push("iif \"lo\" accept".to_owned());
    }
    before.extend(names(bridges).map(|name| format!("iifname \"{name}\" accept")));
    match chain {
        Chain::Input => {
            // Neighbor discovery, the discovery of the path's MTU, ping; and DHCP.
            before.push("meta l4proto { icmp, ipv6-icmp } accept".to_owned());
            before.push("udp sport 67 udp dport 68 accept".to_owned());
            before.push("udp sport 547 udp dport 546 accept".to_owned());
            after.extend(log.then(|| LOG.to_owned()));
            after.push("counter drop".to_owned());
        }
        Chain::Forward => {
            let drop = |conditions: &str| {
                let log = log.then(|| format!("{conditions} {LOG}"));
                log.into_iter()
                    .chain([format!("{conditions} counter drop")])
            };
            after.extend(drop("ct status dnat"));
            for name in names(bridges) {
                after.extend(drop(&format!("oifname \"{name}\"")));
            }
        }
    }
    (before, after)
}

/// The names of bridges of containers, with wildcards.
fn names(bridges: &[String]) -> impl Iterator<Item = String> {
    let known = PREFIXES.iter().map(|prefix| format!("{prefix}*"));
    known.chain(bridges.to_owned())
}

/// The conditions of a rule, each followed by a space.
fn conditions(chain: Chain, ports: Ports, source: &Source) -> String {
    let mut text = String::new();
    if chain == Chain::Forward && ports.protocol() != Protocol::Any {
        // A container's address that was not translated is not a public port.
        text.push_str("ct status dnat ");
    }
    if let Source::Network(network) = source {
        let family = if network.addr().is_ipv4() {
            "ip"
        } else {
            "ip6"
        };
        text.push_str(&format!("{family} saddr {source} "));
    }
    let protocol = ports.protocol();
    let range = ports.range().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    match (protocol, range) {
        (Protocol::Any, _) => {}
        (_, None) => text.push_str(&format!("meta l4proto {protocol} ")),
        (_, Some(range)) if chain == Chain::Input => {
            text.push_str(&format!("{protocol} dport {range} "));
        }
        (_, Some(range)) => text.push_str(&format!(
            "meta l4proto {protocol} ct original proto-dst {range} "
        )),
    }
    text
}

/// A table as it was found: the firewall, and the packets that were dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it admits, including SSH.
    pub firewall: Firewall,
    /// The number of packets that were dropped.
    pub dropped: u64,
    /// The bridges of containers that are named in it.
    pub bridges: Vec<String>,
}

/// Parses what `nft list table` prints.
///
/// # Errors
/// A line that hitc would not have written, or a missing one.
pub fn parse(text: &str) -> Result<Listed, String> {
    let mut found: Vec<(Chain, String)> = Vec::new();
    let mut chain = None;
    let mut dropped = 0;
    for line in text.lines() {
        let line = line.trim();
        match line {
            "chain input {" => chain = Some(Chain::Input),
            "chain forward {" => chain = Some(Chain::Forward),
            "" | "}" => {}
            _ if line.starts_with("table ") || line.starts_with("type filter hook ") => {}
            _ => {
                let chain = chain.ok_or_else(|| format!("unknown line `{line}`"))?;
                let (line, packets) = without_counter(line);
                dropped += packets;
                found.push((chain, line));
            }
        }
    }
    let mut bridges: Vec<String> = Vec::new();
    let mut rules = [Firewall::default(), Firewall::default()];
    let mut others: Vec<(Chain, String)> = Vec::new();
    for (chain, line) in found {
        if let Some((ports, source)) = parse_rule(chain, &line) {
            rules[usize::from(chain == Chain::Forward)].add(ports, source);
            continue;
        }
        let name = line.strip_prefix("iifname \"");
        if let Some(name) = name.and_then(|rest| rest.strip_suffix("\" accept"))
            && chain == Chain::Input
            && !is_bridge(name)
        {
            bridges.push(name.to_owned());
        }
        others.push((chain, line));
    }
    let [mut firewall, forwarded] = rules;
    if firewall != forwarded {
        return Err("its two chains admit different packets".to_owned());
    }
    firewall.log = others.iter().any(|(_, line)| line == LOG);
    for chain in [Chain::Input, Chain::Forward] {
        let (before, after) = frame(chain, firewall.log, &bridges);
        let expected = before.iter().chain(&after);
        let lines = others.iter().filter(|(found, _)| *found == chain);
        if !lines.map(|(_, line)| line).eq(expected) {
            return Err("it was changed by another program".to_owned());
        }
    }
    Ok(Listed {
        firewall,
        dropped,
        bridges,
    })
}

/// A line without the numbers of its counter, and the number of packets.
fn without_counter(line: &str) -> (String, u64) {
    let Some((before, rest)) = line.split_once("counter packets ") else {
        return (line.to_owned(), 0);
    };
    let mut words = rest.splitn(4, ' ');
    let packets = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let rest = words.nth(2).unwrap_or_default();
    (format!("{before}counter {rest}"), packets)
}

/// The rule in a line; none if it is another line.
fn parse_rule(chain: Chain, line: &str) -> Option<(Ports, Source)> {
    let rest = line.strip_suffix("accept")?;
    let mut words = rest.split_whitespace().peekable();
    let mut take = |expected: &[&str]| {
        let mut ahead = words.clone();
        let matches = expected.iter().all(|word| ahead.next() == Some(word));
        if matches {
            words = ahead;
        }
        matches
    };
    take(&["ct", "status", "dnat"]);
    let has_source = take(&["ip", "saddr"]) || take(&["ip6", "saddr"]);
    let rest: Vec<&str> = words.collect();
    let (source, rest) = match rest.split_first() {
        Some((source, rest)) if has_source => (source.parse().ok()?, rest),
        _ => (Source::Everywhere, rest.as_slice()),
    };
    let ports = match rest {
        [] => "*/*".to_owned(),
        [protocol, "dport", range] => format!("{range}/{protocol}"),
        ["meta", "l4proto", protocol] => format!("*/{protocol}"),
        [
            "meta",
            "l4proto",
            protocol,
            "ct",
            "original",
            "proto-dst",
            range,
        ] => {
            format!("{range}/{protocol}")
        }
        _ => return None,
    };
    let ports: Ports = ports.parse().ok()?;
    let expected = format!("{}accept", conditions(chain, ports, &source));
    (line == expected).then_some((ports, source))
}
