//! A firewall as two chains of iptables, and back: for servers without nft.
//!
//! `HITC-IN` is called first in `INPUT`, and `HITC-FWD` first in `FORWARD` of the table `mangle`, which is
//! asked before Docker's rules and has none of them. What they admit returns to the calling chain, so that
//! other rules stay in force. The rules are those of [`super::nft`].

use super::{
    Family,
    bridges::{PREFIXES, is_bridge},
    firewall::Firewall,
    ports::{Ports, Protocol},
    source::Source,
};

/// The chains.
pub const CHAINS: [&str; 2] = ["HITC-IN", "HITC-FWD"];

const LOG: &str = "-m limit --limit 5/sec -j LOG --log-prefix \"hitc-drop: \"";

/// Renders the rules of both chains for one family, in the form in which `iptables -S` lists them.
/// `bridges` are those of containers whose names hitc does not recognize.
pub fn render(firewall: &Firewall, bridges: &[String], family: Family) -> String {
    let mut text = String::new();
    for chain in CHAINS {
        let rules = firewall
            .rules()
            .filter(|(_, source)| is_of(source, family))
            .map(|(ports, source)| format!("{}-j RETURN", conditions(chain, ports, &source)));
        let (before, after) = frame(chain, family, firewall.log, bridges);
        for rule in before.into_iter().chain(rules).chain(after) {
            text.push_str(&format!("-A {chain} {rule}\n"));
        }
    }
    text
}

fn is_of(source: &Source, family: Family) -> bool {
    match source {
        Source::Everywhere => true,
        Source::Network(network) => network.addr().is_ipv4() == (family == Family::V4),
    }
}

/// What is before and after the rules of a chain.
fn frame(chain: &str, family: Family, log: bool, bridges: &[String]) -> (Vec<String>, Vec<String>) {
    let mut before = vec![
        "-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -j RETURN".to_owned(),
        "-m conntrack --ctstate RELATED -j RETURN".to_owned(),
    ];
    let mut after = Vec::new();
    let is_input = chain == CHAINS[0];
    if is_input {
        before.push("-i lo -j RETURN".to_owned());
    }
    before.extend(names(bridges).map(|name| format!("-i {name} -j RETURN")));
    if is_input {
        let (icmp, server, client) = match family {
            Family::V4 => ("icmp", 67, 68),
            Family::V6 => ("ipv6-icmp", 547, 546),
        };
        before.push(format!("-p {icmp} -j RETURN"));
        before.push(format!(
            "-p udp -m udp --sport {server} --dport {client} -j RETURN"
        ));
        after.extend(log.then(|| LOG.to_owned()));
        after.push("-j DROP".to_owned());
    } else {
        let drop = |conditions: &str| {
            let log = log.then(|| format!("{conditions} {LOG}"));
            log.into_iter().chain([format!("{conditions} -j DROP")])
        };
        after.extend(drop("-m conntrack --ctstate DNAT"));
        for name in names(bridges) {
            after.extend(drop(&format!("-o {name}")));
        }
    }
    (before, after)
}

/// The names of bridges of containers, with wildcards.
fn names(bridges: &[String]) -> impl Iterator<Item = String> {
    let known = PREFIXES.iter().map(|prefix| format!("{prefix}+"));
    known.chain(bridges.to_owned())
}

/// The conditions of a rule, each followed by a space.
fn conditions(chain: &str, ports: Ports, source: &Source) -> String {
    let mut text = String::new();
    if let Source::Network(network) = source {
        text.push_str(&format!("-s {network} "));
    }
    let protocol = ports.protocol();
    if protocol == Protocol::Any {
        return text;
    }
    text.push_str(&format!("-p {protocol} "));
    let range = ports.range().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}:{last}")
        }
    });
    match range {
        Some(range) if chain == CHAINS[0] => {
            text.push_str(&format!("-m {protocol} --dport {range} "));
        }
        Some(range) => text.push_str(&format!(
            "-m conntrack --ctstate DNAT --ctorigdstport {range} "
        )),
        None if chain == CHAINS[0] => {}
        None => text.push_str("-m conntrack --ctstate DNAT "),
    }
    text
}

/// Parses the lists of both families (`iptables -S`), and returns the firewall and the bridges of
/// containers that are named in it. A server without IPv6 has no list of it.
///
/// # Errors
/// A line that hitc would not have written, or a missing one.
pub fn parse(v4: &str, v6: Option<&str>) -> Result<(Firewall, Vec<String>), String> {
    let (mut v4, bridges) = parse_family(v4, Family::V4)?;
    let Some(v6) = v6 else {
        return Ok((v4, bridges));
    };
    let (v6, other_bridges) = parse_family(v6, Family::V6)?;
    let everywhere = |firewall: &Firewall| {
        let rules = firewall.rules();
        let of_both = rules.filter(|(_, source)| *source == Source::Everywhere);
        of_both.map(|(ports, _)| ports).collect::<Vec<_>>()
    };
    if everywhere(&v4) != everywhere(&v6) || v4.log != v6.log || bridges != other_bridges {
        return Err("iptables and ip6tables admit different packets".to_owned());
    }
    for (ports, source) in v6.rules() {
        v4.add(ports, source);
    }
    Ok((v4, bridges))
}

fn parse_family(text: &str, family: Family) -> Result<(Firewall, Vec<String>), String> {
    let mut rules = [Firewall::default(), Firewall::default()];
    let mut others: [Vec<&str>; 2] = [Vec::new(), Vec::new()];
    let mut bridges = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("-N ")) {
        let mut chains = CHAINS.iter().enumerate();
        let in_chain = |chain: &str| {
            line.strip_prefix("-A ")?
                .strip_prefix(chain)?
                .strip_prefix(' ')
        };
        let found = chains.find_map(|(at, chain)| in_chain(chain).map(|rule| (at, rule)));
        let (at, rule) = found.ok_or_else(|| format!("unknown line `{line}`"))?;
        if let Some((ports, source)) = parse_rule(CHAINS[at], rule) {
            rules[at].add(ports, source);
            continue;
        }
        if at == 0
            && let Some(name) = rule.strip_prefix("-i ")
            && let Some(name) = name.strip_suffix(" -j RETURN")
            && name != "lo"
            && !is_bridge(name)
        {
            bridges.push(name.to_owned());
        }
        others[at].push(rule);
    }
    let [mut firewall, forwarded] = rules;
    if firewall != forwarded {
        return Err("its two chains admit different packets".to_owned());
    }
    firewall.log = others[0].contains(&LOG);
    for (chain, lines) in CHAINS.iter().zip(&others) {
        let (before, after) = frame(chain, family, firewall.log, &bridges);
        if !before.iter().chain(&after).eq(lines.iter()) {
            return Err("it was changed by another program".to_owned());
        }
    }
    Ok((firewall, bridges))
}

/// The rule in a line; none if it is another line.
fn parse_rule(chain: &str, rule: &str) -> Option<(Ports, Source)> {
    let words: Vec<&str> = rule
        .strip_suffix(" -j RETURN")
        .unwrap_or("")
        .split(' ')
        .collect();
    if rule == "-j RETURN" {
        return Some(("*/*".parse().ok()?, Source::Everywhere));
    }
    let (source, words) = match words.as_slice() {
        ["-s", source, rest @ ..] => (source.parse().ok()?, rest),
        rest => (Source::Everywhere, rest),
    };
    let ports = match words {
        [] => "*/*".to_owned(),
        ["-p", protocol] | ["-p", protocol, "-m", "conntrack", "--ctstate", "DNAT"] => {
            format!("*/{protocol}")
        }
        ["-p", protocol, .., "--dport" | "--ctorigdstport", range] => {
            format!("{}/{protocol}", range.replace(':', "-"))
        }
        _ => return None,
    };
    let ports: Ports = ports.parse().ok()?;
    let expected = format!("{}-j RETURN", conditions(chain, ports, &source));
    (rule == expected).then_some((ports, source))
}
