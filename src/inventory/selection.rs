//! Applies a [`Selection`] to the servers that exist.

use globset::{Glob, GlobMatcher};

use crate::{
    core::diagnostic::{Diagnostic, Kind, did_you_mean},
    fleet::Selection,
    inventory::Providers,
    provider::{Node, role},
};

impl Selection {
    /// The servers that are meant, in the order of `nodes`. An address that no server has means
    /// an unmanaged server.
    ///
    /// A part of the selection that matches nothing is an error; so is an empty result.
    pub fn apply(&self, nodes: &[Node], providers: &Providers) -> Result<Vec<Node>, Diagnostic> {
        let mut nodes = nodes.to_vec();
        let mut chosen = vec![self.all; nodes.len()];
        for host in &self.hosts {
            let glob = glob(host)?;
            let found = mark(&nodes, &mut chosen, |node| is_host(node, &glob));
            if found {
                continue;
            }
            let Some(node) = providers.by_address(host) else {
                return Err(nothing(
                    "server",
                    host,
                    nodes.iter().map(|n| n.name.as_str()),
                ));
            };
            nodes.push(node);
            chosen.push(true);
        }
        for wanted in &self.roles {
            let glob = glob(wanted)?;
            if !mark(&nodes, &mut chosen, |node| glob.is_match(role(&node.name))) {
                return Err(nothing("role", wanted, nodes.iter().map(|n| role(&n.name))));
            }
        }
        if !self.limit.is_empty() {
            let limited = meant(&nodes, &self.limit)?;
            for (chosen, limited) in chosen.iter_mut().zip(limited) {
                *chosen &= limited;
            }
        }
        for (chosen, excluded) in chosen.iter_mut().zip(meant(&nodes, &self.exclude)?) {
            *chosen &= !excluded;
        }
        let selected: Vec<Node> = nodes
            .into_iter()
            .zip(chosen)
            .filter_map(|(node, chosen)| chosen.then_some(node))
            .collect();
        if selected.is_empty() {
            return Err(Diagnostic::new(Kind::NotFound, "no server is selected")
                .help("`hitc run nodes` lists the servers there are".to_owned()));
        }
        Ok(selected)
    }
}

/// Which servers are meant by one of these names, addresses, roles or globs. One that means none
/// is not what was meant.
fn meant(nodes: &[Node], texts: &[String]) -> Result<Vec<bool>, Diagnostic> {
    let mut meant = vec![false; nodes.len()];
    for text in texts {
        let glob = glob(text)?;
        let is_meant = |node: &Node| is_host(node, &glob) || glob.is_match(role(&node.name));
        if !mark(nodes, &mut meant, is_meant) {
            let names = nodes.iter().map(|node| node.name.as_str());
            return Err(nothing("server", text, names));
        }
    }
    Ok(meant)
}

fn mark(nodes: &[Node], chosen: &mut [bool], wanted: impl Fn(&Node) -> bool) -> bool {
    let mut found = false;
    for (node, chosen) in nodes.iter().zip(chosen) {
        if wanted(node) {
            *chosen = true;
            found = true;
        }
    }
    found
}

fn is_host(node: &Node, glob: &GlobMatcher) -> bool {
    [&node.name, &node.ip, &node.internal_ip, &node.id]
        .into_iter()
        .any(|text| !text.is_empty() && glob.is_match(text))
}

fn glob(text: &str) -> Result<GlobMatcher, Diagnostic> {
    // An IPv6 address in brackets is no character class.
    let escaped = text.replace('[', "[[]");
    Glob::new(&escaped)
        .map(|glob| glob.compile_matcher())
        .map_err(|error| Diagnostic::new(Kind::Usage, format!("`{text}`: {}", error.kind())))
}

fn nothing<'a>(what: &str, wanted: &str, known: impl Iterator<Item = &'a str>) -> Diagnostic {
    let help = did_you_mean(wanted, known)
        .unwrap_or_else(|| "`hitc run nodes` lists the servers there are".to_owned());
    Diagnostic::new(Kind::NotFound, format!("there is no {what} `{wanted}`")).help(help)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::provider::{NodeState, Unmanaged};

    fn select(selection: &Selection) -> Result<Vec<String>, String> {
        let node = |name: &str, ip: &str| Node {
            provider: "local".to_owned(),
            name: name.to_owned(),
            id: format!("id-{name}"),
            size: String::new(),
            image: String::new(),
            ip: ip.to_owned(),
            internal_ip: String::new(),
            state: NodeState::Running,
            created: None,
            manifest: None,
            region: String::new(),
            is_protected: false,
        };
        let nodes = [
            node("web", "10.0.0.1"),
            node("web-1", "10.0.0.2"),
            node("db", "10.0.0.3"),
        ];
        let unmanaged = Unmanaged::new("".into());
        let providers = Providers::new(vec![Arc::new(unmanaged)]);
        selection
            .apply(&nodes, &providers)
            .map(|nodes| nodes.into_iter().map(|node| node.name).collect())
            .map_err(|error| format!("{}; {}", error.message, error.help.unwrap_or_default()))
    }

    fn texts(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn by_name_address_glob_and_role() {
        let hosts = |hosts: &[&str]| {
            select(&Selection {
                hosts: texts(hosts),
                ..Selection::default()
            })
        };
        assert_eq!(hosts(&["db"]).unwrap(), ["db"]);
        assert_eq!(hosts(&["10.0.0.2"]).unwrap(), ["web-1"]);
        assert_eq!(hosts(&["web*"]).unwrap(), ["web", "web-1"]);
        assert_eq!(hosts(&["192.0.2.9", "db"]).unwrap(), ["db", "192.0.2.9"]);
        assert_eq!(
            hosts(&["bd"]).unwrap_err(),
            "there is no server `bd`; did you mean `db`?"
        );
        let roles = Selection {
            roles: texts(&["web"]),
            ..Selection::default()
        };
        assert_eq!(select(&roles).unwrap(), ["web", "web-1"]);
    }

    #[test]
    fn a_limit_takes_away() {
        let mut selection = Selection {
            all: true,
            limit: texts(&["web"]),
            ..Selection::default()
        };
        assert_eq!(select(&selection).unwrap(), ["web", "web-1"]);
        selection.exclude = texts(&["web-1"]);
        assert_eq!(select(&selection).unwrap(), ["web"]);
        selection.limit = texts(&["wbe"]);
        assert_eq!(
            select(&selection).unwrap_err(),
            "there is no server `wbe`; did you mean `web`?"
        );
    }

    #[test]
    fn exclusion_comes_last() {
        let mut selection = Selection {
            all: true,
            exclude: texts(&["web-1"]),
            ..Selection::default()
        };
        assert_eq!(select(&selection).unwrap(), ["web", "db"]);
        selection.exclude = texts(&["web"]);
        assert_eq!(select(&selection).unwrap(), ["db"]);
        selection.exclude = texts(&["*"]);
        assert!(
            select(&selection)
                .unwrap_err()
                .starts_with("no server is selected")
        );
    }
}
