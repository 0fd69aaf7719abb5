//! The graph of dependencies between the resources of a manifest.

use std::collections::{HashMap, HashSet, VecDeque, hash_map::Entry};

use petgraph::{
    Direction,
    algo::toposort,
    graph::{DiGraph, NodeIndex},
    visit::EdgeRef,
};

use super::{
    Manifest,
    manifest::{Awaited, Tree},
    resource::ResourceName,
};
use crate::core::{
    diagnostic::{Diagnostic, Kind},
    value::Span,
};

/// A node of the graph.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Node {
    /// A resource.
    Resource(ResourceName),
    /// All servers of the manifest, for `$internal_ips` and `$servers`. Without it, a thousand
    /// containers that use these on a thousand servers would be a million edges.
    AllServers,
}

/// What a resource needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need<'a> {
    /// Another resource.
    Resource(&'a ResourceName),
    /// All servers of the manifest.
    AllServers,
}

/// The resources of a manifest and their dependencies. An edge leads from a resource to a dependent
/// one, and has the place of the reference in the manifest.
#[derive(Clone, Debug)]
pub struct Graph {
    edges: DiGraph<Node, Option<Span>>,
    index: HashMap<Node, NodeIndex>,
    order: Vec<NodeIndex>,
}

impl Graph {
    /// The graph of a manifest. A cycle is an error that names every resource on it.
    pub fn of(manifest: &Manifest) -> Result<Self, Diagnostic> {
        let count = manifest.resources() + 1;
        let mut graph = DiGraph::with_capacity(count, count);
        let mut index = HashMap::with_capacity(count);
        let mut add = |node: Node| {
            index.insert(node.clone(), graph.add_node(node));
        };
        add(Node::AllServers);
        for server in &manifest.servers {
            add(Node::Resource(ResourceName::Server(server.name.clone())));
            add(Node::Resource(ResourceName::Firewall(server.name.clone())));
            for container in &server.containers {
                let name = ResourceName::Container(server.name.clone(), container.name.clone());
                add(Node::Resource(name));
            }
        }
        // An edge once, however often a manifest says it. Looking in the graph whether an edge exists
        // would take as long as a node has edges.
        let mut connect = |needed: Vec<(Node, Option<Span>)>, by: &Node| {
            let mut seen = HashSet::new();
            for (node, span) in needed {
                if let (Some(from), Some(to)) = (index.get(&node), index.get(by))
                    && seen.insert(*from)
                {
                    graph.add_edge(*from, *to, span);
                }
            }
        };
        let mut all = Vec::new();
        for server in &manifest.servers {
            let this = Node::Resource(ResourceName::Server(server.name.clone()));
            connect(needs(&server.name, &server.options), &this);
            let firewall = Node::Resource(ResourceName::Firewall(server.name.clone()));
            let mut needed = vec![(this.clone(), server.span.clone())];
            if let Some(rules) = &server.firewall {
                needed.extend(needs(&server.name, rules));
            }
            connect(needed, &firewall);
            for container in &server.containers {
                let name = ResourceName::Container(server.name.clone(), container.name.clone());
                let mut needed = vec![(this.clone(), container.span.clone())];
                needed.extend(needs(&server.name, &container.body));
                for one in container.depends_on.iter() {
                    let targets = one.targets(manifest, server).into_iter();
                    needed.extend(targets.map(|(server, container)| {
                        let name = ResourceName::Container(server.to_owned(), container.to_owned());
                        (Node::Resource(name), one.span.clone())
                    }));
                }
                // The firewall is in force before a port is published, and open before it is needed.
                let hosts = needed.iter().filter_map(|(node, span)| match node {
                    Node::Resource(name) => Some((name.server(), span)),
                    Node::AllServers => None,
                });
                let firewalls = hosts.filter_map(|(host, span)| {
                    manifest.server(host)?.firewall.as_ref()?;
                    let name = ResourceName::Firewall(host.to_owned());
                    Some((Node::Resource(name), span.clone()))
                });
                let firewalls: Vec<_> = firewalls.collect();
                needed.extend(firewalls);
                connect(needed, &Node::Resource(name));
            }
            all.push((this, server.span.clone()));
        }
        connect(all, &Node::AllServers);
        match toposort(&graph, None) {
            Ok(order) => Ok(Graph {
                edges: graph,
                index,
                order,
            }),
            Err(cycle) => Err(explain(manifest, &graph, cycle.node_id())),
        }
    }

    /// All resources, each after those that it needs.
    pub fn resources(&self) -> impl Iterator<Item = &ResourceName> {
        self.order
            .iter()
            .filter_map(|node| match &self.edges[*node] {
                Node::Resource(name) => Some(name),
                Node::AllServers => None,
            })
    }

    /// Resources with everything that they need, directly or not.
    pub fn closure(&self, from: Vec<ResourceName>) -> HashSet<ResourceName> {
        let mut found = HashSet::new();
        let mut seen = HashSet::new();
        let nodes = from.into_iter().map(Node::Resource);
        let mut stack: Vec<NodeIndex> = nodes
            .filter_map(|node| self.index.get(&node).copied())
            .collect();
        while let Some(at) = stack.pop() {
            if !seen.insert(at) {
                continue;
            }
            if let Node::Resource(name) = &self.edges[at] {
                found.insert(name.clone());
            }
            stack.extend(self.edges.neighbors_directed(at, Direction::Incoming));
        }
        found
    }

    /// What a resource needs: its server, and what its variables refer to.
    pub fn needs(&self, name: &ResourceName) -> impl Iterator<Item = Need<'_>> {
        let node = self.index.get(&Node::Resource(name.clone()));
        let neighbors = node
            .into_iter()
            .flat_map(|node| self.edges.neighbors_directed(*node, Direction::Incoming));
        neighbors.map(|node| match &self.edges[node] {
            Node::Resource(name) => Need::Resource(name),
            Node::AllServers => Need::AllServers,
        })
    }
}

/// What the variables of a value refer to.
fn needs(host: &str, tree: &Tree) -> Vec<(Node, Option<Span>)> {
    let uses = tree.uses();
    let nodes = uses.iter().filter_map(|one| {
        let node = match one.variable.awaits(host) {
            Awaited::Nothing => return None,
            Awaited::Server(name) => Node::Resource(ResourceName::Server(name.to_owned())),
            Awaited::Container(server, name) => {
                let name = ResourceName::Container(server.to_owned(), name.to_owned());
                Node::Resource(name)
            }
            Awaited::AllServers => Node::AllServers,
        };
        Some((node, one.span.cloned()))
    });
    nodes.collect()
}

/// An error with every step of a cycle, each where it is written.
fn explain(
    manifest: &Manifest,
    graph: &DiGraph<Node, Option<Span>>,
    node: NodeIndex,
) -> Diagnostic {
    let text = |node: NodeIndex| match &graph[node] {
        Node::Resource(name) => name.to_string(),
        Node::AllServers => "all servers".to_owned(),
    };
    let path = cycle(graph, node);
    let names: Vec<String> = path.iter().map(|node| text(*node)).collect();
    let message = format!(
        "servers and containers need each other: {}",
        names.join(" → ")
    );
    let mut diagnostic =
        Diagnostic::new(Kind::Usage, message).help("remove one of these references".to_owned());
    for (resource, needed) in path.iter().zip(path.iter().skip(1)) {
        let span = graph
            .find_edge(*needed, *resource)
            .and_then(|edge| graph[edge].clone());
        // That all servers include a server is written nowhere.
        if graph[*resource] == Node::AllServers {
            continue;
        }
        if let Some(span) = span {
            diagnostic = diagnostic.at(&manifest.source, span);
            if let Some(excerpt) = diagnostic.excerpts.last_mut() {
                excerpt.label = format!("`{}` needs `{}`", text(*resource), text(*needed));
            }
        }
    }
    diagnostic
}

/// The shortest path from a node that is on a cycle back to itself, against the edges: each node
/// needs the next.
fn cycle(graph: &DiGraph<Node, Option<Span>>, start: NodeIndex) -> Vec<NodeIndex> {
    let mut came_from = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for edge in graph.edges_directed(node, Direction::Incoming) {
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
