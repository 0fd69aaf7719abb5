//! DigitalOcean's firewalls, which the user attaches to droplets or to tags.

use std::collections::HashMap;

use serde::Deserialize;

use super::{DigitalOcean, wire::Droplet};
use crate::provider::{CloudFirewall, Error, Node};

/// A firewall (<https://docs.digitalocean.com/reference/api/digitalocean/#tag/Firewalls>).
#[derive(Debug, Deserialize)]
struct Wire {
    name: String,
    inbound_rules: Option<Vec<Rule>>,
    droplet_ids: Option<Vec<u64>>,
    tags: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    protocol: String,
    /// A port, a range, or `0` or `all` for all ports.
    #[serde(default)]
    ports: String,
    #[serde(default)]
    sources: Sources,
}

#[derive(Debug, Default, Deserialize)]
struct Sources {
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    droplet_ids: Vec<u64>,
}

impl DigitalOcean {
    /// The firewalls of droplets, by the droplets' ids.
    pub(super) async fn droplet_firewalls(
        &self,
        nodes: &[Node],
    ) -> Result<HashMap<String, CloudFirewall>, Error> {
        let all: Vec<Wire> = self.all("/v2/firewalls?", "firewalls").await?;
        let mut found: HashMap<String, CloudFirewall> = HashMap::new();
        if all.is_empty() {
            return Ok(found);
        }
        let droplets = self.droplets().await?;
        for droplet in droplets {
            let id = droplet.id.to_string();
            if !nodes.iter().any(|node| node.id == id) {
                continue;
            }
            for wire in all.iter().filter(|wire| wire.applies_to(&droplet)) {
                found.entry(id.clone()).or_default().join(&wire.firewall());
            }
        }
        Ok(found)
    }
}

impl Wire {
    fn applies_to(&self, droplet: &Droplet) -> bool {
        let mut tags = self.tags.iter().flatten();
        self.droplet_ids
            .iter()
            .flatten()
            .any(|id| *id == droplet.id)
            || tags.any(|tag| droplet.tags.contains(tag))
    }

    fn firewall(&self) -> CloudFirewall {
        let mut firewall = CloudFirewall {
            name: format!("firewall `{}`", self.name),
            ..CloudFirewall::default()
        };
        for rule in self.inbound_rules.iter().flatten() {
            let (first, last) = ports(&rule.ports);
            let addresses = rule.sources.addresses.iter().map(String::as_str);
            firewall.add(&rule.protocol, first, last, addresses);
            if !rule.sources.tags.is_empty() || !rule.sources.droplet_ids.is_empty() {
                firewall.add_group(&rule.protocol, first, last);
            }
        }
        firewall
    }
}

fn ports(text: &str) -> (u16, u16) {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(0) | Err(_), _) | (_, Err(_)) => (0, u16::MAX),
        (Ok(first), Ok(last)) => (first, last),
    }
}
