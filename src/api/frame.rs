//! The frame of a running task: its mode, whether it is `@readonly`, how deep tasks are nested.
//!
//! A frame travels with the evaluation of a script, as the tag of the engine's global state. So two
//! tasks that run at the same time, or one inside the other, cannot change each other's mode.

use rhai::Dynamic;

use crate::{
    context::Mode,
    core::diagnostic::{Diagnostic, Kind},
};

/// How deep tasks may run tasks by name. Each level takes a thread with a stack of its own.
const DEPTH: usize = 16;

/// What a task's function calls depend on.
#[derive(Clone)]
pub struct Frame {
    /// Whether changes are made, reported or recorded.
    pub mode: Mode,
    /// Whether the task is `@readonly`: its commands run in a dry run too.
    pub is_readonly: bool,
    depth: usize,
}

impl Frame {
    /// The frame of a task that the user runs.
    pub fn new(mode: &Mode, is_readonly: bool) -> Self {
        Frame {
            mode: mode.clone(),
            is_readonly,
            depth: 0,
        }
    }

    /// The frame of the task `name`, which a task with this frame runs. Only the new task's own
    /// `@readonly` counts: a `@readonly` task cannot lend it to a task that makes changes.
    pub fn nested(&self, name: &str, is_readonly: bool) -> Result<Self, Diagnostic> {
        if self.depth == DEPTH {
            let message = format!("task `{name}`: tasks are nested more than {DEPTH} deep");
            return Err(Diagnostic::new(Kind::Failed, message)
                .help("check whether a task runs itself through `task::run`".to_owned()));
        }
        Ok(Frame {
            mode: self.mode.clone(),
            is_readonly,
            depth: self.depth + 1,
        })
    }

    /// The frame that an evaluation was started with, if it was started with one.
    pub(super) fn of(tag: Option<&Dynamic>) -> Option<Self> {
        tag?.clone().try_cast()
    }

    /// Whether commands are run, not only reported.
    pub fn runs_commands(&self) -> bool {
        match self.mode {
            Mode::Real => true,
            Mode::Dry => self.is_readonly,
            Mode::Mock(_) => false,
        }
    }
}
