//! Finds the containers that belong to a replacement, and checks that hitc may change them.

use std::collections::BTreeSet;

use crate::{
    core::owner::Owner,
    docker::{Container, Containers, Error, container::labels},
};

/// The names of a container during a replacement.
pub struct Names {
    /// Until it is ready.
    pub new: String,
    /// While its replacement starts, or while it is restarted.
    pub old: String,
    /// After it failed to become ready.
    pub failed: String,
}

impl Names {
    /// The names during a replacement of the container `name`.
    pub fn of(name: &str) -> Self {
        let [new, old, failed] =
            [".new", ".old", ".failed"].map(|ending| format!("{name}{ending}"));
        Names { new, old, failed }
    }

    /// Whether `found` is one of the names of a container with this final name.
    pub fn are_of(name: &str, found: &str) -> bool {
        let Names { new, old, failed } = Names::of(name);
        found == name || [new, old, failed].iter().any(|step| step == found)
    }
}

/// A snapshot of the containers that have one of the names of a replacement.
pub(super) struct Steps {
    pub current: Option<Container>,
    pub new: Option<Container>,
    pub old: Option<Container>,
    pub failed: Option<Container>,
    /// The ids of the containers that the others were created to replace.
    pub replaced: BTreeSet<String>,
}

/// Identifies the containers that may be changed to create or replace a container of one name.
#[derive(Clone, Copy)]
pub(super) struct Claim<'a> {
    pub engine: &'a dyn Containers,
    /// The final name.
    pub name: &'a str,
    pub owner: &'a Owner,
    /// The full id of a container of another owner, or of none, that the user takes over.
    pub adopt: Option<&'a str>,
}

impl Claim<'_> {
    /// Reads the containers with one of these names. A foreign container among them is an error.
    pub async fn look(&self) -> Result<Steps, Error> {
        let names = Names::of(self.name);
        let (current, new, old, failed) = tokio::try_join!(
            self.engine.find(self.name),
            self.engine.find(&names.new),
            self.engine.find(&names.old),
            self.engine.find(&names.failed),
        )?;
        let replaced = [&current, &new, &failed]
            .into_iter()
            .flatten()
            .filter(|container| self.is_step(container))
            .filter_map(|container| container.labels.get(labels::REPLACES).cloned())
            .collect();
        let steps = Steps {
            current,
            new,
            old,
            failed,
            replaced,
        };
        // Beside another container, only the label of its successor makes `NAME.old` a step: an
        // administrator may have renamed a container of ours, to keep it.
        let is_alone = steps.current.is_none() && steps.new.is_none();
        for (step, may_be_own) in [
            (&steps.new, true),
            (&steps.old, is_alone),
            (&steps.failed, true),
        ] {
            if let Some(step) = step.as_ref().filter(|step| {
                let is_step = may_be_own && self.is_step(step);
                !is_step && !self.may_replace(&steps, step)
            }) {
                return Err(self.in_the_way(step));
            }
        }
        Ok(steps)
    }

    /// The error for a foreign container with one of these names.
    pub fn in_the_way(&self, container: &Container) -> Error {
        Error::InTheWay {
            host: self.engine.host().to_owned(),
            name: container.name.clone(),
            wanted: self.name.to_owned(),
            owner: container.ownership(),
        }
    }

    /// Whether a container may be replaced: the label of its replacement names it, or the user
    /// adopts it.
    pub fn may_replace(&self, steps: &Steps, container: &Container) -> bool {
        steps.replaced.contains(&container.id) || self.is_adopted(container)
    }

    /// Reads a container again, and checks that it belongs to the owner or was adopted.
    pub async fn owned(&self, steps: &Steps, id: &str) -> Result<Container, Error> {
        let found = self.inspect(id).await?;
        let is_ours = found.ownership().is(self.owner);
        if is_ours || self.is_adopted(&found) || steps.replaced.contains(id) {
            return Ok(found);
        }
        Err(Error::NotOwned {
            host: self.engine.host().to_owned(),
            owner: found.ownership(),
            name: found.name,
        })
    }

    /// Fails if a container other than `found` has the final name.
    pub fn free_name(&self, steps: &Steps, found: &Container) -> Result<(), Error> {
        match &steps.current {
            Some(current) if current.id != found.id => Err(self.name_taken(current)),
            _ => Ok(()),
        }
    }

    /// Removes a container that an earlier run left, if there is one.
    pub async fn discard(&self, steps: &Steps, step: Option<&Container>) -> Result<(), Error> {
        match step {
            Some(step) => match self.owned(steps, &step.id).await {
                Ok(_) => self.engine.remove(&step.id).await,
                Err(Error::NoContainer { .. }) => Ok(()),
                Err(error) => Err(error),
            },
            None => Ok(()),
        }
    }

    pub async fn inspect(&self, id: &str) -> Result<Container, Error> {
        let found = self.engine.inspect(id).await?;
        found.ok_or_else(|| Error::NoContainer {
            host: self.engine.host().to_owned(),
            name: self.name.to_owned(),
            near: None,
        })
    }

    /// Whether a container was created during a replacement, for this owner and name.
    pub fn is_step(&self, container: &Container) -> bool {
        container.ownership().is(self.owner)
            && container
                .labels
                .get(labels::NAME)
                .is_some_and(|name| name == self.name)
    }

    fn is_adopted(&self, container: &Container) -> bool {
        self.adopt == Some(container.id.as_str())
    }

    pub fn name_taken(&self, current: &Container) -> Error {
        Error::NameTaken {
            host: self.engine.host().to_owned(),
            name: self.name.to_owned(),
            owner: current.ownership(),
        }
    }
}
