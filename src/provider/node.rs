//! One server, as every provider describes it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Error;

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The provider it comes from.
    pub provider: String,
    /// Its name, without the prefix.
    pub name: String,
    /// The provider's identifier.
    pub id: String,
    /// Its size, in the provider's words.
    pub size: String,
    /// The image it was made from, in the provider's words.
    pub image: String,
    /// Where it is, in the provider's words; empty where there is only one place.
    pub region: String,
    /// The address under which it is reached; empty while it has none.
    pub ip: String,
    /// Its address among the provider's other servers; empty while it has none.
    pub internal_ip: String,
    /// What it does.
    pub state: NodeState,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The manifest that made it, if one did.
    pub manifest: Option<String>,
    /// It may not be terminated.
    pub is_protected: bool,
}

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// It is being made.
    Creating,
    /// It runs, and whoever made it has not found it ready: still waits, or has died.
    Unfinished,
    /// It runs.
    Running,
    /// It is stopped.
    Stopped,
    /// It did not come up, and was left to be looked at.
    Failed,
}

impl NodeState {
    /// Whether it is as it should be after its creation, be it stopped since.
    pub fn is_made(self) -> bool {
        matches!(self, NodeState::Running | NodeState::Stopped)
    }

    /// Whether there is somebody to talk to.
    pub fn is_up(self) -> bool {
        !matches!(self, NodeState::Creating | NodeState::Stopped)
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NodeState::Creating => "creating",
            NodeState::Unfinished => "unfinished",
            NodeState::Running => "running",
            NodeState::Stopped => "stopped",
            NodeState::Failed => "failed",
        })
    }
}

/// Fails if one of these servers may not be terminated, before any is.
pub fn refuse_protected<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Result<(), Error> {
    let protected = nodes.into_iter().filter(|node| node.is_protected);
    let names: Vec<String> = protected.map(|node| node.name.clone()).collect();
    if names.is_empty() {
        Ok(())
    } else {
        Err(Error::Protected { names })
    }
}

/// The role of a server: its name without the `-N` at its end. `web`, `web-1` and `web-2` have
/// the role `web`.
pub fn role(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((role, number))
            if !role.is_empty()
                && !number.is_empty()
                && number.chars().all(|c| c.is_ascii_digit()) =>
        {
            role
        }
        _ => name,
    }
}

/// How many servers one name may stand for.
pub const MOST: i64 = 1000;

/// What a server may be called: a host name, as RFC 1123 allows it, with room for a number.
pub fn is_name(name: &str) -> bool {
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let ends = name.starts_with('-') || name.ends_with('-');
    !name.is_empty() && name.len() <= 50 && letters && !ends
}

/// What [`is_name`] wants, for messages.
pub const NAME_RULE: &str = "use letters, digits and dashes, 50 at most";

/// The names of `count` servers: `web`, `web-1`, `web-2`.
pub fn numbered(name: &str, count: i64) -> Vec<String> {
    (0..count)
        .map(|index| match index {
            0 => name.to_owned(),
            _ => format!("{name}-{index}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(numbered("web", 3), ["web", "web-1", "web-2"]);
        assert!(numbered("web", 3).iter().all(|name| role(name) == "web"));
    }

    #[test]
    fn roles() {
        for (name, expected) in [
            ("web", "web"),
            ("web-1", "web"),
            ("web-12", "web"),
            ("web-a", "web-a"),
            ("web-1-2", "web-1"),
            ("-1", "-1"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(role(name), expected);
        }
    }
}
