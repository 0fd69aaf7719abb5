//! What is really there: one look at everything, at once.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::Manifest;
use crate::{
    core::diagnostic::{Diagnostic, Failure},
    docker::{self, Containers, Engine},
    inventory::Inventory,
    provider::{Error, Node, NodeState},
};

/// Everything that was found, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The servers of the manifest that are there, by name.
    pub servers: BTreeMap<String, ServerState>,
    /// Servers that were made for the manifest and are no longer in it.
    pub extra: Vec<Node>,
}

/// A server that is there.
#[derive(Clone, Debug)]
pub struct ServerState {
    /// What its provider says of it.
    pub node: Node,
    /// What runs on it.
    pub engine: EngineState,
}

/// What is known of a server's Docker engine.
#[derive(Clone, Debug)]
pub enum EngineState {
    /// Nothing: the server does not run.
    Off,
    /// Nothing: the server does not answer.
    Unreachable(Diagnostic),
    /// There is none that runs.
    Missing,
    /// It runs.
    Running {
        /// All its containers.
        containers: Vec<docker::Container>,
        /// The image that it has under each name.
        images: BTreeMap<String, String>,
    },
}

impl EngineState {
    /// A container by name.
    pub fn container(&self, name: &str) -> Option<&docker::Container> {
        match self {
            EngineState::Running { containers, .. } => {
                containers.iter().find(|container| container.name == name)
            }
            _ => None,
        }
    }

    /// All containers.
    pub fn containers(&self) -> &[docker::Container] {
        match self {
            EngineState::Running { containers, .. } => containers,
            _ => &[],
        }
    }

    /// What the engine has under an image's name.
    pub fn image_id(&self, image: &str) -> Option<&str> {
        match self {
            EngineState::Running { images, .. } => {
                // Without a tag it is the latest.
                let tagged = format!("{image}:latest");
                let id = images.get(image).or_else(|| images.get(&tagged));
                id.map(String::as_str)
            }
            _ => None,
        }
    }
}

/// NodePoll at everything that a manifest is about: one call a provider, one connection a server.
///
/// A server that does not answer is part of what was found; a provider that does not is an error,
/// if the manifest names it. The others are asked too: what was made for the manifest once may be
/// there.
pub async fn observe(inventory: &Inventory, manifest: &Manifest) -> Result<Observed, Failure> {
    let names = inventory.providers.names();
    let lists = join_all(names.iter().map(|name| list(inventory, name))).await;
    let (mut nodes, mut errors) = (Vec::new(), Vec::new());
    for (name, listed) in names.into_iter().zip(lists) {
        let is_needed = manifest.servers.iter().any(|s| s.provider == name);
        match listed {
            Ok(found) => nodes.extend(found),
            Err(error) if is_needed => errors.push(Diagnostic::from(error)),
            Err(Error::NotConfigured { .. }) => {}
            Err(error) => inventory.warn([error]),
        }
    }
    if !errors.is_empty() {
        return Err(Failure(errors));
    }
    let mut observed = Observed::default();
    let mut found = Vec::new();
    for node in nodes {
        let server = manifest.server(&node.name);
        if server.is_some_and(|server| server.provider == node.provider) {
            found.push(node);
        } else if node.manifest.as_ref() == Some(&manifest.id) {
            observed.extra.push(node);
        }
    }
    for server in &manifest.servers {
        if !found.iter().any(|node| node.name == server.name)
            && let Some(node) = inventory
                .providers
                .get(&server.provider)
                .ok()
                .and_then(|provider| provider.by_address(&server.name))
        {
            found.push(node);
        }
    }
    let engines = join_all(found.iter().map(|node| look(inventory, node))).await;
    for (node, engine) in found.into_iter().zip(engines) {
        let state = ServerState {
            node: node.clone(),
            engine,
        };
        observed.servers.insert(node.name, state);
    }
    Ok(observed)
}

async fn list(inventory: &Inventory, provider: &str) -> Result<Vec<Node>, Error> {
    inventory.providers.get(provider)?.list().await
}

/// NodePoll at what runs on a server.
pub(super) async fn look(inventory: &Inventory, node: &Node) -> EngineState {
    if node.state != NodeState::Running {
        return EngineState::Off;
    }
    match inventory.find_engine(node).await {
        Err(error) => EngineState::Unreachable(error),
        Ok(None) => EngineState::Missing,
        Ok(Some(engine)) => look_inside(&engine)
            .await
            .unwrap_or_else(|error| EngineState::Unreachable(error.into())),
    }
}

async fn look_inside(engine: &Engine) -> Result<EngineState, docker::Error> {
    let docker::Snapshot { containers, images } = engine.snapshot().await?;
    Ok(EngineState::Running { containers, images })
}
