//! Warns of firewalls and ports that are valid and probably not what is meant.

use std::collections::HashSet;

use super::{Container, Facts, Manifest, Server, Tree, Variable, variable::ServerRef};
use crate::{
    core::value::Value,
    docker::{self, Port, Probe, Ready},
    iptables::{Ports, Protocol},
};

/// The images of databases and similar services, which answer every client that reaches them. Without registry,
/// organization and tag.
const DATABASES: [&str; 14] = [
    "postgres",
    "postgis",
    "timescaledb",
    "mysql",
    "mariadb",
    "percona",
    "mongo",
    "redis",
    "valkey",
    "memcached",
    "elasticsearch",
    "opensearch",
    "cassandra",
    "rabbitmq",
];
/// The port of SSH, which no container publishes.
const SSH: u16 = 22;

/// A key of a firewall, and whether it is open to everyone.
struct Rule {
    ports: Ports,
    is_open_to_all: bool,
}

/// Returns a warning for each published port that the firewall closes, each rule that leads to no
/// container, each database that is open to everyone, each public address of a server that admits
/// internal ones, each address of a container on another server, and each `ready` that asks a port which the container publishes under another number.
pub fn warnings(manifest: &Manifest) -> Vec<String> {
    let facts = Facts::of(manifest);
    let mut found = Vec::new();
    // The copies of a server share their options.
    let mut seen = HashSet::new();
    for server in &manifest.servers {
        if !seen.insert(std::sync::Arc::as_ptr(&server.options)) {
            continue;
        }
        let known = |variable: &Variable| facts.value(&server.name, variable);
        if let Some(tree) = &server.firewall {
            found.extend(of_server(server, &rules(tree, &known), &known));
        }
        for container in &server.containers {
            found.extend(of_addresses(manifest, server, container));
            found.extend(of_containers(manifest, server, container));
            found.extend(of_ready(server, container, &known));
        }
    }
    found
}

fn rules(tree: &Tree, known: &dyn Fn(&Variable) -> Option<Value>) -> Vec<Rule> {
    let entries = tree.resolve_known(known).into_map("firewall");
    let mut rules = Vec::new();
    for entry in entries.unwrap_or_default() {
        let sources = entry.value.to_list("").unwrap_or_default();
        let is_open_to_all = sources
            .iter()
            .any(|source| source.scalar().as_deref() == Some("*"));
        let ports = Ports::parse(&entry.key).unwrap_or_default().into_iter();
        rules.extend(ports.map(|ports| Rule {
            ports,
            is_open_to_all,
        }));
    }
    rules
}

/// The ports that a container publishes, as far as they are known.
fn ports(container: &Container, known: &dyn Fn(&Variable) -> Option<Value>) -> Vec<Port> {
    let ports = container
        .body
        .field("ports")
        .map(|tree| tree.resolve_known(known));
    // The server's own address is not known yet: any one that others can reach stands for it (RFC 5737).
    let ports = ports.map(|mut ports| {
        Port::replace_internal(&mut ports, "192.0.2.1");
        ports
    });
    let items = ports
        .and_then(|ports| ports.to_list("").ok())
        .unwrap_or_default();
    items
        .iter()
        .filter_map(|item| item.scalar()?.parse::<Port>().ok())
        .collect()
}

/// The ports of a container that face other machines.
fn published(
    container: &Container,
    known: &dyn Fn(&Variable) -> Option<Value>,
) -> Vec<(Protocol, u16)> {
    let ports = ports(container, known).into_iter();
    let outside = ports.filter(|port| port.address.is_none_or(|address| !address.is_loopback()));
    outside
        .map(|port| match port.protocol {
            docker::Protocol::Tcp => (Protocol::Tcp, port.public),
            docker::Protocol::Udp => (Protocol::Udp, port.public),
        })
        .collect()
}

/// A container whose `ready` asks a port that `ports` does not name, although it names others. Docker
/// writes the public port first.
fn of_ready(
    server: &Server,
    container: &Container,
    known: &dyn Fn(&Variable) -> Option<Value>,
) -> Option<String> {
    let ready = container.body.field("ready")?.resolve_known(known);
    let ready = Ready::decode(&ready, "ready").ok()?;
    let asked = match ready.probe {
        Probe::Tcp(port) | Probe::Http { port, .. } => port,
        Probe::Running | Probe::Exec(_) => return None,
    };
    // A port whose value is unknown while checking may be the one that `ready` asks.
    container.body.field("ports")?.resolve(known).ok()?;
    let ports = ports(container, known);
    let mut tcp = ports
        .iter()
        .filter(|port| port.protocol == docker::Protocol::Tcp)
        .peekable();
    tcp.peek()?;
    let full_name = format!("{}.{}", server.name, container.name);
    let ports: Vec<&Port> = tcp.collect();
    if ports.iter().any(|port| port.container == asked) {
        return None;
    }
    let Some(reversed) = ports.iter().find(|port| port.public == asked) else {
        let inside: Vec<String> = ports
            .iter()
            .map(|port| port.container.to_string())
            .collect();
        return Some(format!(
            "container `{full_name}`: `ready` asks port {asked}, and `ports` publishes {}",
            inside.join(", ")
        ));
    };
    let Port {
        container, public, ..
    } = reversed;
    Some(format!(
        "container `{full_name}`: `ready` asks port {asked}, and `ports` publishes the container's port \
         {container} as {public}: the container's port comes first, `{public}:{container}`"
    ))
}

fn of_server(
    server: &Server,
    rules: &[Rule],
    known: &dyn Fn(&Variable) -> Option<Value>,
) -> Vec<String> {
    let name = &server.name;
    let (mut found, mut all) = (Vec::new(), Vec::new());
    for container in &server.containers {
        let ports = published(container, known);
        let full_name = format!("{name}.{}", container.name);
        for (protocol, port) in &ports {
            let mut naming = rules
                .iter()
                .filter(|rule| rule.ports.contains(*protocol, *port));
            let first = naming.next();
            if first.is_none() {
                found.push(format!(
                    "container `{full_name}` publishes port {port}/{protocol}, and no rule of the \
                     firewall opens it"
                ));
            } else if first
                .into_iter()
                .chain(naming)
                .any(|rule| rule.is_open_to_all)
                && let Some(database) = database(container, known)
            {
                found.push(format!(
                    "container `{full_name}` ({database}) is open to everyone on port {port}/{protocol}: \
                     name who may connect, such as $internal_ips"
                ));
            }
        }
        all.extend(ports);
    }
    for rule in rules {
        let ports = rule.ports;
        let Some((first, last)) = ports.range().filter(|_| !ports.names(SSH)) else {
            continue;
        };
        let leads_somewhere = all
            .iter()
            .any(|(protocol, port)| ports.contains(*protocol, *port));
        if !leads_somewhere && first <= last {
            found.push(format!(
                "the firewall of `{name}` opens {ports}, and no container publishes it: only a program of \
                 the server can answer"
            ));
        }
    }
    found
}

/// The name of a container's image, if it is a database.
fn database(
    container: &Container,
    known: &dyn Fn(&Variable) -> Option<Value>,
) -> Option<&'static str> {
    let image = container
        .body
        .field("image")?
        .resolve_known(known)
        .scalar()?;
    let name = image.rsplit('/').next()?.split([':', '@']).next()?;
    DATABASES.into_iter().find(|database| *database == name)
}

/// A container that refers to the address of a container on another server, which only that server can
/// reach. The networks that a container names may reach further: hitc does not know those that exist.
fn of_containers(manifest: &Manifest, server: &Server, container: &Container) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for one in container.body.uses() {
        let Variable::Container(ServerRef::Named(target), name, field, _) = one.variable else {
            continue;
        };
        let is_inside = manifest
            .container(target, name)
            .is_some_and(|other| other.body.field("networks").is_none());
        if field != "ip" || *target == server.name || !is_inside {
            continue;
        }
        let text = format!(
            "container `{}.{}` uses `${{{target}.containers.{name}.ip}}`, which only `{target}` can reach: \
             publish a port of `{target}.{name}` and write `${{{target}.internal_ip}}`, or to only wait for it \
             `depends_on: [{target}.{name}]`",
            server.name, container.name
        );
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

/// A container that refers to the public address of a server whose firewall admits internal addresses.
/// Its packets come from the public address of its own server.
fn of_addresses(manifest: &Manifest, server: &Server, container: &Container) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for one in container.body.uses() {
        let Variable::Server(ServerRef::Named(target), field) = one.variable else {
            continue;
        };
        let admits_internal = |target: &Server| {
            let uses = target
                .firewall
                .as_ref()
                .map(|tree| tree.uses())
                .unwrap_or_default();
            uses.iter()
                .any(|one| matches!(one.variable, Variable::InternalIps))
        };
        // The two addresses of a local server are the same.
        let is_meant = manifest.server(target).is_some_and(|target| {
            target.name != server.name && target.provider != "local" && admits_internal(target)
        });
        if field == "ip" && is_meant {
            let text = format!(
                "container `{}.{}` uses `${{{target}.ip}}`, and the firewall of `{target}` admits \
                 $internal_ips: with the public address, packets come from a public one; write \
                 `${{{target}.internal_ip}}`",
                server.name, container.name
            );
            if !found.contains(&text) {
                found.push(text);
            }
        }
    }
    found
}
