//! Bringing a container about: made beside what is there, and given its name when it is ready.
//!
//! Names are all there is to tell how far a run came that died. `NAME.new` was not ready yet,
//! `NAME.old` comes back if the new one does not become ready, `NAME.failed` did not. So a
//! container that has its name was ready once, and the next run goes on from where the last one
//! was.

use std::collections::BTreeMap;

use crate::docker::{Engine, Error, Progress, Spec, State, Volume};

const WAITING: &str = "waiting until it is ready";

/// The names of a container on its way.
struct Names {
    new: String,
    old: String,
    failed: String,
}

impl Names {
    fn of(name: &str) -> Self {
        let [new, old, failed] =
            [".new", ".old", ".failed"].map(|ending| format!("{name}{ending}"));
        Names { new, old, failed }
    }
}

impl Engine {
    /// Brings a container about, in the place of one of the same name if there is one, and waits
    /// until it is ready. `labels` come on top of the spec's own.
    ///
    /// If it does not become ready it is kept as `NAME.failed` for inspection, stopped, and the
    /// old one comes back.
    pub async fn bring_up(
        &self,
        spec: &Spec,
        labels: &BTreeMap<String, String>,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let names = Names::of(&spec.name);
        self.remove(&names.new).await?;
        self.settle(&spec.name).await?;
        let old = self.inspect(&spec.name).await?;
        // What the image declares and nobody named would be lost with the old one.
        let anonymous = old.as_ref().map(|old| old.anonymous.as_slice());
        let kept: Vec<Volume> = anonymous
            .unwrap_or_default()
            .iter()
            .filter(|volume| spec.volumes.iter().all(|v| v.container != volume.container))
            .cloned()
            .collect();
        self.create_as(&names.new, spec, labels, &kept).await?;
        if old.is_some() {
            self.remove(&names.old).await?;
            self.stop(&spec.name).await?;
            self.rename(&spec.name, &names.old).await?;
        }
        self.finish(spec, progress).await
    }

    /// Goes on where an earlier run stopped waiting for a container to become ready.
    pub async fn finish(&self, spec: &Spec, progress: Progress<'_>) -> Result<(), Error> {
        let names = Names::of(&spec.name);
        let started = async {
            self.start(&names.new).await?;
            progress(WAITING.to_owned());
            self.wait_until_ready(spec, &names.new).await
        };
        match started.await {
            Ok(()) => {
                self.rename(&names.new, &spec.name).await?;
                self.remove(&names.failed).await?;
                self.remove(&names.old).await
            }
            Err(error) => match self.step_back(&spec.name).await {
                Ok(done) => Err(match error {
                    Error::NotReady {
                        host,
                        name,
                        cause,
                        log,
                        ..
                    } => Error::NotReady {
                        host,
                        name,
                        cause,
                        log,
                        now: done,
                    },
                    other => other,
                }),
                Err(back) => Err(Error::NotRestored {
                    host: self.host.clone(),
                    name: spec.name.clone(),
                    error: Box::new(error),
                    back: Box::new(back),
                }),
            },
        }
    }

    /// Starts a container that was stopped, and waits until it is ready. It does not have its
    /// name until then.
    pub async fn start_again(&self, spec: &Spec, progress: Progress<'_>) -> Result<(), Error> {
        let names = Names::of(&spec.name);
        self.remove(&names.new).await?;
        self.settle(&spec.name).await?;
        self.update(spec).await?;
        self.rename(&spec.name, &names.new).await?;
        let started = async {
            self.start(&names.new).await?;
            progress(WAITING.to_owned());
            self.wait_until_ready(spec, &names.new).await
        };
        let started = started.await;
        if started.is_err() {
            // What it has written stays its own: it is tried again, not made anew.
            self.stop(&names.new).await?;
        }
        self.rename(&names.new, &spec.name).await?;
        started
    }

    /// Gives the container before back its name, where a run died between two names.
    async fn settle(&self, name: &str) -> Result<(), Error> {
        let old = Names::of(name).old;
        if self.inspect(name).await?.is_none() && self.inspect(&old).await?.is_some() {
            self.rename(&old, name).await?;
        }
        Ok(())
    }

    /// Puts a container aside that did not become ready, and lets the one before come back. Says
    /// what was done.
    async fn step_back(&self, name: &str) -> Result<String, Error> {
        let names = Names::of(name);
        let mut done = format!("it is stopped, and kept as `{}`", names.failed);
        match self.inspect(&names.new).await? {
            // It never ran: there is nothing to look at.
            Some(new) if new.state == State::Created => self.remove(&names.new).await?,
            Some(_) => {
                self.remove(&names.failed).await?;
                self.stop(&names.new).await?;
                // Or the engine would start it beside the old one, the next time it starts itself.
                self.never_restart(&names.new).await?;
                self.rename(&names.new, &names.failed).await?;
            }
            None => {}
        }
        if self.inspect(&names.old).await?.is_some() {
            self.settle(name).await?;
            self.start(name).await?;
            done.push_str("; the one before runs again");
        }
        Ok(done)
    }
}
