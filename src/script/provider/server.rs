//! Servers, as scripts describe them.

use rhai::{Dynamic, Map};

use super::{
    Scripted,
    map::{noted, text},
};
use crate::provider::{Address, Error, Node, NodeState, tag};

impl Scripted {
    /// Converts a server that the script returned; none if it does not belong to this prefix.
    pub(super) fn node(&self, described: Dynamic) -> Result<Option<Node>, Error> {
        let map = described.try_cast::<Map>().ok_or_else(|| Error::Failed {
            provider: self.0.name.clone(),
            what: format!("reading a server from `{}`", self.0.file),
            cause: "it is not a map".to_owned(),
        })?;
        let full = text(&map, "name");
        let noted = |key: &str| noted(&map, key);
        let own = &self.0.inventory.context.settings.name_prefix;
        let Some(name) = tag::name_of(&full, own, noted("prefix").as_deref()) else {
            return Ok(None);
        };
        let settled = text(&map, "settled");
        let state = match (text(&map, "state").as_str(), settled.as_str()) {
            ("running", "failed") => NodeState::Failed,
            ("running", "creating") => NodeState::Unfinished,
            ("running", _) => NodeState::Running,
            ("stopping", _) => NodeState::Stopping,
            ("suspended", _) => NodeState::Suspended,
            ("stopped", _) => NodeState::Stopped,
            _ => NodeState::Creating,
        };
        let node = Node {
            provider: self.0.name.clone(),
            name: name.to_owned(),
            id: text(&map, "id"),
            size: text(&map, "size"),
            image: noted("said").unwrap_or_else(|| text(&map, "image")),
            region: text(&map, "region"),
            ip: Address::parse_ip(&text(&map, "ip")),
            internal_ip: Address::parse_ip(&text(&map, "internal_ip")),
            state,
            created: text(&map, "created").parse().ok(),
            owner: tag::ownership(noted("project"), noted("manifest")),
            user: Some(text(&map, "user")).filter(|user| !user.is_empty()),
            is_protected: map.get("protect").is_some_and(|p| p.as_bool() == Ok(true)),
            container: None,
        };
        Ok(Some(node.of_cloud()))
    }

    pub(super) fn describe(&self, node: &Node) -> Dynamic {
        let mut map = Map::new();
        for (key, value) in [
            ("id", node.id.clone()),
            ("name", self.full(&node.name)),
            ("size", node.size.clone()),
            ("region", node.region.clone()),
            ("ip", node.ip_text()),
            ("user", node.user.clone().unwrap_or_default()),
        ] {
            map.insert(key.into(), value.into());
        }
        map.into()
    }
}
