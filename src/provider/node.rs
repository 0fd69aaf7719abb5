//! A server, as every provider describes it, or a container on one.

use std::{collections::HashMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Address, Error, tag};
use crate::core::{
    owner::{Owner, Ownership},
    text::escape_controls,
};

/// The name of the provider of unmanaged servers.
pub const UNMANAGED: &str = "unmanaged";

/// A server; or a container on a server, as a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The provider's name.
    pub provider: String,
    /// The server's name, without the prefix.
    pub name: String,
    /// The provider's identifier.
    pub id: String,
    /// The size, as the provider names it.
    pub size: String,
    /// The image, as the provider names it.
    pub image: String,
    /// The region, as the provider names it; empty if the provider has only one.
    pub region: String,
    /// The address that hitc dials. None until the provider assigns one.
    pub ip: Option<Address>,
    /// The address that the provider's other servers dial. None until the provider assigns one.
    pub internal_ip: Option<Address>,
    /// Whether it runs.
    pub state: NodeState,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// The project and manifest that it belongs to.
    pub owner: Ownership,
    /// The user to log in as, if the provider knows.
    pub user: Option<String>,
    /// Whether it is protected against termination.
    pub is_protected: bool,
    /// Where it runs, if it is a container.
    #[serde(skip)]
    pub container: Option<Box<OnServer>>,
}

/// The server and the name of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnServer {
    /// The server.
    pub server: Node,
    /// The name of the container.
    pub name: String,
}

/// Whether a server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// The provider is creating it.
    Creating,
    /// It runs, but its creation is not complete: another run still waits for it, or was
    /// interrupted.
    Unfinished,
    /// It runs.
    Running,
    /// It is being stopped or suspended. It may still write to its disks.
    Stopping,
    /// It is suspended: its memory is kept, with what is not on its disks yet.
    Suspended,
    /// It is stopped.
    Stopped,
    /// It runs, but did not become ready. It is kept for inspection.
    Failed,
}

impl Node {
    /// Takes a server as a cloud describes it. Every provider passes its servers through this: other users
    /// of the account, or a server that answers in the cloud's place, choose these texts.
    ///
    /// Names and ids are parts of paths, of command lines and of known_hosts files. A server whose name
    /// cannot be that goes by its id, so that it can be seen and selected.
    #[must_use]
    pub fn of_cloud(self) -> Node {
        let line = |text: String| escape_controls(&text).into_owned();
        let id = if is_id(&self.id) {
            self.id
        } else {
            tag::encode(&self.id)
        };
        Node {
            name: if is_listed_name(&self.name) {
                self.name
            } else {
                id.clone()
            },
            size: line(self.size),
            image: line(self.image),
            region: line(self.region),
            user: self.user.filter(|user| is_user(user)),
            id,
            ..self
        }
    }

    /// A container on a server, as a host: named `SERVER/CONTAINER`, with the container's id and
    /// address. It belongs to whom its server belongs.
    #[must_use]
    pub fn inside(self, name: &str, id: &str, image: &str, ip: Option<Address>) -> Node {
        Node {
            name: format!("{}/{name}", self.name),
            id: id.to_owned(),
            size: String::new(),
            image: image.to_owned(),
            internal_ip: ip.clone(),
            ip,
            created: None,
            user: None,
            container: Some(Box::new(OnServer {
                name: name.to_owned(),
                server: self.clone(),
            })),
            ..self
        }
    }

    /// The role: the name without the trailing number. Of a container, its own name counts.
    pub fn role(&self) -> &str {
        role(match &self.container {
            Some(container) => &container.name,
            None => &self.name,
        })
    }

    /// Fails if it is a container.
    pub fn require_server(&self) -> Result<(), Error> {
        match &self.container {
            None => Ok(()),
            Some(container) => Err(Error::IsContainer {
                name: self.name.clone(),
                server: container.server.name.clone(),
            }),
        }
    }

    /// The address that hitc dials, as text; empty if there is none.
    pub fn ip_text(&self) -> String {
        self.ip
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    /// The address that other servers dial, as text; empty if there is none.
    pub fn internal_ip_text(&self) -> String {
        let ip = self.internal_ip.as_ref();
        ip.map(ToString::to_string).unwrap_or_default()
    }

    /// Whether it belongs to this project: hitc created it for the project, or the project lists it
    /// as unmanaged.
    pub fn is_of_project(&self, project: Option<&str>) -> bool {
        self.is_unmanaged() || project.is_some_and(|project| self.owner.is_of_project(project))
    }

    /// Fails, and says who owns it, unless it belongs to exactly this owner.
    pub fn require_owner(&self, owner: Option<&Owner>) -> Result<(), Error> {
        if self.is_unmanaged() || owner.is_some_and(|owner| self.owner.is(owner)) {
            return Ok(());
        }
        Err(Error::NotOwned {
            provider: self.provider.clone(),
            name: self.name.clone(),
            owner: self.owner.clone(),
            manifest: owner.and_then(|owner| owner.manifest.clone()),
        })
    }

    /// Whether the user lists or names it by address: hitc neither creates nor terminates it.
    pub fn is_unmanaged(&self) -> bool {
        self.provider == UNMANAGED
    }

    /// The error of a server that does not exist any more.
    pub fn gone(&self) -> Error {
        Error::Gone {
            provider: self.provider.clone(),
            name: self.name.clone(),
        }
    }

    /// The error of a server that exists, but is not recognized as ours. `cause` is what is missing.
    pub fn unrecognized(&self, cause: impl Into<String>) -> Error {
        Error::Unrecognized {
            provider: self.provider.clone(),
            name: self.name.clone(),
            id: self.id.clone(),
            cause: cause.into(),
        }
    }

    /// The provider's name and the id, which together are unique.
    pub fn key(&self) -> (&str, &str) {
        (&self.provider, &self.id)
    }
}

impl NodeState {
    /// Whether its creation is complete; it may be stopped since.
    pub fn is_made(self) -> bool {
        self == NodeState::Running || self.is_off()
    }

    /// Whether it runs, so that it may answer on SSH.
    pub fn is_up(self) -> bool {
        self != NodeState::Creating && !self.is_off()
    }

    /// Whether it does not run, or soon will not, until it is started.
    pub fn is_off(self) -> bool {
        use NodeState::{Stopped, Stopping, Suspended};
        matches!(self, Stopping | Suspended | Stopped)
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NodeState::Creating => "creating",
            NodeState::Unfinished => "unfinished",
            NodeState::Running => "running",
            NodeState::Stopping => "stopping",
            NodeState::Suspended => "suspended",
            NodeState::Stopped => "stopped",
            NodeState::Failed => "failed",
        })
    }
}

/// Fails if one of these servers is protected. Call it before terminating any of them.
pub fn refuse_protected<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Result<(), Error> {
    let protected = nodes.into_iter().filter(|node| node.is_protected);
    let names: Vec<String> = protected.map(|node| node.name.clone()).collect();
    if names.is_empty() {
        Ok(())
    } else {
        Err(Error::Protected { names })
    }
}

/// Fails if two of these servers have one name at one provider, as DigitalOcean allows. The caller
/// could act on the wrong one.
pub fn refuse_duplicates(nodes: &[Node]) -> Result<(), Error> {
    let mut seen: HashMap<(&str, &str), &Node> = HashMap::new();
    for node in nodes {
        if let Some(first) = seen.insert((&node.provider, &node.name), node) {
            let describe = |node: &Node| match node.created {
                Some(created) => format!("{} (created {created})", node.id),
                None => node.id.clone(),
            };
            return Err(Error::Duplicate {
                provider: node.provider.clone(),
                name: node.name.clone(),
                first: describe(first),
                second: describe(node),
            });
        }
    }
    Ok(())
}

/// The role of a server: its name without the trailing `-N`. `web`, `web-1` and `web-2` have the role
/// `web`.
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

/// The largest `count`.
pub const MOST: i64 = 1000;

/// Whether a server can have this name: a host name label (RFC 1123, 2.1), with room for a number.
pub fn is_name(name: &str) -> bool {
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let ends = name.starts_with('-') || name.ends_with('-');
    !name.is_empty() && name.len() <= 50 && letters && !ends
}

/// Whether an existing server can have this name: as for [`is_name`], and with dots and underscores,
/// because it may have been renamed at the cloud.
pub fn is_listed_name(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends = name.starts_with(['-', '.']) || name.ends_with(['-', '.']);
    !name.is_empty() && name.len() <= 253 && name.chars().all(is_inner) && !ends
}

/// Whether a text can be the identifier of a server.
fn is_id(text: &str) -> bool {
    is_listed_name(text)
}

/// Whether a text can be the name of a user (useradd(8)). It becomes an argument of ssh.
pub fn is_user(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let is_short = !text.is_empty() && text.len() <= 64;
    is_short && !text.starts_with(['-', '.']) && text.chars().all(is_inner)
}

/// The rule of [`is_name`], for messages.
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
    fn what_a_cloud_says_is_checked() {
        let node = |name: &str, id: &str, user: &str| {
            let node = Node {
                provider: "ec2".to_owned(),
                name: name.to_owned(),
                id: id.to_owned(),
                size: "s\n- web\u{1b}[2J".to_owned(),
                image: "i\u{202e}".to_owned(),
                region: "r\r".to_owned(),
                ip: None,
                internal_ip: None,
                state: NodeState::Running,
                created: None,
                owner: Ownership::Foreign,
                user: Some(user.to_owned()),
                is_protected: false,
                container: None,
            }
            .of_cloud();
            assert_eq!(node.size, "s\\n- web\\x1b[2J");
            assert_eq!((&*node.image, &*node.region), ("i\\u{202e}", "r\\r"));
            (node.name, node.id, node.user.unwrap_or_default())
        };
        let expected =
            |name: &str, id: &str, user: &str| (name.to_owned(), id.to_owned(), user.to_owned());
        let good = format!("{}-999", "x".repeat(50));
        assert_eq!(
            node(&good, "i-0a", "admin"),
            expected(&good, "i-0a", "admin")
        );
        assert_eq!(
            node("shop.example_1.com", "7", "a.b"),
            expected("shop.example_1.com", "7", "a.b")
        );
        for bad in [
            "",
            "../../evil",
            "..",
            ".ssh",
            "-x",
            "a/b",
            "a\nb",
            "a b",
            "a\u{9b}m",
            "web\u{202e}",
            "ä",
        ] {
            assert_eq!(
                node(bad, "i-0a", "root"),
                expected("i-0a", "i-0a", "root"),
                "{bad:?}"
            );
            let (name, id, user) = node("web", bad, bad);
            assert_eq!((&*name, &*user), ("web", ""), "{bad:?}");
            assert!(
                id.chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)),
                "{id}"
            );
        }
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
