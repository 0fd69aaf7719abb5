//! The cloud's firewall in front of a server, kept in step with the server's own.

use crate::{
    core::diagnostic::Diagnostic,
    docker::Port,
    inventory::Inventory,
    iptables::{self, Firewall, Ports, Source},
    provider::Node,
};

/// Makes the cloud's firewall admit what a server admits: the rules of its firewall, or without one the
/// public ports of its containers from everywhere. Changes only firewalls that hitc made for the server;
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
    let wanted = admitted(inventory, node).await?;
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

/// What a server admits.
async fn admitted(inventory: &Inventory, node: &Node) -> Result<Firewall, Diagnostic> {
    let machine = inventory.machine(node).await?;
    if let Some(installed) = iptables::observe(machine.as_ref()).await? {
        // A firewall that was changed by another program is left to the task that repairs it.
        let mut rules = installed.rules.map_err(|cause| {
            let message = format!("host `{}`: the firewall was changed: {cause}", node.name);
            Diagnostic::new(crate::core::diagnostic::Kind::Failed, message)
                .help("load it again with iptables.apply or ensemble.up".to_owned())
        })?;
        rules.log = false;
        rules.with_ufw = false;
        return Ok(rules);
    }
    let containers = inventory.containers(node, true).await?;
    let ports = containers.iter().flat_map(|container| &container.ports);
    Ok(published(ports))
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
