//! Compares two plans: whether one does more than the one that the user saw.

use std::collections::HashMap;

use super::{Plan, Step};
use crate::ensemble::{
    operation::{Kind, Operation},
    resource::ResourceName,
};

impl Plan {
    /// Returns a line for each operation of this plan that `shown` does not announce.
    pub fn exceeds(&self, shown: &Plan) -> Vec<String> {
        let mut known: HashMap<&ResourceName, Vec<&Step>> = HashMap::new();
        for step in &shown.steps {
            if let Some(resource) = &step.resource {
                known.entry(resource).or_default().push(step);
            }
        }
        let more = self.steps.iter().filter_map(|step| {
            let resource = step.resource.as_ref()?;
            let kind = step.operation.kind();
            let mut announced = known.get(resource).into_iter().flatten();
            let is_known = announced.any(|other| announces(other, step));
            (kind != Kind::Deferred && !is_known)
                .then(|| format!("`{resource}` would have to {}", kind.verb()))
        });
        more.collect()
    }
}

/// Whether one step announces another one to the user.
fn announces(shown: &Step, step: &Step) -> bool {
    let kind = step.operation.kind();
    match &shown.operation {
        Operation::Deferred { may, .. } => may.contains(&kind),
        other => {
            other.kind() == kind
                && other.target() == step.operation.target()
                && shown.changes == step.changes
        }
    }
}
