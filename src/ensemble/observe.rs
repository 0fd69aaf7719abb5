//! The observed state: a snapshot of the servers and containers of a manifest.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use data_encoding::HEXLOWER;
use futures_util::future::join_all;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    Manifest, World, cloud_firewall,
    manifest::{Facts, Variable},
    operation::ServerId,
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        owner::Owner,
        value::Invalid,
    },
    docker::{Binding, Container, Snapshot},
    iptables::{Firewall, Installed},
    provider::{Error, Node, NodeState, ServerChange},
    provision::{Difference, Running, admitted},
};

/// A snapshot of servers and their containers.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The servers of the manifest that exist, by name.
    pub servers: BTreeMap<String, ServerState>,
    /// Servers of this owner that are no longer in the manifest.
    pub extra: Vec<Node>,
    /// The differences of each existing server from its options, as far as the options are known.
    /// An error is one of the options.
    pub differences: HashMap<String, Result<Vec<ServerChange>, Invalid>>,
    /// What the registries have under the names of images that existing containers check (`pull:
    /// check`), by name.
    pub published: BTreeMap<String, Published>,
}

/// What a registry has under the name of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Published {
    /// The name cannot move: it contains a digest.
    Fixed,
    /// The digest of the image.
    Digest(String),
    /// The registry did not answer the question.
    Unknown(String),
}

impl Published {
    /// Asks the registry of an image.
    pub async fn ask(world: &dyn World, image: &str) -> Self {
        match world.published_digest(image).await {
            Ok(Some(digest)) => Published::Digest(digest),
            Ok(None) => Published::Fixed,
            Err(error) => Published::Unknown(error.message),
        }
    }
}

/// An existing server.
#[derive(Clone, Debug, Serialize)]
pub struct ServerState {
    /// The server, as its provider reports it.
    pub node: Node,
    /// The state of its engine.
    pub engine: EngineState,
    /// Its firewall.
    pub firewall: FirewallState,
    /// The cloud's firewall in front of it.
    pub cloud_firewall: Difference,
}

/// The firewall of a server.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FirewallState {
    /// The server does not run.
    Off,
    /// It could not be read.
    Unknown(#[serde(serialize_with = "message")] Diagnostic),
    /// hitc loaded none.
    Missing,
    /// hitc loaded one.
    Installed(#[serde(serialize_with = "words")] Installed),
}

/// What a plan depends on: not the number of dropped packets.
fn words<S: serde::Serializer>(found: &Installed, serializer: S) -> Result<S::Ok, S::Error> {
    let rules = found.rules.as_ref().map(Firewall::to_lines);
    serializer.collect_str(&format!("{} {rules:?}", found.owner))
}

/// The state of the Docker Engine of a server.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineState {
    /// The server does not run.
    Off,
    /// The server or its engine does not answer.
    Unknown(#[serde(serialize_with = "message")] Diagnostic),
    /// Docker is not installed.
    Missing,
    /// The engine runs.
    Running(Snapshot),
}

fn message<S: serde::Serializer>(error: &Diagnostic, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&error.message)
}

impl EngineState {
    /// The container with exactly this name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        // They are sorted by name.
        let containers = self.containers();
        let found = containers.binary_search_by(|container| container.name.as_str().cmp(name));
        found.ok().map(|at| &containers[at])
    }

    /// All containers.
    pub fn containers(&self) -> &[Container] {
        match self {
            EngineState::Running(snapshot) => &snapshot.containers,
            _ => &[],
        }
    }

    /// Whether a registry has an image under this digest, by the image's id.
    pub fn has_digest(&self, image_id: &str, digest: &str) -> bool {
        self.digests(image_id).any(|known| known == digest)
    }

    /// The digests that registries have for an image, by its id.
    pub fn digests(&self, image_id: &str) -> impl Iterator<Item = &str> {
        let known = match self {
            EngineState::Running(snapshot) => snapshot.digests.get(image_id),
            _ => None,
        };
        known.into_iter().flatten().map(String::as_str)
    }

    /// The id of the image with exactly this name.
    pub fn image_id(&self, image: &str) -> Option<&str> {
        match self {
            EngineState::Running(Snapshot { images, .. }) => {
                // The engine's default tag.
                let tagged = format!("{image}:latest");
                let id = images.get(image).or_else(|| images.get(&tagged));
                id.map(String::as_str)
            }
            _ => None,
        }
    }
}

impl Observed {
    /// A digest of everything that plans are made from. Two equal digests lead to equal plans.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for (name, state) in &self.servers {
            hasher.update(name);
            hasher.update(serde_json::to_vec(state).unwrap_or_default());
        }
        for node in &self.extra {
            hasher.update(serde_json::to_vec(node).unwrap_or_default());
        }
        if !self.published.is_empty() {
            hasher.update(serde_json::to_vec(&self.published).unwrap_or_default());
        }
        format!("sha256:{}", HEXLOWER.encode(&hasher.finalize()))
    }
}

/// Observes everything that a manifest describes: one listing per provider, one connection per
/// server, all at the same time.
///
/// A server that does not answer is part of the observed state. A provider that does not answer is
/// an error if the manifest uses it, and a warning otherwise: it may have servers of this owner
/// that are no longer in the manifest.
pub async fn observe(
    world: &dyn World,
    manifest: &Manifest,
    owner: &Owner,
) -> Result<Observed, Failure> {
    let nodes = list(world, manifest).await?;
    let (found, extra) = sort(manifest, owner, nodes)?;
    let mut found: BTreeMap<String, Node> = found;
    for server in &manifest.servers {
        if !found.contains_key(&server.name)
            && let Ok(provider) = world.providers().get(&server.provider)
            && let Some(node) = provider.by_address(&server.name)
        {
            found.insert(server.name.clone(), node);
        }
    }
    let states = found.values().map(async |node| {
        let (engine, firewall, bindings) = tokio::join!(
            look(world, node),
            look_at_firewall(world, node),
            cloud_firewall::bindings(world, node)
        );
        let state = ServerState {
            node: node.clone(),
            engine,
            firewall,
            cloud_firewall: Difference::None,
        };
        (state, bindings)
    });
    let (states, mut clouds) = tokio::join!(
        join_all(states),
        cloud_firewall::read(world, found.values())
    );
    let states = states.into_iter().map(|(mut state, bindings)| {
        let cloud = clouds.remove(&ServerId::of(&state.node));
        state.cloud_firewall = compare(&state, cloud, bindings);
        state
    });
    let servers: BTreeMap<String, ServerState> = found.into_keys().zip(states).collect();
    let facts = known_facts(manifest, &servers);
    let differences = differences(world, manifest, &servers, &facts);
    let published = published(world, manifest, &servers, &facts).await;
    Ok(Observed {
        servers,
        extra,
        differences,
        published,
    })
}

/// Asks the registries of the images that existing containers check, all at the same time.
async fn published(
    world: &dyn World,
    manifest: &Manifest,
    servers: &BTreeMap<String, ServerState>,
    facts: &Facts,
) -> BTreeMap<String, Published> {
    let mut images = BTreeSet::new();
    for server in &manifest.servers {
        let Some(state) = servers.get(&server.name) else {
            continue;
        };
        let existing = server.containers.iter();
        let existing = existing.filter(|c| state.engine.container(&c.name).is_some());
        let known = |variable: &Variable| facts.value(&server.name, variable);
        images.extend(existing.filter_map(|c| c.checked_image(&known)));
    }
    let asked = images.iter().map(|image| Published::ask(world, image));
    let answers = join_all(asked).await;
    images.into_iter().zip(answers).collect()
}

/// The servers of all providers.
async fn list(world: &dyn World, manifest: &Manifest) -> Result<Vec<Node>, Failure> {
    let providers = world.providers();
    let names = providers.names();
    let lists = names
        .iter()
        .map(async |name| providers.get(name)?.list().await);
    let lists = join_all(lists).await;
    let (mut nodes, mut errors) = (Vec::new(), Vec::new());
    for (name, listed) in names.into_iter().zip(lists) {
        let is_needed = manifest.servers.iter().any(|s| s.provider == name);
        match listed {
            Ok(found) => nodes.extend(found),
            Err(error) if is_needed => errors.push(Diagnostic::from(error)),
            Err(Error::NotConfigured { .. }) => {}
            Err(error) => world.events().warn(Diagnostic::from(error).to_string()),
        }
    }
    if errors.is_empty() {
        Ok(nodes)
    } else {
        Err(Failure(errors))
    }
}

/// The servers of a manifest by name, and those of its owner that are no longer in it.
type Sorted = (BTreeMap<String, Node>, Vec<Node>);

/// Finds the servers of a manifest. Of several with one name, the one of this owner counts; several
/// of this owner are an error that names them.
fn sort(manifest: &Manifest, owner: &Owner, nodes: Vec<Node>) -> Result<Sorted, Failure> {
    let mut candidates: BTreeMap<String, Vec<Node>> = BTreeMap::new();
    let mut extra = Vec::new();
    for node in nodes {
        let server = manifest.server(&node.name);
        if server.is_some_and(|server| server.provider == node.provider) {
            candidates.entry(node.name.clone()).or_default().push(node);
        } else if node.owner.is(owner) {
            extra.push(node);
        }
    }
    extra.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let (mut found, mut errors) = (BTreeMap::new(), Vec::new());
    for (name, mut nodes) in candidates {
        if nodes.iter().any(|node| node.owner.is(owner)) {
            nodes.retain(|node| node.owner.is(owner));
        }
        if nodes.len() > 1 {
            errors.push(duplicate(&name, &nodes));
        } else if let Some(node) = nodes.pop() {
            found.insert(name, node);
        }
    }
    if errors.is_empty() {
        Ok((found, extra))
    } else {
        Err(Failure(errors))
    }
}

fn duplicate(name: &str, nodes: &[Node]) -> Diagnostic {
    let describe = |node: &Node| match node.created {
        Some(created) => format!("{} (created {created})", node.id),
        None => node.id.clone(),
    };
    let ids: Vec<String> = nodes.iter().map(describe).collect();
    let message = format!("several servers are called `{name}`: {}", ids.join(", "));
    Diagnostic::new(Kind::Failed, message)
        .help("rename or terminate all but one of them at the provider".to_owned())
}

/// Observes the engine of a server.
pub async fn look(world: &dyn World, node: &Node) -> EngineState {
    if node.state != NodeState::Running {
        return EngineState::Off;
    }
    match world.engine(node).await {
        Err(error) => EngineState::Unknown(error),
        Ok(None) => EngineState::Missing,
        Ok(Some(engine)) => match engine.snapshot().await {
            Ok(snapshot) => EngineState::Running(snapshot),
            Err(error) => EngineState::Unknown(error.into()),
        },
    }
}

/// Observes the firewall of a server.
async fn look_at_firewall(world: &dyn World, node: &Node) -> FirewallState {
    if node.state != NodeState::Running {
        return FirewallState::Off;
    }
    match world.firewall(node).await {
        Err(error) => FirewallState::Unknown(error),
        Ok(None) => FirewallState::Missing,
        Ok(Some(installed)) => FirewallState::Installed(installed),
    }
}

/// Compares the cloud's firewall in front of a server with what the server admits.
fn compare(
    state: &ServerState,
    cloud: Option<cloud_firewall::Read>,
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

/// The facts about the servers that run.
fn known_facts(manifest: &Manifest, servers: &BTreeMap<String, ServerState>) -> Facts {
    let mut facts = Facts::of(manifest);
    for state in servers.values() {
        if state.node.state == NodeState::Running {
            facts.server(&state.node);
        }
    }
    facts
}

/// Compares existing servers with their options. Skips options that refer to servers that do not
/// run: it is decided first whether these servers change.
fn differences(
    world: &dyn World,
    manifest: &Manifest,
    servers: &BTreeMap<String, ServerState>,
    facts: &Facts,
) -> HashMap<String, Result<Vec<ServerChange>, Invalid>> {
    let mut found = HashMap::new();
    for server in &manifest.servers {
        let Some(state) = servers.get(&server.name) else {
            continue;
        };
        let options = server.options.resolve(&|v| facts.value(&server.name, v));
        if let Ok(options) = options
            && let Ok(provider) = world.providers().of(&state.node)
        {
            found.insert(server.name.clone(), provider.changes(&state.node, &options));
        }
    }
    found
}
