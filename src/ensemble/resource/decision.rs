//! The decision about a resource, and its input.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::ResourceName;
use crate::{
    core::{change::Change, owner::Owner},
    docker::{Container, Port},
    ensemble::{Manifest, Observed, Request, manifest::Facts, operation::Operation},
    provider::Node,
};

/// The input of a decision, read-only.
pub struct View<'a> {
    /// The manifest.
    pub manifest: &'a Manifest,
    /// The manifest's owner.
    pub owner: &'a Owner,
    /// The observed state.
    pub observed: &'a Observed,
    /// What the user asked for.
    pub request: &'a Request,
    /// The values that are known: those of resources that do not change.
    pub facts: &'a Facts,
    /// The decisions about the resources that it needs.
    pub decisions: &'a HashMap<ResourceName, Decision>,
    /// Whether a server stays as it is, with other options than those of the manifest: the user named only
    /// what needs it.
    pub is_kept: bool,
}

/// The decision about a resource.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The resource in a few words: `server, local`.
    pub what: String,
    /// The operations, in this order. None if the resource is up to date.
    pub operations: Vec<Draft>,
    /// The operations after everything else that is changed: they take away what others may need until
    /// then.
    pub closing: Vec<Draft>,
    /// Its values, if these do not change.
    pub known: Option<Known>,
    /// The public ports that it takes on its server; none if they are not known yet.
    pub ports: Option<BTreeSet<Port>>,
    /// What could not be found out, so that it is left as it is.
    pub unchecked: Option<String>,
    /// The volumes and folders of its server that it uses.
    pub volumes: Vec<String>,
}

/// An operation that a resource needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The operation.
    pub operation: Operation,
    /// Why.
    pub cause: Cause,
    /// The fields that change.
    pub changes: Vec<Change>,
}

impl Draft {
    /// An operation without changed fields.
    pub fn new(operation: Operation, cause: Cause) -> Self {
        Draft {
            operation,
            cause,
            changes: Vec::new(),
        }
    }
}

/// The values of a resource that does not change.
#[derive(Clone, Debug)]
pub enum Known {
    /// Of a server.
    Server(Node),
    /// Of a container on a server.
    Container(String, Container),
}

/// Why an operation is necessary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It does not exist.
    Missing,
    /// An earlier run was interrupted.
    Interrupted,
    /// It does not run.
    Stopped,
    /// It differs from the manifest.
    Changed,
    /// The user asked for it.
    Requested,
    /// It belongs to another owner, and the user adopts it.
    Adopted,
    /// It is no longer in the manifest.
    NotInManifest,
    /// Another operation needs what it holds: `port 80`.
    InTheWay(String),
    /// Its values are not known yet.
    Unknown,
    /// The operation is a barrier, which only orders others.
    Order,
}
