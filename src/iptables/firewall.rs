//! The firewall of a server: which ports are open to whom. Everything else is closed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    ports::{Ports, Protocol},
    source::Source,
};
use crate::core::{
    change::Change,
    value::{Data, Entry, Invalid, Value, shorten},
};

/// A key that is no port: logs dropped packets.
const LOG: &str = "log";
/// A key that is no port: the name of another firewall that stays in force beside this one.
const WITH: &str = "with";
/// The other firewall that may stay in force.
const UFW: &str = "ufw";

/// What is admitted to a server and its containers, by the public port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firewall {
    /// The sources of each range of ports. None of them is empty, and no source is part of another.
    rules: BTreeMap<Ports, BTreeSet<Source>>,
    /// Whether dropped packets are logged, at most five a second.
    pub log: bool,
    /// Whether UFW may be active, too. A packet then needs the consent of both.
    pub with_ufw: bool,
}

impl Firewall {
    /// Decodes the `firewall` of a manifest: `{PORT: SOURCE}`, where SOURCE is `*`, an address, a
    /// network, or a list of these.
    ///
    /// # Errors
    /// An invalid port, source or option, with its span.
    pub fn decode(value: &Value, what: &str) -> Result<Self, Invalid> {
        let mut firewall = Firewall::default();
        for entry in value.to_map(what)? {
            match entry.key.as_str() {
                LOG => firewall.log = entry.value.to_bool(LOG)?,
                WITH => {
                    if entry.value.to_text(WITH)? != UFW {
                        let error = Invalid::new(&entry.value, format!("{what}: invalid `with`"));
                        return Err(error.help(format!("the only value is `{UFW}`")));
                    }
                    firewall.with_ufw = true;
                }
                _ => firewall.decode_rule(&entry, what)?,
            }
        }
        Ok(firewall)
    }

    fn decode_rule(&mut self, entry: &Entry, what: &str) -> Result<(), Invalid> {
        let ports = Ports::parse(&entry.key).map_err(|cause| {
            Invalid::at(entry.key_span.clone(), format!("{what}: {cause}")).help(
                "write 80, 53/udp, 8000-8100, \"*/tcp\", or \"*/*\" for everything".to_owned(),
            )
        })?;
        for item in entry.value.to_list(&entry.key)? {
            // A variable in a list may be a list itself.
            for item in item.to_list(&entry.key)? {
                let source = decode_source(&item, what)?;
                for ports in &ports {
                    self.add(*ports, source);
                }
            }
        }
        Ok(())
    }

    /// Opens ports to a source.
    pub fn add(&mut self, ports: Ports, source: Source) {
        let sources = self.rules.entry(ports).or_default();
        if !sources.iter().any(|known| known.includes(&source)) {
            sources.retain(|known| !source.includes(known));
            sources.insert(source);
        }
    }

    /// Closes ports to a source. Returns whether they were open to exactly this source.
    pub fn remove(&mut self, ports: Ports, source: &Source) -> bool {
        let Some(sources) = self.rules.get_mut(&ports) else {
            return false;
        };
        let removed = sources.remove(source);
        if sources.is_empty() {
            self.rules.remove(&ports);
        }
        removed
    }

    /// The rules: each range of ports with one source, in a fixed order.
    pub fn rules(&self) -> impl Iterator<Item = (Ports, Source)> {
        self.rules
            .iter()
            .flat_map(|(ports, sources)| sources.iter().map(|source| (*ports, *source)))
    }

    /// The sources of exactly these ports.
    pub fn sources(&self, ports: Ports) -> impl Iterator<Item = &Source> {
        self.rules.get(&ports).into_iter().flatten()
    }

    /// The ranges of ports that are open to someone.
    pub fn ports(&self) -> impl Iterator<Item = Ports> {
        self.rules.keys().copied()
    }

    /// The number of rules.
    pub fn len(&self) -> usize {
        self.rules.values().map(BTreeSet::len).sum()
    }

    /// Whether nothing is open.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a packet from an address to a public port is admitted. `protocol` is TCP or UDP.
    pub fn admits(&self, from: IpAddr, protocol: Protocol, port: u16) -> bool {
        self.rules()
            .any(|(ports, source)| ports.contains(protocol, port) && source.contains(from))
    }

    /// Both firewalls together: what either admits.
    #[must_use]
    pub fn and(&self, other: &Firewall) -> Firewall {
        let mut both = self.clone();
        for (ports, source) in other.rules() {
            both.add(ports, source);
        }
        both
    }

    /// The firewall with the ports of sshd open to everyone, except for those that a rule names: `22:
    /// 10.0.0.0/8` restricts SSH, and a firewall without a rule for it keeps it open.
    #[must_use]
    pub fn with_ssh(&self, ssh: &BTreeSet<u16>) -> Firewall {
        let mut open = self.clone();
        let is_named = |port: u16| {
            let mut ports = self.ports();
            ports.any(|ports| ports.protocol() == Protocol::Tcp && ports.names(port))
        };
        for port in ssh.iter().filter(|port| !is_named(**port)) {
            open.add(Ports::tcp(*port), Source::Everywhere);
        }
        open
    }

    /// The changes from an old firewall to this one, in the words of a manifest.
    pub fn changes_from(&self, old: &Firewall) -> Vec<Change> {
        let all: BTreeSet<Ports> = self.ports().chain(old.ports()).collect();
        let words = |firewall: &Firewall, ports: Ports| {
            let sources: Vec<String> = firewall.sources(ports).map(Source::to_string).collect();
            (!sources.is_empty()).then(|| sources.join(", "))
        };
        let changed = all.into_iter().filter_map(|ports| {
            let (before, now) = (words(old, ports), words(self, ports));
            (before != now).then(|| Change::new(ports.to_string(), before, now))
        });
        let mut changes: Vec<Change> = changed.collect();
        let flag = |is_set: bool, text: &str| is_set.then(|| text.to_owned());
        if self.log != old.log {
            let change = Change::new(LOG, flag(old.log, "true"), flag(self.log, "true"));
            changes.push(change);
        }
        if self.with_ufw != old.with_ufw {
            let change = Change::new(WITH, flag(old.with_ufw, UFW), flag(self.with_ufw, UFW));
            changes.push(change);
        }
        changes
    }

    /// One line for each rule and option: `80/tcp *`.
    pub fn to_lines(&self) -> String {
        let mut lines = String::new();
        for (ports, source) in self.rules() {
            lines.push_str(&format!("{ports} {source}\n"));
        }
        if self.log {
            lines.push_str("log true\n");
        }
        if self.with_ufw {
            lines.push_str("with ufw\n");
        }
        lines
    }

    /// Parses what [`Firewall::to_lines`] writes.
    pub fn from_lines(text: &str) -> Result<Self, String> {
        let mut firewall = Firewall::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some((LOG, "true")) => firewall.log = true,
                Some((WITH, UFW)) => firewall.with_ufw = true,
                Some((ports, source)) => firewall.add(ports.parse()?, source.parse()?),
                None => return Err(format!("invalid rule `{}`", shorten(line))),
            }
        }
        Ok(firewall)
    }
}

fn decode_source(item: &Value, what: &str) -> Result<Source, Invalid> {
    let text = item.to_text(what)?;
    text.parse().map_err(|cause| {
        let error = Invalid::new(item, format!("{what}: {cause}"));
        let is_name = text.contains(|c: char| c.is_alphabetic()) && !text.contains([':', '/', '$']);
        error.help(if is_name && !matches!(item.data, Data::Unknown(_)) {
            "write an address: a host name can mean another address tomorrow, and the rule would \
             still admit the old one"
                .to_owned()
        } else {
            "write \"*\", an address, a network such as 10.0.0.0/8, $internal_ips, or a list of these"
                .to_owned()
        })
    })
}
