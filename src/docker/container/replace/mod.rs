//! Replaces a container: create, start, wait until ready, swap names, roll back on failure.
//!
//! A container gets its final name `NAME` once it was ready, so a container with that name was
//! ready once. The names on the way record how far a run came that was killed:
//!
//! - `NAME.new`: created, perhaps started, never seen ready.
//! - `NAME.old`: has served, and serves again if its successor fails or once it is restarted.
//! - `NAME.failed`: did not become ready. It is kept, stopped, for inspection.
//!
//! Labels decide whether a container under such a name is a step of this protocol: it carries the
//! same owner and [`labels::NAME`] = `NAME`, and beside another container `NAME.old` is the one whose
//! id its successor carries in [`labels::REPLACES`]. Any other container is left alone, and is an
//! error if its name is needed.
//!
//! Everything is addressed by full id. The labels are read again before each destructive step.

mod claim;
#[cfg(test)]
mod tests;

pub use claim::Names;

use self::claim::{Claim, Steps};
use super::labels;
use crate::{
    core::owner::Owner,
    docker::{Container, Containers, Error, Port, Progress, Spec, State, Volume},
};

const WAITING: &str = "waiting until it is ready";

/// Creates or replaces a container so that it matches its spec.
#[derive(Clone, Copy)]
pub struct Replacement<'a> {
    /// The engine.
    pub engine: &'a dyn Containers,
    /// The container's spec, with its final name.
    pub spec: &'a Spec,
    /// The owner of the container.
    pub owner: &'a Owner,
    /// The full id of a container of another owner, or of none, that the user takes over.
    pub adopt: Option<&'a str>,
}

impl Replacement<'_> {
    /// Creates the container and waits until it is ready. If an earlier run was killed while it
    /// replaced the container, the one it replaced is replaced now. Returns the container.
    ///
    /// # Errors
    /// [`Error::NameTaken`] if the name is in use.
    pub async fn create(&self, progress: Progress<'_>) -> Result<Container, Error> {
        let steps = self.claim().look().await?;
        if let Some(current) = &steps.current {
            return Err(self.claim().name_taken(current));
        }
        self.claim().discard(&steps, steps.new.as_ref()).await?;
        if let Some(old) = &steps.old {
            if !self.claim().may_replace(&steps, old) {
                return Err(self.claim().in_the_way(old));
            }
            return self.replace_by_new(&steps, old, progress).await;
        }
        let id = self.create_new(None).await?;
        self.start_new(&steps, &id, None, progress).await
    }

    /// Replaces the container `old_id`: creates the new one, stops the old one, starts the new one
    /// and waits until it is ready. Returns the new container.
    ///
    /// If the new container fails, it is kept as `NAME.failed` and the old one is restored.
    pub async fn replace(&self, old_id: &str, progress: Progress<'_>) -> Result<Container, Error> {
        let steps = self.claim().look().await?;
        let old = self.claim().owned(&steps, old_id).await?;
        self.claim().free_name(&steps, &old)?;
        self.claim().discard(&steps, steps.new.as_ref()).await?;
        // The name was given to a container that was ready: one before it is obsolete.
        self.claim()
            .discard(
                &steps,
                steps.old.as_ref().filter(|stale| stale.id != old.id),
            )
            .await?;
        self.replace_by_new(&steps, &old, progress).await
    }

    /// Continues a creation or replacement that was interrupted after `new_id` was created as
    /// `NAME.new`. Returns the container.
    pub async fn finish(&self, new_id: &str, progress: Progress<'_>) -> Result<Container, Error> {
        let steps = self.claim().look().await?;
        self.claim().owned(&steps, new_id).await?;
        match &steps.current {
            Some(current) if current.id == new_id => Ok(current.clone()),
            Some(current) => {
                self.claim().discard(&steps, steps.old.as_ref()).await?;
                let old = self.set_aside(&steps, &current.id, progress).await?;
                self.start_new(&steps, new_id, Some(&old), progress).await
            }
            None => {
                self.start_new(&steps, new_id, steps.old.as_ref(), progress)
                    .await
            }
        }
    }

    /// Starts a stopped container and waits until it is ready. Until then its name is `NAME.old`;
    /// it keeps all its data. Returns the container.
    pub async fn restart(&self, id: &str, progress: Progress<'_>) -> Result<Container, Error> {
        let steps = self.claim().look().await?;
        let names = self.names();
        let found = self.claim().owned(&steps, id).await?;
        self.claim().free_name(&steps, &found)?;
        self.claim().discard(&steps, steps.new.as_ref()).await?;
        self.engine.update(id, self.spec).await?;
        if found.name != names.old {
            self.claim().discard(&steps, steps.old.as_ref()).await?;
            self.engine.rename(id, &names.old).await?;
        }
        let started = self.start(id, progress).await;
        if started.is_err() {
            self.engine.stop(id).await?;
        }
        self.engine.rename(id, &self.spec.name).await?;
        started?;
        self.inspect(id).await
    }

    /// Updates the options that can change while the container runs, and removes the containers
    /// that an interrupted replacement left.
    pub async fn update(&self, id: &str) -> Result<Container, Error> {
        let steps = self.claim().look().await?;
        let found = self.claim().owned(&steps, id).await?;
        self.claim().free_name(&steps, &found)?;
        self.engine.update(id, self.spec).await?;
        self.claim().discard(&steps, steps.new.as_ref()).await?;
        self.claim()
            .discard(&steps, steps.old.as_ref().filter(|stale| stale.id != id))
            .await?;
        self.inspect(id).await
    }

    async fn replace_by_new(
        &self,
        steps: &Steps,
        old: &Container,
        progress: Progress<'_>,
    ) -> Result<Container, Error> {
        let new = self.create_new(Some(old)).await?;
        let old = self.set_aside(steps, &old.id, progress).await?;
        self.start_new(steps, &new, Some(&old), progress).await
    }

    /// Creates `NAME.new` and returns its id. Gives it the anonymous volumes of the old container,
    /// which would otherwise be lost.
    async fn create_new(&self, old: Option<&Container>) -> Result<String, Error> {
        let mut labels = labels::of(self.owner, &self.spec.name);
        let mut kept: Vec<Volume> = Vec::new();
        if let Some(old) = old {
            labels.insert(labels::REPLACES.to_owned(), old.id.clone());
            let named = |path: &str| {
                self.spec
                    .options
                    .volumes()
                    .iter()
                    .any(|v| v.container == path)
            };
            let anonymous = old.anonymous.iter();
            kept.extend(anonymous.filter(|v| !named(&v.container)).cloned());
        }
        let name = self.names().new;
        self.engine.create(&name, self.spec, &labels, &kept).await
    }

    /// Stops the container that is replaced and renames it to `NAME.old`. Returns its state before.
    async fn set_aside(
        &self,
        steps: &Steps,
        id: &str,
        progress: Progress<'_>,
    ) -> Result<Container, Error> {
        let names = self.names();
        let old = self.claim().owned(steps, id).await?;
        if old.state.holds_processes() {
            progress("stopping the previous container".to_owned());
            self.engine.stop(id).await?;
        }
        if old.name != names.old {
            self.engine.rename(id, &names.old).await?;
        }
        Ok(old)
    }

    /// Starts `NAME.new`, and renames it to its final name when it is ready. Otherwise restores the
    /// old container.
    async fn start_new(
        &self,
        steps: &Steps,
        id: &str,
        old: Option<&Container>,
        progress: Progress<'_>,
    ) -> Result<Container, Error> {
        match self.start(id, progress).await {
            Ok(()) => {
                self.engine.rename(id, &self.spec.name).await?;
                self.claim().discard(steps, steps.failed.as_ref()).await?;
                // The new container is named: what it replaces may have been adopted.
                self.claim().discard(steps, old).await?;
                self.inspect(id).await
            }
            Err(error) => match self.roll_back(steps, id, old).await {
                Ok(done) => Err(error.now(done)),
                Err(back) => Err(Error::NotRestored {
                    host: self.engine.host().to_owned(),
                    name: self.spec.name.clone(),
                    error: Box::new(error),
                    back: Box::new(back),
                }),
            },
        }
    }

    /// Renames a container that did not become ready to `NAME.failed`, and restores the old one.
    /// Returns a sentence that says what was done.
    async fn roll_back(
        &self,
        steps: &Steps,
        new_id: &str,
        old: Option<&Container>,
    ) -> Result<String, Error> {
        let names = self.names();
        let mut done = Vec::new();
        match self.engine.inspect(new_id).await? {
            // It never ran: there is nothing to inspect.
            Some(new) if new.state == State::Created => self.engine.remove(new_id).await?,
            Some(new) => {
                self.claim().discard(steps, steps.failed.as_ref()).await?;
                // It never became ready, so it has no requests to finish.
                if new.state.holds_processes() {
                    self.engine.stop_at_once(new_id).await?;
                }
                // Or the engine would start it beside the old one when the engine itself starts.
                self.engine.disable_restart(new_id).await?;
                self.engine.rename(new_id, &names.failed).await?;
                done.push(format!("it is stopped, and kept as `{}`", names.failed));
            }
            None => {}
        }
        if let Some(old) = old {
            self.claim().owned(steps, &old.id).await?;
            self.engine.rename(&old.id, &self.spec.name).await?;
            // One that did not run before is left as it was. An earlier run stopped `NAME.old`.
            let was_set_aside = old.name != self.spec.name && old.state == State::Exited;
            if old.state.holds_processes() || was_set_aside {
                if let Err(error) = self.engine.start(&old.id).await {
                    return Err(self.explain_port(&old.id, error).await);
                }
                done.push("the previous container runs again".to_owned());
            }
        }
        Ok(done.join("; "))
    }

    /// Starts a container and waits until it is ready.
    async fn start(&self, id: &str, progress: Progress<'_>) -> Result<(), Error> {
        if let Err(error) = self.engine.start(id).await {
            return Err(self.explain_port(id, error).await);
        }
        progress(WAITING.to_owned());
        self.engine.wait_until_ready(id, self.spec).await
    }

    /// Finds out who holds a port that the engine refuses to publish. Docker 26.1.5 keeps the port
    /// of a container that died while it started, until the engine is restarted.
    async fn explain_port(&self, id: &str, error: Error) -> Error {
        let Error::PortAllocated {
            host,
            port,
            is_by_engine,
            ..
        } = &error
        else {
            return error;
        };
        let Ok(snapshot) = self.engine.snapshot().await else {
            return error;
        };
        // The engine names no protocol. The started container may publish the port by both.
        let started = snapshot.containers.iter().find(|one| one.id == id);
        let refused: Vec<&Port> = started
            .into_iter()
            .flat_map(Container::ports)
            .filter(|wanted| wanted.public == *port)
            .collect();
        let is_it = |held: &Port| refused.iter().any(|wanted| held.conflicts_with(wanted));
        let holder = snapshot.containers.iter().find(|container| {
            container.id != id
                && container.state.holds_processes()
                && container.ports().iter().any(is_it)
        });
        match holder {
            Some(holder) => Error::PortTaken {
                host: host.clone(),
                name: self.spec.name.clone(),
                port: *port,
                holder: holder.name.clone(),
            },
            None if !is_by_engine => Error::PortInUse {
                host: host.clone(),
                name: self.spec.name.clone(),
                port: *port,
            },
            None => Error::PortReserved {
                host: host.clone(),
                port: *port,
            },
        }
    }

    async fn inspect(&self, id: &str) -> Result<Container, Error> {
        self.claim().inspect(id).await
    }

    fn claim(&self) -> Claim<'_> {
        Claim {
            engine: self.engine,
            name: &self.spec.name,
            owner: self.owner,
            adopt: self.adopt,
        }
    }

    fn names(&self) -> Names {
        Names::of(&self.spec.name)
    }
}
