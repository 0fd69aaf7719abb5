//! The cloud's firewall in front of a server, kept in step with the server's own.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    core::{change::Change, diagnostic::Diagnostic, owner::Ownership},
    docker::{self, Binding, Container, Listed, Port},
    inventory::Inventory,
    iptables::{self, Firewall, Installed, Ports, Source},
    provider::{CloudFirewall, Node},
};

/// How the cloud's firewall in front of a server differs from what the server admits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// Nothing is to be done: what the server admits reaches it.
    None,
    /// The changes of a firewall that hitc made for the server.
    Behind(Vec<Change>),
    /// What a firewall of the user does not admit, a sentence for each rule.
    Lacks(Vec<String>),
    /// It could not be read. The cause.
    Unknown(String),
}

impl Difference {
    /// Compares the cloud's firewall in front of a server with what the server admits.
    pub fn of(node: &Node, cloud: &CloudFirewall, admitted: &Firewall) -> Self {
        let at = &node.provider;
        if let Some(open) = &cloud.managed {
            let mut changes = admitted.changes_from(open);
            for change in &mut changes {
                change.field = format!("{} at {at}", change.field);
            }
            return if changes.is_empty() {
                Difference::None
            } else {
                Difference::Behind(changes)
            };
        }
        let missing = cloud.missing(admitted);
        let missing = missing.rules().map(|(ports, source)| {
            let (server, name) = (&node.name, &cloud.name);
            format!(
                "server `{server}`: {name} at {at} does not admit {ports} from {source}: add the rule there"
            )
        });
        let missing: Vec<String> = missing.collect();
        if missing.is_empty() {
            Difference::None
        } else {
            Difference::Lacks(missing)
        }
    }
}

/// Makes the cloud's firewall admit what a server admits. Changes only a firewall that hitc made for the
/// server, and returns whether it did; of others it says which rules are missing. A firewall that cannot be
/// read is a warning.
pub async fn keep_open(inventory: &Inventory, node: &Node) -> Result<bool, Diagnostic> {
    let provider = inventory.providers.of(node)?;
    if !provider.has_firewalls() {
        return Ok(false);
    }
    let events = &inventory.context.events;
    let mut firewalls = match provider.firewalls(std::slice::from_ref(node)).await {
        Ok(firewalls) => firewalls,
        // The credentials may not allow it. What was done on the server is done.
        Err(error) => {
            events.warn(format!(
                "server `{}`: whether a firewall at {} is in front of it is unknown: {error}",
                node.name, node.provider
            ));
            return Ok(false);
        }
    };
    let Some(cloud) = firewalls.remove(&node.id) else {
        return Ok(false);
    };
    let machine = inventory.machine(node).await?;
    let installed = iptables::observe(machine.as_ref()).await?;
    let (containers, bindings) = match installed {
        Some(_) => (Vec::new(), Vec::new()),
        None => (
            inventory.containers(node, true).await?,
            docker::bindings(machine.as_ref()).await?,
        ),
    };
    let running = containers.iter().filter_map(Running::of_listed);
    let Some(admitted) = admitted(installed.as_ref(), running, &bindings) else {
        events.warn(format!(
            "server `{}`: another program changed its firewall, so the cloud's is left as it is: load \
             the server's again with iptables.apply or ensemble.up",
            node.name
        ));
        return Ok(false);
    };
    match Difference::of(node, &cloud, &admitted) {
        Difference::None | Difference::Unknown(_) => Ok(false),
        Difference::Lacks(missing) => {
            for sentence in missing {
                events.warn(sentence);
            }
            Ok(false)
        }
        Difference::Behind(changes) => {
            provider.set_firewall(node, &admitted).await?;
            for change in changes {
                let (old, new) = (change.old, change.new);
                let now = new.map_or("closed".to_owned(), |new| format!("open to {new}"));
                let before = old.map_or(String::new(), |old| format!(", before to {old}"));
                events.note(format!("{}: {}: {now}{before}", node.name, change.field));
            }
            Ok(true)
        }
    }
}

/// A running container and its ports.
pub struct Running<'a> {
    id: &'a str,
    /// A container of another program was not reachable before, and stays so.
    is_made_by_hitc: bool,
    ports: &'a BTreeSet<Port>,
}

impl<'a> Running<'a> {
    /// A listed container, if it runs.
    fn of_listed(container: &'a Listed) -> Option<Self> {
        let holds_processes = !matches!(container.state.as_str(), "created" | "exited" | "dead");
        holds_processes.then_some(Running {
            id: &container.id,
            is_made_by_hitc: matches!(container.owner, Ownership::Owner(_)),
            ports: &container.ports,
        })
    }

    /// A container, if it runs.
    pub fn of(container: &'a Container) -> Option<Self> {
        container.state.holds_processes().then(|| Running {
            id: &container.id,
            is_made_by_hitc: matches!(container.ownership(), Ownership::Owner(_)),
            ports: container.ports(),
        })
    }
}

/// What a server admits: the rules of its firewall, or without one the public ports of the containers that
/// hitc made, and those that it bound, from everywhere. None if another program changed its firewall.
pub fn admitted<'a>(
    installed: Option<&Installed>,
    running: impl Iterator<Item = Running<'a>>,
    bindings: &[Binding],
) -> Option<Firewall> {
    if let Some(installed) = installed {
        // A cloud's firewall has the rules only, not the options.
        let rules = installed.rules.as_ref().ok();
        return rules.map(|rules| Firewall::default().and(rules));
    }
    let mut ports: BTreeSet<Port> = BTreeSet::new();
    for container in running {
        if container.is_made_by_hitc {
            ports.extend(container.ports);
        }
        let bound = bindings
            .iter()
            .filter(|bound| bound.container == container.id);
        ports.extend(bound.map(|bound| bound.port));
    }
    Some(published(ports.iter()))
}

/// The ports that face other networks, open to everyone.
fn published<'a>(ports: impl Iterator<Item = &'a Port>) -> Firewall {
    let mut firewall = Firewall::default();
    for port in ports.filter(|port| port.is_public()) {
        let text = format!("{}/{}", port.public, port.protocol);
        for ports in Ports::parse(&text).unwrap_or_default() {
            firewall.add(ports, Source::Everywhere);
        }
    }
    firewall
}
