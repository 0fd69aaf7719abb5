//! One call of a function by a script: drives futures, handles dry runs, positions errors.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rhai::{Dynamic, EvalAltResult, NativeCallContext, Position};

use super::{Api, Frame, Host, throw};
use crate::{
    context::{Context, Mode},
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::Event,
        process::Output,
    },
    inventory::Inventory,
    mock::Mock,
    project::Project,
};

/// The result of a function.
pub(super) type Answer<T> = Result<T, Box<EvalAltResult>>;

/// The local machine as a place where commands run.
pub(super) const HERE: &str = "here";

/// The simulated outcome of a command that is not run.
pub(super) enum Simulated {
    /// A mock answered it.
    Answered(Output),
    /// A dry run assumes that it succeeds.
    Assumed,
}

/// A call in progress.
pub(super) struct Call<'a> {
    /// The run.
    pub context: Arc<Context>,
    /// The servers of the run.
    pub inventory: Arc<Inventory>,
    /// What the running task passes to its calls.
    pub frame: Frame,
    /// The state that all functions share.
    pub api: &'a Api,
    /// The engine's side of the call, for calling closures.
    pub script: &'a NativeCallContext<'a>,
    position: Position,
    /// Whether the function asked if it may change something.
    asked: AtomicBool,
}

impl Api {
    /// Starts a call of a function.
    pub(super) fn call<'a>(&'a self, script: &'a NativeCallContext<'a>) -> Answer<Call<'a>> {
        let position = script.call_position();
        let inventory = self.inventory().cloned().ok_or_else(|| {
            let diagnostic = Diagnostic::new(
                Kind::Usage,
                format!(
                    "`{}` is called while the script is being loaded",
                    script.fn_name()
                ),
            )
            .help("call it inside a function".to_owned());
            throw(diagnostic, position)
        })?;
        let context = inventory.context.clone();
        // The console evaluates without a task.
        let frame = Frame::of(script.tag()).unwrap_or_else(|| Frame::new(&context.mode, false));
        Ok(Call {
            context,
            inventory,
            frame,
            api: self,
            script,
            position,
            asked: AtomicBool::new(false),
        })
    }
}

impl Call<'_> {
    /// The position of the call in the script.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Waits for a future, or until the user cancels the run.
    pub fn wait<T, E: Into<Diagnostic>>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Answer<T> {
        self.try_wait(async { future.await.map_err(|error| Failure::from(error.into())) })
    }

    /// Like [`Call::wait`], for a future that can fail with several errors.
    pub fn try_wait<T>(&self, future: impl Future<Output = Result<T, Failure>>) -> Answer<T> {
        let cancel = &self.context.cancel;
        let result = self.context.runtime.block_on(async {
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

    /// Waits for a future that changes something. In a dry run, reports `what` instead and returns
    /// none.
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

    /// Whether changes are not made. If so, reports that `what` would be done.
    pub fn would(&self, what: impl FnOnce() -> String) -> bool {
        self.asked.store(true, Ordering::Relaxed);
        match &self.frame.mode {
            Mode::Real => return false,
            Mode::Dry => self.context.events.emit(Event::WouldDo(what())),
            Mode::Mock(mock) => mock.record(what()),
        }
        true
    }

    /// Whether changes are made, without reporting anything.
    pub fn is_real(&self) -> bool {
        self.frame.mode.is_real()
    }

    /// Whether this is a dry run.
    pub fn is_dry(&self) -> bool {
        matches!(self.frame.mode, Mode::Dry)
    }

    /// The mock that answers commands in `hitc test`.
    pub fn mock(&self) -> Option<&Arc<Mock>> {
        self.frame.mode.mock()
    }

    /// The error of something that a test has no answer to; `help` is what the test has to call.
    pub fn unanswered(&self, text: String, help: &str) -> Box<EvalAltResult> {
        let error = match self.mock() {
            Some(mock) => mock.unanswered(text, help),
            None => Diagnostic::new(Kind::Usage, text),
        };
        self.fail(error)
    }

    /// The seconds since 1970. In a test, time passes only by sleeping.
    pub fn now(&self) -> f64 {
        match self.mock() {
            Some(mock) => mock.now().as_secs_f64(),
            None => jiff::Timestamp::now().as_duration().as_secs_f64(),
        }
    }

    /// The project that records the failed hosts for `--failed`; none if the task changes nothing.
    pub fn remembers(&self) -> Option<&Project> {
        (self.is_real() && !self.frame.is_readonly).then_some(&self.context.project)
    }

    /// Returns the outcome of a command that is not run: the answer of a mock, or success in a dry
    /// run. None if the command is to be run.
    pub fn simulate(&self, place: &str, line: &str) -> Option<Simulated> {
        self.asked.store(true, Ordering::Relaxed);
        if let Some(mock) = self.mock() {
            return Some(Simulated::Answered(mock.run(place, line)));
        }
        if self.frame.runs_commands() {
            return None;
        }
        let what = match place {
            HERE => format!("run `{line}` here"),
            place => format!("run `{line}` on {place}"),
        };
        self.context.events.emit(Event::WouldDo(what));
        Some(Simulated::Assumed)
    }

    /// Notes that a dry run assumes the outcome of a command.
    pub fn assume(&self, place: &str, line: &str) {
        self.context.assume(match place {
            HERE => format!("`{line}`"),
            place => format!("`{line}` on {place}"),
        });
    }

    /// Decodes a list of hosts.
    pub fn hosts(&self, list: &[Dynamic]) -> Answer<Vec<Host>> {
        let hosts: Option<Vec<Host>> = list.iter().map(|host| host.clone().try_cast()).collect();
        hosts.ok_or_else(|| {
            let function = self.script.fn_name();
            let text = format!("`{function}`: expected an array of hosts");
            self.fail(Diagnostic::new(Kind::Usage, text))
        })
    }

    /// An error at the position of the call.
    pub fn fail(&self, failure: impl Into<Failure>) -> Box<EvalAltResult> {
        throw(failure, self.position)
    }

    /// Adds the position of the call to an error.
    pub fn check<T, E: Into<Diagnostic>>(&self, result: Result<T, E>) -> Answer<T> {
        result.map_err(|error| self.fail(error.into()))
    }

    /// Whether the function asked if it may change something. A function that is registered as
    /// read-only must not ask.
    pub fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    fn interrupted(&self) -> Box<EvalAltResult> {
        // Not an error that a script can catch.
        Box::new(EvalAltResult::ErrorTerminated(Dynamic::UNIT, self.position))
    }
}
