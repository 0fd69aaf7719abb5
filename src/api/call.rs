//! One call of a function by a script: driving futures, dry runs, errors with their position.

use std::{future::Future, sync::Arc};

use rhai::{EvalAltResult, NativeCallContext, Position};

use super::{Api, throw};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::Event,
        process::Output,
    },
    session::Session,
};

/// What a function gives back to the script.
pub(super) type Answer<T> = Result<T, Box<EvalAltResult>>;

/// This machine as a place where commands run.
pub(super) const HERE: &str = "here";

/// What comes of a command that is not run.
pub(super) enum Played {
    /// A test answers it.
    Answered(Output),
    /// It is a dry run.
    Assumed,
}

/// A call that is under way.
pub(super) struct Call<'a> {
    /// The run that it belongs to.
    pub session: Arc<Session>,
    /// What the functions share.
    pub api: &'a Api,
    /// The engine's side of it, for calling closures.
    pub context: &'a NativeCallContext<'a>,
    position: Position,
}

impl Api {
    /// Begins a call.
    pub(super) fn call<'a>(&'a self, context: &'a NativeCallContext<'a>) -> Answer<Call<'a>> {
        let position = context.call_position();
        let session = self.session.get().cloned().ok_or_else(|| {
            let diagnostic = Diagnostic::new(
                Kind::Usage,
                format!(
                    "`{}` is called while the script is being loaded",
                    context.fn_name()
                ),
            )
            .help("call it inside a function".to_owned());
            throw(diagnostic, position)
        })?;
        Ok(Call {
            session,
            api: self,
            context,
            position,
        })
    }
}

impl Call<'_> {
    /// Where it stands in the script.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Drives a future to its end, or until the user ends the run.
    pub fn wait<T, E: Into<Diagnostic>>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Answer<T> {
        self.try_wait(async { future.await.map_err(|error| Failure::from(error.into())) })
    }

    /// The same for what can fail with several errors.
    pub fn try_wait<T>(&self, future: impl Future<Output = Result<T, Failure>>) -> Answer<T> {
        let cancel = &self.session.cancel;
        let result = self.session.runtime.block_on(async {
            tokio::select! {
                biased;
                () = cancel.killed() => None,
                result = future => Some(result),
            }
        });
        match result {
            Some(result) => result.map_err(|failure| throw(failure, self.position)),
            None => Err(self.interrupted()),
        }
    }

    /// Drives a future that changes something. In a dry run it is not driven: `what` is said
    /// instead, and nothing is given back.
    pub fn change<T, E: Into<Diagnostic>>(
        &self,
        what: impl FnOnce() -> String,
        future: impl Future<Output = Result<T, E>>,
    ) -> Answer<Option<T>> {
        if self.would(what) {
            return Ok(None);
        }
        self.wait(future).map(Some)
    }

    /// Whether this is a dry run, in which `what` is said and nothing done.
    pub fn would(&self, what: impl FnOnce() -> String) -> bool {
        let dry_run = self.session.settings.dry_run;
        if dry_run {
            match &self.session.stage {
                Some(stage) => stage.record(what()),
                None => self.session.events.emit(Event::WouldDo(what())),
            }
        }
        dry_run
    }

    /// What comes of a command in place of running it: what a test answers, or what a dry run
    /// assumes. None if it is run.
    pub fn played(&self, place: &str, line: &str) -> Option<Played> {
        if let Some(stage) = &self.session.stage {
            return Some(Played::Answered(stage.run(place, line)));
        }
        if self.session.runs_commands() {
            return None;
        }
        let what = match place {
            HERE => format!("run `{line}` here"),
            place => format!("run `{line}` on {place}"),
        };
        self.session.events.emit(Event::WouldDo(what));
        Some(Played::Assumed)
    }

    /// Notes that a dry run goes on with something it does not know.
    pub fn assume(&self, place: &str, line: &str) {
        self.session.assume(match place {
            HERE => format!("`{line}`"),
            place => format!("`{line}` on {place}"),
        });
    }

    /// An error at the place of the call.
    pub fn fail(&self, failure: impl Into<Failure>) -> Box<EvalAltResult> {
        throw(failure, self.position)
    }

    /// Attaches the place of the call to an error.
    pub fn check<T, E: Into<Diagnostic>>(&self, result: Result<T, E>) -> Answer<T> {
        result.map_err(|error| self.fail(error.into()))
    }

    fn interrupted(&self) -> Box<EvalAltResult> {
        // Not an error that a script can catch.
        Box::new(EvalAltResult::ErrorTerminated(
            rhai::Dynamic::UNIT,
            self.position,
        ))
    }
}
