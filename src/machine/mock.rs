//! What takes the place of servers while a user's own tests run: it records what would be done, and
//! plays back answers.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use globset::{GlobBuilder, GlobMatcher};

use crate::core::{
    diagnostic::{Diagnostic, Kind},
    process::{Exit, Output},
};

/// What a command is answered with.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Its exit status.
    pub code: u32,
}

/// The stage of one test.
#[derive(Default)]
pub struct Mock {
    log: Mutex<Vec<String>>,
    answers: Mutex<Vec<(GlobMatcher, Answer)>>,
}

impl Mock {
    /// From now on, commands that match a glob are answered so; the latest answer counts.
    pub fn answer(&self, glob: &str, answer: Answer) -> Result<(), Diagnostic> {
        let glob = GlobBuilder::new(glob)
            .literal_separator(false)
            .build()
            .map_err(|error| Diagnostic::new(Kind::Usage, format!("`{glob}`: {}", error.kind())))?;
        lock(&self.answers).push((glob.compile_matcher(), answer));
        Ok(())
    }

    /// Records a command and answers it. One that nobody thought of writes nothing and goes well.
    pub fn run(&self, place: &str, line: &str) -> Output {
        self.record(format!("{place}: {line}"));
        let answers = lock(&self.answers);
        let found = answers.iter().rev().find(|(glob, _)| glob.is_match(line));
        let answer = found.map(|(_, answer)| answer.clone()).unwrap_or_default();
        Output {
            exit: Exit::Code(answer.code),
            stdout: answer.stdout.into_bytes(),
            stderr: answer.stderr.into_bytes(),
            elapsed: Duration::ZERO,
        }
    }

    /// Records something that would be done.
    pub fn record(&self, what: String) {
        lock(&self.log).push(what);
    }

    /// What was recorded, in its order.
    pub fn log(&self) -> Vec<String> {
        lock(&self.log).clone()
    }

    /// Forgets everything, for the next test.
    pub fn clear(&self) {
        lock(&self.log).clear();
        lock(&self.answers).clear();
    }
}

/// A thread that died with the lock held has left a sound list behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
