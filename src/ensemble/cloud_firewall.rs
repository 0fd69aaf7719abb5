//! Observes the clouds' firewalls in front of servers.

use std::collections::HashMap;

use futures_util::future::join_all;

use super::{
    EngineState, World,
    observe::{FirewallState, ServerState},
    operation::ServerId,
};
use crate::{
    core::diagnostic::Diagnostic,
    docker::Binding,
    provider::{CloudFirewall, Node, NodeState},
    provision::{Difference, Running, admitted},
};

/// The cloud's firewall in front of a server, or why it could not be read.
type Read = Result<CloudFirewall, Diagnostic>;

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

/// Compares the cloud's firewall in front of a server with what the server admits.
pub fn compare(
    state: &ServerState,
    cloud: Option<Read>,
    bindings: Result<Vec<Binding>, Diagnostic>,
) -> Difference {
    let Some(cloud) = cloud else {
        return Difference::None;
    };
    let installed = match &state.firewall {
        FirewallState::Installed(installed) => Some(installed),
        FirewallState::Missing => None,
        // The server is off, or does not answer: the plan says so.
        FirewallState::Off | FirewallState::Unknown(_) => return Difference::None,
    };
    if installed.is_none() && matches!(state.engine, EngineState::Unknown(_)) {
        return Difference::None;
    }
    let read = cloud.and_then(|cloud| Ok((cloud, bindings?)));
    let (cloud, bindings) = match read {
        Ok(read) => read,
        Err(error) => return Difference::Unknown(error.message),
    };
    let running = state.engine.containers().iter().filter_map(Running::of);
    match admitted(installed, running, &bindings) {
        Some(admitted) => Difference::of(&state.node, &cloud, &admitted),
        // Another program changed the server's firewall: it is loaded again first.
        None => Difference::None,
    }
}

fn has_one(world: &dyn World, node: &Node) -> bool {
    let provider = world.providers().of(node);
    node.state == NodeState::Running && provider.is_ok_and(|provider| provider.has_firewalls())
}
