//! Firewalls of clouds.

use std::collections::HashMap;

use rhai::{Array, Map};

use super::{
    Scripted,
    map::{array, text},
};
use crate::provider::{CloudFirewall, Error, Provider};

impl Scripted {
    /// The firewalls in front of servers, by the servers' ids.
    pub(super) async fn list_firewalls(&self) -> Result<HashMap<String, CloudFirewall>, Error> {
        let mut found: HashMap<String, CloudFirewall> = HashMap::new();
        if !self.has_firewalls() {
            return Ok(found);
        }
        let all = self.call("firewalls", Vec::new()).await?;
        for map in all.try_cast::<Array>().unwrap_or_default() {
            let map = map.try_cast::<Map>().unwrap_or_default();
            let firewall = firewall(&map);
            for server in array(&map, "servers") {
                found.entry(server.to_string()).or_default().join(&firewall);
            }
        }
        Ok(found)
    }
}

/// Converts a firewall that the script returned.
fn firewall(map: &Map) -> CloudFirewall {
    let mut firewall = CloudFirewall {
        name: format!("firewall `{}`", text(map, "name")),
        ..CloudFirewall::default()
    };
    for rule in array(map, "rules") {
        let rule = rule.try_cast::<Map>().unwrap_or_default();
        let from = array(&rule, "from");
        let from: Vec<String> = from.iter().map(ToString::to_string).collect();
        let port = |key: &str, default| text(&rule, key).parse().unwrap_or(default);
        let (first, last) = (port("first", 1), port("last", u16::MAX));
        let from = from.iter().map(String::as_str);
        firewall.add(&text(&rule, "protocol"), first, last, from);
    }
    firewall
}
