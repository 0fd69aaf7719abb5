//! Applies a [`Selection`] to the servers that exist.
//!
//! A selection means the servers of the project. A server of another owner is reached only by its
//! full name, address or id, and only with `--any-owner`.

use globset::{Glob, GlobMatcher};

use crate::{
    core::diagnostic::{Diagnostic, Kind, did_you_mean},
    fleet::Selection,
    inventory::Providers,
    provider::{Node, refuse_duplicates, role},
};

impl Selection {
    /// Selects from `nodes`, and keeps their order. `project` is the id of the user's project. An
    /// address that no server has selects an unmanaged server.
    ///
    /// It is an error if a part of the selection matches nothing, or if two selected servers of one
    /// provider share a name. Containers are left out: [`super::containers`] selects them.
    pub(super) fn choose(
        &self,
        nodes: &[Node],
        project: Option<&str>,
        providers: &Providers,
    ) -> Result<Vec<Node>, Diagnostic> {
        let mut nodes = nodes.to_vec();
        let mut own: Vec<bool> = nodes
            .iter()
            .map(|node| node.is_of_project(project))
            .collect();
        let mut chosen: Vec<bool> = own.iter().map(|own| self.all && *own).collect();
        for host in self.hosts.iter().filter(|host| !is_pattern(host)) {
            let glob = glob(host)?;
            let matching: Vec<usize> = (0..nodes.len())
                .filter(|&at| is_host(&nodes[at], &glob))
                .collect();
            let may = |at: &&usize| own[**at] || self.any_owner && !is_glob(host);
            let allowed: Vec<usize> = matching.iter().filter(may).copied().collect();
            for &at in &allowed {
                chosen[at] = true;
            }
            if !allowed.is_empty() {
                continue;
            }
            if let Some(&other) = matching.first() {
                return Err(of_other_owner(host, &nodes[other], matching.len()));
            }
            let Some(node) = providers.by_address(host) else {
                return Err(not_found("server", host, names(&nodes, &own)));
            };
            nodes.push(node);
            own.push(true);
            chosen.push(true);
        }
        for wanted in &self.roles {
            let glob = glob(wanted)?;
            let has_role = |node: &Node| glob.is_match(role(&node.name));
            let mut is_found = false;
            for (at, node) in nodes.iter().enumerate() {
                if own[at] && has_role(node) {
                    chosen[at] = true;
                    is_found = true;
                }
            }
            if is_found {
                continue;
            }
            let others: Vec<&Node> = nodes.iter().filter(|node| has_role(node)).collect();
            return Err(match others.as_slice() {
                [] => not_found("role", wanted, names(&nodes, &own).map(role)),
                [other, ..] => of_other_owner(wanted, other, others.len()),
            });
        }
        if !self.limit.is_empty() {
            let limited = matching(&nodes, &own, &servers_only(&self.limit))?;
            for (chosen, limited) in chosen.iter_mut().zip(limited) {
                *chosen &= limited;
            }
        }
        for (chosen, excluded) in
            chosen
                .iter_mut()
                .zip(matching(&nodes, &own, &servers_only(&self.exclude))?)
        {
            *chosen &= !excluded;
        }
        let selected: Vec<Node> = nodes
            .into_iter()
            .zip(chosen)
            .filter_map(|(node, chosen)| chosen.then_some(node))
            .collect();
        refuse_duplicates(&selected)?;
        Ok(selected)
    }
}

/// The error of a selection that leaves nothing.
pub(super) fn nothing_selected() -> Diagnostic {
    Diagnostic::new(Kind::NotFound, "no server is selected")
        .help("`hitc run nodes` lists the servers".to_owned())
}

/// Returns which servers match one of these names, addresses, roles or globs. A text that matches
/// none is an error: it is probably misspelt.
pub(super) fn matching(
    nodes: &[Node],
    own: &[bool],
    texts: &[String],
) -> Result<Vec<bool>, Diagnostic> {
    let mut all = vec![false; nodes.len()];
    for text in texts {
        let glob = glob(text)?;
        let mut is_found = false;
        for (node, matches) in nodes.iter().zip(&mut all) {
            if is_host(node, &glob) || glob.is_match(role(&node.name)) {
                *matches = true;
                is_found = true;
            }
        }
        if !is_found {
            return Err(not_found("server", text, names(nodes, own)));
        }
    }
    Ok(all)
}

/// The names of the project's servers.
fn names<'a>(nodes: &'a [Node], own: &'a [bool]) -> impl Iterator<Item = &'a str> {
    let own = nodes.iter().zip(own).filter(|(_, own)| **own);
    own.map(|(node, _)| node.name.as_str())
}

/// Whether a part of a selection means containers. The names of servers contain no slash.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains('/')
}

/// The parts of a selection that mean servers.
pub(super) fn servers_only(texts: &[String]) -> Vec<String> {
    let servers = texts.iter().filter(|text| !is_pattern(text));
    servers.cloned().collect()
}

pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '{'])
}

pub(super) fn is_host(node: &Node, glob: &GlobMatcher) -> bool {
    [
        &node.name,
        &node.ip_text(),
        &node.internal_ip_text(),
        &node.id,
    ]
    .into_iter()
    .any(|text| !text.is_empty() && glob.is_match(text))
}

pub(super) fn glob(text: &str) -> Result<GlobMatcher, Diagnostic> {
    // An IPv6 address in brackets is not a character class.
    let escaped = text.replace('[', "[[]");
    Glob::new(&escaped)
        .map(|glob| glob.compile_matcher())
        .map_err(|error| {
            let message = format!("invalid glob `{text}`: {}", error.kind());
            Diagnostic::new(Kind::Usage, message)
        })
}

fn not_found<'a>(what: &str, wanted: &str, known: impl Iterator<Item = &'a str>) -> Diagnostic {
    let help = did_you_mean(wanted, known)
        .unwrap_or_else(|| "`hitc run nodes` lists the servers".to_owned());
    Diagnostic::new(Kind::NotFound, format!("{what} `{wanted}` not found")).help(help)
}

/// The error if only servers of other owners match `wanted`; `node` is the first of `count`.
fn of_other_owner(wanted: &str, node: &Node, count: usize) -> Diagnostic {
    let Node { name, owner, .. } = node;
    let message = if count == 1 && *name == wanted {
        format!("server `{name}` {owner}")
    } else if count == 1 {
        format!("`{wanted}` matches only server `{name}`, which {owner}")
    } else {
        format!("`{wanted}` matches only servers of other owners: {count}, such as `{name}`")
    };
    Diagnostic::new(Kind::NotFound, message).help(format!(
        "select it with `-H {name} --any-owner`; `hitc nodes --any-owner` lists all servers and \
         their owners"
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        core::owner::{Owner, Ownership},
        provider::{Address, NodeState, Unmanaged},
    };

    const PROJECT: &str = "1";

    fn owner(project: &str) -> Ownership {
        Ownership::Owner(Owner {
            project: project.to_owned(),
            manifest: None,
        })
    }

    fn select(selection: &Selection) -> Result<Vec<String>, String> {
        let node = |name: &str, ip: &str, owner| Node {
            provider: "local".to_owned(),
            name: name.to_owned(),
            id: format!("id-{ip}"),
            size: String::new(),
            image: String::new(),
            ip: Address::parse_ip(ip),
            internal_ip: None,
            state: NodeState::Running,
            created: None,
            owner,
            user: None,
            region: String::new(),
            is_protected: false,
            container: None,
        };
        let nodes = [
            node("web", "10.0.0.1", owner(PROJECT)),
            node("web-1", "10.0.0.2", owner(PROJECT)),
            node("db", "10.0.0.3", owner(PROJECT)),
            node("web-2", "10.0.0.4", owner("2")),
            node("old", "10.0.0.5", Ownership::Legacy(None)),
            node("old", "10.0.0.6", Ownership::Legacy(None)),
        ];
        let unmanaged = Unmanaged::new("".into());
        let providers = Providers::new(vec![Arc::new(unmanaged)]);
        selection
            .choose(&nodes, Some(PROJECT), &providers)
            .and_then(|nodes| match nodes.as_slice() {
                [] => Err(nothing_selected()),
                _ => Ok(nodes.into_iter().map(|node| node.name).collect()),
            })
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
            "server `bd` not found; did you mean `db`?"
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
            "server `wbe` not found; did you mean `web`?"
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

    #[test]
    fn other_owners_need_the_flag() {
        let error = |hosts: &[&str], any_owner| {
            select(&Selection {
                hosts: texts(hosts),
                any_owner,
                ..Selection::default()
            })
        };
        let refused = error(&["web-2"], false).unwrap_err();
        assert!(
            refused.starts_with("server `web-2` belongs to project 2; ")
                && refused.contains("-H web-2 --any-owner"),
            "{refused}"
        );
        // Nor by its address or id: it is no unmanaged server either.
        for host in ["10.0.0.4", "id-10.0.0.4"] {
            let refused = error(&[host], false).unwrap_err();
            assert!(refused.contains("belongs to project 2"), "{refused}");
        }
        assert_eq!(error(&["web-2"], true).unwrap(), ["web-2"]);
        // Globs, roles and --all mean the project's own, also with the flag.
        assert_eq!(error(&["web*"], true).unwrap(), ["web", "web-1"]);
        let refused = error(&["ol*"], true).unwrap_err();
        assert!(
            refused.starts_with("`ol*` matches only servers of other owners: 2"),
            "{refused}"
        );
        for (roles, all) in [(vec!["web"], false), (vec![], true)] {
            let selected = select(&Selection {
                roles: texts(&roles),
                all,
                any_owner: true,
                ..Selection::default()
            });
            assert!(!selected.unwrap().contains(&"web-2".to_owned()));
        }
        // Two of one name are told apart by their ids.
        let refused = error(&["old"], true).unwrap_err();
        assert!(
            refused
                .starts_with("two servers at local are named `old`: id-10.0.0.5, and id-10.0.0.6"),
            "{refused}"
        );
        assert_eq!(error(&["id-10.0.0.6"], true).unwrap(), ["old"]);
    }
}
