//! What is known of servers and containers: what variables stand for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::Manifest;
use crate::{core::environment, docker, ensemble::manifest::variable::Variable, provider::Node};

/// Values of variables, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    servers: BTreeMap<String, BTreeMap<&'static str, String>>,
    containers: BTreeMap<(String, String), BTreeMap<&'static str, String>>,
    /// All servers of the manifest: variables that stand for all of them need all.
    all: BTreeSet<String>,
}

impl Facts {
    /// What is known of a manifest before anything is looked at: names.
    pub fn of(manifest: &Manifest) -> Self {
        let mut facts = Facts::default();
        for server in &manifest.servers {
            facts.all.insert(server.name.clone());
            let name = BTreeMap::from([("name", server.name.clone())]);
            facts.servers.insert(server.name.clone(), name);
            for container in &server.containers {
                let key = (server.name.clone(), container.name.clone());
                let name = BTreeMap::from([("name", container.name.clone())]);
                facts.containers.insert(key, name);
            }
        }
        facts
    }

    /// A server runs, and this is what it is.
    pub fn server(&mut self, node: &Node) {
        let fields = self.servers.entry(node.name.clone()).or_default();
        fields.extend([
            ("ip", node.ip.clone()),
            ("internal_ip", node.internal_ip.clone()),
            ("id", node.id.clone()),
            ("size", node.size.clone()),
            ("image", node.image.clone()),
        ]);
        // An address that it has not got yet is not known.
        fields.retain(|_, value| !value.is_empty());
        fields.insert("name", node.name.clone());
    }

    /// A container is ready, and this is what it is.
    pub fn container(&mut self, server: &str, container: &docker::Container) {
        let ports: Vec<String> = container.ports.iter().map(ToString::to_string).collect();
        let key = (server.to_owned(), container.name.clone());
        let fields = self.containers.entry(key).or_default();
        fields.extend([
            ("ip", container.ip.clone()),
            ("image", container.image.clone()),
            ("ports", ports.join(",")),
        ]);
    }

    /// What a variable stands for; `host` is the server that it stands under.
    pub fn value(&self, host: &str, variable: &Variable) -> Option<String> {
        match variable {
            Variable::Host(field) => self.server_field(host, field),
            Variable::Server(server, field) => self.server_field(server, field),
            Variable::Container(server, container, field) => self
                .containers
                .get(&(server.clone(), container.clone()))?
                .get(field.as_str())
                .cloned(),
            Variable::Env(name) => environment::get(name),
            Variable::Secret(_) => None,
            Variable::InternalIps => {
                let ip = |name: &String| self.server_field(name, "internal_ip");
                let ips: Option<Vec<String>> = self.all.iter().map(ip).collect();
                Some(ips?.join(","))
            }
            Variable::Servers => {
                let server = |name: &String| {
                    let ip = self.server_field(name, "ip")?;
                    let internal_ip = self.server_field(name, "internal_ip")?;
                    Some(json!({ "name": name, "ip": ip, "internal_ip": internal_ip }))
                };
                let servers: Option<Vec<_>> = self.all.iter().map(server).collect();
                Some(serde_json::Value::from(servers?).to_string())
            }
        }
    }

    fn server_field(&self, server: &str, field: &str) -> Option<String> {
        self.servers.get(server)?.get(field).cloned()
    }
}
