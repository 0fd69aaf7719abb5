//! What depends on what.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt,
};

use petgraph::{
    algo::toposort,
    graph::{DiGraph, NodeIndex},
    visit::EdgeRef,
};

use super::{
    Manifest,
    manifest::{Awaited, Tree},
};
use crate::core::{
    diagnostic::{Diagnostic, Kind},
    value::Span,
};

/// A server or a container of a manifest, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thing {
    /// A server.
    Server(String),
    /// A container: its server and its own name.
    Container(String, String),
}

impl Thing {
    /// The server that it is, or is on.
    pub fn server(&self) -> &str {
        match self {
            Thing::Server(server) | Thing::Container(server, _) => server,
        }
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Thing::Server(server) => f.write_str(server),
            Thing::Container(server, container) => write!(f, "{server}.{container}"),
        }
    }
}

/// The things of a manifest and their dependencies. An edge leads from a thing to one that needs
/// it, and says where that is written.
#[derive(Clone, Debug)]
pub struct Graph {
    graph: DiGraph<Thing, Option<Span>>,
    order: Vec<NodeIndex>,
}

impl Graph {
    /// The graph of a manifest. A cycle is an error that names all of it.
    pub fn of(manifest: &Manifest) -> Result<Self, Diagnostic> {
        let mut graph = DiGraph::new();
        let mut nodes = HashMap::new();
        for server in &manifest.servers {
            let thing = Thing::Server(server.name.clone());
            nodes.insert(thing.clone(), graph.add_node(thing));
            for container in &server.containers {
                let thing = Thing::Container(server.name.clone(), container.name.clone());
                nodes.insert(thing.clone(), graph.add_node(thing));
            }
        }
        let mut connect = |from: &Thing, to: &Thing, span: Option<Span>| {
            if let (Some(from), Some(to)) = (nodes.get(from), nodes.get(to)) {
                graph.update_edge(*from, *to, span);
            }
        };
        for server in &manifest.servers {
            let this = Thing::Server(server.name.clone());
            for (needed, span) in needs(manifest, &server.name, &server.options) {
                connect(&needed, &this, span);
            }
            for container in &server.containers {
                let thing = Thing::Container(server.name.clone(), container.name.clone());
                connect(&this, &thing, container.span.clone());
                for (needed, span) in needs(manifest, &server.name, &container.body) {
                    connect(&needed, &thing, span);
                }
            }
        }
        match toposort(&graph, None) {
            Ok(order) => Ok(Graph { graph, order }),
            Err(cycle) => Err(explain(manifest, &graph, cycle.node_id())),
        }
    }

    /// All things, each after those that it needs.
    pub fn things(&self) -> impl Iterator<Item = &Thing> {
        self.order.iter().map(|node| &self.graph[*node])
    }

    /// What a thing needs.
    pub fn needs(&self, thing: &Thing) -> impl Iterator<Item = &Thing> {
        let node = self
            .graph
            .node_indices()
            .find(|node| self.graph[*node] == *thing);
        let neighbors = node.into_iter().flat_map(|node| {
            self.graph
                .neighbors_directed(node, petgraph::Direction::Incoming)
        });
        neighbors.map(|node| &self.graph[node])
    }
}

/// The things that a value's variables wait for. A name waits for nothing.
fn needs(manifest: &Manifest, host: &str, tree: &Tree) -> Vec<(Thing, Option<Span>)> {
    let mut needs = Vec::new();
    for one in tree.uses() {
        let span = one.span.cloned();
        match one.variable.awaits(host) {
            Awaited::Nothing => {}
            Awaited::Server(server) => needs.push((Thing::Server(server.to_owned()), span)),
            Awaited::Container(server, container) => {
                let thing = Thing::Container(server.to_owned(), container.to_owned());
                needs.push((thing, span));
            }
            Awaited::AllServers => {
                let servers = manifest.servers.iter();
                needs.extend(
                    servers.map(|server| (Thing::Server(server.name.clone()), span.clone())),
                );
            }
        }
    }
    needs
}

/// An error with every step of a cycle, each where it is written.
fn explain(
    manifest: &Manifest,
    graph: &DiGraph<Thing, Option<Span>>,
    node: NodeIndex,
) -> Diagnostic {
    let path = cycle(graph, node);
    let names: Vec<String> = path.iter().map(|node| graph[*node].to_string()).collect();
    let message = format!(
        "servers and containers need each other: {}",
        names.join(" → ")
    );
    let mut diagnostic = Diagnostic::new(Kind::Usage, message)
        .help("one of them must do without the other".to_owned());
    for (thing, needed) in path.iter().zip(path.iter().skip(1)) {
        let span = graph
            .find_edge(*needed, *thing)
            .and_then(|edge| graph[edge].clone());
        if let Some(span) = span {
            diagnostic = diagnostic.at(&manifest.source, span);
            if let Some(excerpt) = diagnostic.excerpts.last_mut() {
                excerpt.label = format!("`{}` needs `{}`", graph[*thing], graph[*needed]);
            }
        }
    }
    diagnostic
}

/// A path from a node that is on a cycle back to itself, against the edges: each needs the next.
fn cycle(graph: &DiGraph<Thing, Option<Span>>, start: NodeIndex) -> Vec<NodeIndex> {
    // Breadth first: the shortest way round.
    let mut came_from = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for edge in graph.edges_directed(node, petgraph::Direction::Incoming) {
            let next = edge.source();
            if next == start {
                let mut path = vec![start];
                let mut at = node;
                while at != start {
                    path.push(at);
                    at = came_from.get(&at).copied().unwrap_or(start);
                }
                path.push(start);
                path.reverse();
                return path;
            }
            if let Entry::Vacant(entry) = came_from.entry(next) {
                entry.insert(node);
                queue.push_back(next);
            }
        }
    }
    vec![start]
}
