//! The containers of an engine that a container of the manifest corresponds to.

use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        owner::Owner,
    },
    docker::{Container, StepNames, labels},
    ensemble::observe::EngineState,
};

/// The containers of an engine with the name of a container of the manifest, or with one of the
/// names that it has during a replacement.
pub struct Existing<'a> {
    pub(super) owner: &'a Owner,
    /// The container with the final name.
    pub current: Option<&'a Container>,
    /// A container that was not ready yet when an earlier run was interrupted.
    pub(super) new: Option<&'a Container>,
    /// The container that an earlier run was replacing or restarting.
    pub(super) old: Option<&'a Container>,
    /// Foreign containers with one of these names.
    pub(super) foreign: Vec<&'a Container>,
}

impl<'a> Existing<'a> {
    /// Finds the containers of an owner with this name.
    pub fn find(owner: &'a Owner, name: &str, engine: &'a EngineState) -> Self {
        let names = StepNames::of(name);
        let is_ours = |container: &&Container| {
            container.ownership().is(owner)
                && container.labels.get(labels::NAME).map(String::as_str) == Some(name)
        };
        let current = engine.container(name);
        let new = engine.container(&names.new).filter(is_ours);
        let failed = engine.container(&names.failed).filter(is_ours);
        let replaced: Vec<&String> = [current, new, failed]
            .into_iter()
            .flatten()
            .filter(is_ours)
            .filter_map(|container| container.labels.get(labels::REPLACES))
            .collect();
        let is_replaced = |container: &&Container| replaced.contains(&&container.id);
        let aside = engine.container(&names.old);
        let old = aside
            .filter(|old| is_replaced(old) || (is_ours(old) && current.is_none() && new.is_none()));
        let steps = [new, old, failed];
        let foreign = [names.new, names.old, names.failed]
            .iter()
            .filter_map(|name| engine.container(name))
            .filter(|found| !steps.iter().flatten().any(|step| step.id == found.id))
            .collect();
        Existing {
            owner,
            current,
            new,
            old,
            foreign,
        }
    }

    /// Whether none of these containers exists.
    pub(super) fn is_nothing(&self) -> bool {
        self.current.is_none() && self.new.is_none() && self.old.is_none()
    }

    /// Fails if the container with the final name belongs to another owner, or to none, and is not
    /// to be taken over.
    pub(super) fn refuse_foreign(&self, full_name: &str, adopts: bool) -> Result<(), Diagnostic> {
        let Some(found) = self.current.filter(|_| !adopts) else {
            return Ok(());
        };
        let owner = found.ownership();
        if owner.is(self.owner) {
            return Ok(());
        }
        let message = format!("container `{full_name}` exists and {owner}");
        Err(Diagnostic::new(Kind::Usage, message).help(format!(
            "rename one of the two, or replace it by the manifest's with adopt={full_name}"
        )))
    }

    /// Fails if a foreign container has a name that a replacement needs.
    pub(super) fn refuse_foreign_steps(&self, full_name: &str) -> Result<(), Diagnostic> {
        let Some(foreign) = self.foreign.first() else {
            return Ok(());
        };
        let message = format!(
            "container `{full_name}`: hitc needs the name `{}` while it creates or replaces the \
             container, but a container of that name exists and {}",
            foreign.name,
            foreign.ownership()
        );
        Err(Diagnostic::new(Kind::Usage, message)
            .help(format!("rename or remove `{}` on the server", foreign.name)))
    }
}

/// The final name of a container that has one of the names of a replacement: `shop` for `shop.new`.
pub fn step_of<'a>(owner: &Owner, found: &'a Container) -> Option<&'a str> {
    let name = found.labels.get(labels::NAME)?;
    let names = StepNames::of(name);
    let is_step = [names.new, names.old].contains(&found.name);
    (is_step && found.ownership().is(owner)).then_some(name)
}
