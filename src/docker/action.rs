//! `docker.kill`, `stop`, `start` and `restart`: what is done with one container.

use std::time::Duration;

use super::{Container, Containers, Engine, Error};
use crate::core::owner::Owner;

/// What is done with a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is killed, and removed with its anonymous volumes if `remove` is set.
    Kill {
        /// Whether it is removed.
        remove: bool,
    },
    /// It is stopped, and killed after this time; without one, after the container's own.
    Stop(Option<Duration>),
    /// It is started.
    Start,
    /// It is stopped, as by `Stop`, and started.
    Restart(Option<Duration>),
}

impl Action {
    /// The words for the action when it is planned, in progress and done.
    pub fn verbs(self) -> [&'static str; 3] {
        match self {
            Action::Kill { .. } => ["kill", "killing", "killed"],
            Action::Stop(_) => ["stop", "stopping", "stopped"],
            Action::Start => ["start", "starting", "started"],
            Action::Restart(_) => ["restart", "restarting", "restarted"],
        }
    }

    /// Does it to the container with exactly this name. Unless `adopt` is set, the container must
    /// belong to the project of `owner`.
    pub async fn apply(
        self,
        engine: &Engine,
        name: &str,
        owner: &Owner,
        adopt: bool,
    ) -> Result<(), Error> {
        let found = engine.owned(name, owner, adopt).await?;
        match self {
            Action::Kill { remove: false } => engine.kill(&found.id).await,
            // The engine kills what it is forced to remove.
            Action::Kill { remove: true } => engine.remove(&found.id).await,
            Action::Stop(time) => engine.stop_within(&found.id, time.map(seconds)).await,
            Action::Start => engine.start(&found.id).await,
            Action::Restart(time) => engine.restart_within(&found.id, time.map(seconds)).await,
        }
    }
}

/// The engine takes whole seconds.
fn seconds(time: Duration) -> i32 {
    let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    i32::try_from(whole).unwrap_or(i32::MAX)
}

impl Engine {
    /// The container with exactly this name. Unless `adopt` is set, it must belong to the project of
    /// `owner`.
    pub(super) async fn owned(
        &self,
        name: &str,
        owner: &Owner,
        adopt: bool,
    ) -> Result<Container, Error> {
        let found = self.named(name).await?;
        if !adopt && !found.ownership().is_of_project(&owner.project) {
            return Err(Error::NotOwned {
                host: self.host().to_owned(),
                owner: found.ownership(),
                name: found.name,
            });
        }
        Ok(found)
    }
}
