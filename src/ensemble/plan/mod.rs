//! The plan: a graph of operations that turns the observed state into what the manifest says.

mod batches;
mod compare;
mod make;
mod order;
mod text;

use serde::{Deserialize, Serialize};

pub use batches::replaced_without_batches;
pub use make::{Made, make};

use super::{
    operation::Operation,
    resource::{Cause, ResourceName},
};
use crate::core::{
    change::Change,
    event::{Event, Events},
    owner::{Owner, Ownership},
};

/// The version of the plan's JSON form (`docs/plan.schema.json`).
pub const VERSION: u32 = 1;

/// The operations for a manifest, and their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// The manifest's name.
    pub manifest: String,
    /// The owner of what the manifest describes.
    pub owner: Owner,
    /// The digest of the observed state that it was made from. Empty in a plan without steps, and in
    /// one that is only shown as text.
    pub observed: String,
    /// The operations, in the manifest's order.
    pub steps: Vec<Step>,
    /// Existing resources that the manifest does not describe, and that are left unchanged.
    pub left_alone: Vec<LeftAlone>,
    /// What could not be found out, so that it is left as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unchecked: Vec<String>,
    /// What new servers cost: an amount for each provider.
    pub cost: Vec<String>,
    /// The servers with operations, in the manifest's order, each with a short description.
    pub servers: Vec<(String, String)>,
}

/// One operation of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The resource it is about; none for a barrier.
    #[serde(flatten)]
    pub resource: Option<ResourceName>,
    /// The resource in a few words.
    pub what: String,
    /// What is done.
    pub operation: Operation,
    /// Why.
    pub cause: Cause,
    /// The fields that change, with secret values masked.
    pub changes: Vec<Change>,
    /// The steps that must be done before, by their position in the plan.
    pub after: Vec<usize>,
}

/// An existing resource that the manifest does not describe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftAlone {
    /// Its name.
    #[serde(flatten)]
    pub resource: ResourceName,
    /// Its owner.
    pub owner: Ownership,
    /// Whether it belongs to this manifest, so that `prune` removes it.
    pub prunable: bool,
}

impl Step {
    /// A step that does nothing, after these.
    fn barrier(after: Vec<usize>) -> Self {
        Step::order(Operation::Barrier, after)
    }

    /// A step that only orders others.
    fn order(operation: Operation, after: Vec<usize>) -> Self {
        Step {
            resource: None,
            what: String::new(),
            operation,
            cause: Cause::Order,
            changes: Vec::new(),
            after,
        }
    }
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Shows the plan; `requested` if the user asked for the plan itself.
    pub fn show(&self, events: &Events, requested: bool) {
        let to_data = || serde_json::to_value(self).unwrap_or_default();
        events.emit(Event::Plan {
            lines: self.lines(),
            data: events.shows_data().then(to_data),
            requested,
            changes: !self.is_empty(),
        });
    }
}
