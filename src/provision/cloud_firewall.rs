//! The cloud's firewall in front of a server, kept in step with the server's own.

use crate::{
    core::{diagnostic::Diagnostic, owner::Ownership},
    docker::{self, Port},
    inventory::Inventory,
    iptables::{self, Firewall, Ports, Source},
    provider::Node,
};

/// Makes the cloud's firewall admit what a server admits: the rules of its firewall, or without one the
/// public ports of the containers that hitc made, and those that it bound, from everywhere. Changes only firewalls that hitc made for the server;
/// of others it says which rules are missing. A firewall that cannot be read is a warning.
pub async fn keep_open(inventory: &Inventory, node: &Node) -> Result<(), Diagnostic> {
    let provider = inventory.providers.of(node)?;
    if !provider.has_firewalls() {
        return Ok(());
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
            return Ok(());
        }
    };
    let Some(cloud) = firewalls.remove(&node.id) else {
        return Ok(());
    };
    let Some(wanted) = admitted(inventory, node).await? else {
        events.warn(format!(
            "server `{}`: another program changed its firewall, so the cloud's is left as it is: load \
             the server's again with iptables.apply or ensemble.up",
            node.name
        ));
        return Ok(());
    };
    let Some(open) = &cloud.managed else {
        for (ports, source) in cloud.missing(&wanted).rules() {
            events.warn(format!(
                "server `{}`: {} at {} does not admit {ports} from {source}: add the rule there",
                node.name, cloud.name, node.provider
            ));
        }
        return Ok(());
    };
    let changes = wanted.changes_from(open);
    if changes.is_empty() {
        return Ok(());
    }
    provider.set_firewall(node, &wanted).await?;
    for change in changes {
        let (old, new) = (change.old, change.new);
        let now = new.map_or("closed".to_owned(), |new| format!("open to {new}"));
        let before = old.map_or(String::new(), |old| format!(", before to {old}"));
        let text = format!("{} at {}: {now}{before}", change.field, node.provider);
        events.note(format!("{}: {text}", node.name));
    }
    Ok(())
}

/// What a server admits. None if another program changed its firewall.
async fn admitted(inventory: &Inventory, node: &Node) -> Result<Option<Firewall>, Diagnostic> {
    let machine = inventory.machine(node).await?;
    if let Some(installed) = iptables::observe(machine.as_ref()).await? {
        // A cloud's firewall has the rules only, not the options.
        return Ok(installed
            .rules
            .ok()
            .map(|rules| Firewall::default().and(&rules)));
    }
    let containers = inventory.containers(node, true).await?;
    let bindings = docker::bindings(machine.as_ref()).await?;
    // A container that somebody else runs was not reachable before, and stays so.
    let made = containers
        .iter()
        .filter(|container| matches!(container.owner, Ownership::Owner(_)));
    let bound = bindings.iter().filter(|bound| {
        let mut running = containers.iter().filter(|found| found.state == "running");
        running.any(|found| found.id == bound.container)
    });
    let ports = made.flat_map(|container| &container.ports);
    Ok(Some(published(ports.chain(bound.map(|bound| &bound.port)))))
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
