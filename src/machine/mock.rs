//! Mock machines for `hitc test`: record commands and replay answers.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use globset::{GlobBuilder, GlobMatcher};

use crate::core::{
    diagnostic::{Diagnostic, Kind},
    process::{Exit, Output},
};

/// The answer to a command.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Its exit status.
    pub code: u32,
}

/// Records the commands of one test, and answers them.
#[derive(Default)]
pub struct Mock {
    log: Mutex<Vec<String>>,
    answers: Mutex<Vec<(GlobMatcher, Answer)>>,
}

impl Mock {
    /// Sets the answer to all further commands that match a glob. The last matching answer applies.
    pub fn answer(&self, glob: &str, answer: Answer) -> Result<(), Diagnostic> {
        let glob = GlobBuilder::new(glob)
            .literal_separator(false)
            .build()
            .map_err(|error| Diagnostic::new(Kind::Usage, format!("`{glob}`: {}", error.kind())))?;
        lock(&self.answers).push((glob.compile_matcher(), answer));
        Ok(())
    }

    /// Records a command and answers it. Without an answer, it succeeds without output.
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

    /// The records, in order.
    pub fn log(&self) -> Vec<String> {
        lock(&self.log).clone()
    }

    /// Removes all records and answers, for the next test.
    pub fn clear(&self) {
        lock(&self.log).clear();
        lock(&self.answers).clear();
    }
}

/// Locks a list. It is consistent even if a thread panicked while holding the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
