//! The identity of a server in the maps of a run.

use crate::provider::Node;

/// Identifies a server: its provider and the provider's id. Two providers may give the same id.
pub type Key = (String, String);

/// The identity of a server.
pub fn key(node: &Node) -> Key {
    (node.provider.clone(), node.id.clone())
}
