//! Observes the clouds' firewalls in front of servers.

use std::collections::HashMap;

use futures_util::future::join_all;

use super::{World, operation::ServerId};
use crate::{
    core::diagnostic::Diagnostic,
    docker::Binding,
    provider::{CloudFirewall, Node, NodeState},
};

/// The cloud's firewall in front of a server, or why it could not be read.
pub type Read = Result<CloudFirewall, Diagnostic>;

/// Reads the clouds' firewalls in front of the servers that run, at the same time for each provider.
/// Returns nothing for a server without one.
pub async fn read(
    world: &dyn World,
    nodes: impl Iterator<Item = &Node>,
) -> HashMap<ServerId, Read> {
    let mut by_provider: HashMap<&str, Vec<Node>> = HashMap::new();
    for node in nodes.filter(|node| has_one(world, node)) {
        let nodes = by_provider.entry(&node.provider).or_default();
        nodes.push(node.clone());
    }
    let reads = by_provider.into_iter().map(async |(name, nodes)| {
        let provider = world.providers().get(name);
        let found = match provider {
            Ok(provider) => provider.firewalls(&nodes).await,
            Err(error) => Err(error),
        };
        let found = found.map_err(Diagnostic::from);
        let of = |node: &Node| match &found {
            Ok(found) => found.get(&node.id).cloned().map(Ok),
            Err(error) => Some(Err(error.clone())),
        };
        let reads = nodes
            .iter()
            .map(|node| Some((ServerId::of(node), of(node)?)));
        reads.flatten().collect::<Vec<_>>()
    });
    join_all(reads).await.into_iter().flatten().collect()
}

/// The ports that were published while containers ran; only read where a cloud's firewall may be in front.
pub async fn bindings(world: &dyn World, node: &Node) -> Result<Vec<Binding>, Diagnostic> {
    if has_one(world, node) {
        world.bindings(node).await
    } else {
        Ok(Vec::new())
    }
}

fn has_one(world: &dyn World, node: &Node) -> bool {
    let provider = world.providers().of(node);
    node.state == NodeState::Running && provider.is_ok_and(|provider| provider.has_firewalls())
}
