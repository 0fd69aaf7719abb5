//! The values of variables, as far as they are known.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::{
    core::value::{Data, Value},
    docker::{self, Port},
    ensemble::{
        Manifest,
        manifest::{tree::Tree, variable::Variable},
    },
    provider::Node,
};

/// The known facts about the servers and containers of a manifest.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// By name, sorted: the order of `$internal_ips` does not depend on that of the manifest.
    servers: BTreeMap<String, ServerFacts>,
    environment: Arc<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default)]
struct ServerFacts {
    /// Whether the server is part of the manifest.
    is_listed: bool,
    /// All but the name.
    fields: BTreeMap<&'static str, String>,
    containers: HashMap<String, ContainerFacts>,
}

#[derive(Clone, Debug, Default)]
struct ContainerFacts {
    /// All but the name.
    fields: BTreeMap<&'static str, String>,
    /// The container in the manifest, whose `ports` are known in the order in which they are
    /// written. The engine knows them sorted.
    body: Option<Arc<Tree>>,
}

impl Facts {
    /// The facts that are known before anything is observed: names, ports and environment
    /// variables.
    pub fn of(manifest: &Manifest) -> Self {
        let servers = manifest.servers.iter().map(|server| {
            let containers = server.containers.iter().map(|container| {
                let facts = ContainerFacts {
                    fields: BTreeMap::new(),
                    body: Some(container.body.clone()),
                };
                (container.name.clone(), facts)
            });
            let facts = ServerFacts {
                is_listed: true,
                fields: BTreeMap::new(),
                containers: containers.collect(),
            };
            (server.name.clone(), facts)
        });
        Facts {
            servers: servers.collect(),
            environment: manifest.environment.clone(),
        }
    }

    /// Adds the facts about a running server.
    pub fn server(&mut self, node: &Node) {
        let fields = &mut self.servers.entry(node.name.clone()).or_default().fields;
        fields.extend([
            ("ip", node.ip_text()),
            ("internal_ip", node.internal_ip_text()),
            ("id", node.id.clone()),
            ("size", node.size.clone()),
            ("image", node.image.clone()),
        ]);
        // An address that the server does not have yet is not known.
        fields.retain(|_, value| !value.is_empty());
    }

    /// Adds the facts about a container that is ready.
    pub fn container(&mut self, server: &str, container: &docker::Container) {
        let server = self.servers.entry(server.to_owned()).or_default();
        let facts = server.containers.entry(container.name.clone()).or_default();
        facts.fields.extend([
            (
                "ip",
                container.ip.map(|ip| ip.to_string()).unwrap_or_default(),
            ),
            ("image", container.image.clone()),
        ]);
        facts.fields.retain(|_, value| !value.is_empty());
    }

    /// The value of a variable that is written under the server `host`. `None` if it is not known
    /// yet.
    pub fn value(&self, host: &str, variable: &Variable) -> Option<Value> {
        match variable {
            Variable::Server(server, field) => self.server_field(server.name(host), field),
            Variable::Container(server, container, field, index) => {
                let server = server.name(host);
                let facts = self.servers.get(server)?.containers.get(container)?;
                match (field.as_str(), index) {
                    ("name", _) => Some(text(container.clone())),
                    ("ports", None) => Some(list(self.ports(server, facts)?)),
                    ("ports", Some(index)) => {
                        Some(text(self.ports(server, facts)?.get(*index)?.clone()))
                    }
                    _ => Some(text(facts.fields.get(field.as_str())?.clone())),
                }
            }
            Variable::Env(name) => Some(text(self.environment.get(name)?.clone())),
            Variable::Secret(_) => None,
            Variable::InternalIps => {
                let ips = self
                    .listed()
                    .map(|(_, server)| server.fields.get("internal_ip"));
                let ips: Option<Vec<String>> = ips.map(Option::<&String>::cloned).collect();
                Some(list(ips?))
            }
            Variable::Servers => {
                let server = |(name, server): (&String, &ServerFacts)| {
                    let mut fields = vec![("name", text(name.clone()))];
                    for key in ["ip", "internal_ip"] {
                        fields.push((key, text(server.fields.get(key)?.clone())));
                    }
                    Some((name.clone(), Value::map(fields)))
                };
                let servers: Option<Vec<(String, Value)>> = self.listed().map(server).collect();
                let map = Value::map(servers?);
                Some(Value::new(Data::Expanded {
                    text: map.to_json().to_string(),
                    data: Box::new(map.data),
                }))
            }
        }
    }

    fn listed(&self) -> impl Iterator<Item = (&String, &ServerFacts)> {
        self.servers.iter().filter(|(_, server)| server.is_listed)
    }

    fn server_field(&self, server: &str, field: &str) -> Option<Value> {
        let (name, server) = self.servers.get_key_value(server)?;
        let value = match field {
            "name" => name,
            field => server.fields.get(field)?,
        };
        Some(text(value.clone()))
    }

    /// The published ports of a container, as `CONTAINER:PUBLIC[/PROTO]`.
    fn ports(&self, server: &str, container: &ContainerFacts) -> Option<Vec<String>> {
        let Some(tree) = container.body.as_ref()?.field("ports") else {
            return Some(Vec::new());
        };
        let value = tree
            .resolve(&|variable| self.value(server, variable))
            .ok()?;
        let port = |item: Value| {
            let port: Port = item.scalar()?.parse().ok()?;
            Some(port.to_string())
        };
        value.to_list("ports").ok()?.into_iter().map(port).collect()
    }
}

fn text(text: String) -> Value {
    Value::new(Data::Text(text))
}

/// Several values: a list, and the same as text with commas.
fn list(items: Vec<String>) -> Value {
    Value::new(Data::Expanded {
        text: items.join(","),
        data: Box::new(Data::List(items.into_iter().map(text).collect())),
    })
}
