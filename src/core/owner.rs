//! The owner of a resource: the project and the manifest for which it was created.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The owner that a server, container, network or volume carries in its tags or labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The project's id: random, written once into the project and committed.
    pub project: String,
    /// The manifest's path within the project, without extension. None if a task created the
    /// resource.
    pub manifest: Option<String>,
}

/// The owner of a resource, as its tags or labels name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// hitc created it for this owner.
    Owner(Owner),
    /// A version of hitc without project ids created it, for the named manifest if there is one.
    Legacy(Option<String>),
    /// A container that has the labels of another container which hitc created: its image was made
    /// from that container, or an administrator renamed it.
    Copied(String),
    /// hitc did not create it.
    #[default]
    Foreign,
}

impl Ownership {
    /// Whether the resource belongs to exactly this project and manifest.
    pub fn is(&self, owner: &Owner) -> bool {
        matches!(self, Ownership::Owner(found) if found == owner)
    }

    /// The manifest it was created for, if one is known.
    pub fn manifest(&self) -> Option<&str> {
        match self {
            Ownership::Owner(owner) => owner.manifest.as_deref(),
            Ownership::Legacy(manifest) => manifest.as_deref(),
            Ownership::Copied(_) | Ownership::Foreign => None,
        }
    }

    /// Whether the resource belongs to this project, for any manifest or none.
    pub fn is_of_project(&self, project: &str) -> bool {
        matches!(self, Ownership::Owner(found) if found.project == project)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.manifest {
            Some(manifest) => write!(f, "manifest `{manifest}` of project {}", self.project),
            None => write!(f, "project {}", self.project),
        }
    }
}

/// The predicate of a sentence: "belongs to project …".
impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ownership::Owner(owner) => write!(f, "belongs to {owner}"),
            Ownership::Legacy(Some(manifest)) => write!(
                f,
                "was created for manifest `{manifest}` by a version of hitc without project ids"
            ),
            Ownership::Legacy(None) => {
                f.write_str("was created by a version of hitc without project ids")
            }
            Ownership::Copied(name) => {
                write!(f, "has the labels of container `{name}` and another name")
            }
            Ownership::Foreign => f.write_str("was not created by hitc"),
        }
    }
}
