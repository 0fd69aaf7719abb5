//! The mock of a test of scripts (`hitc test`): it answers in the place of servers, of the local machine,
//! of HTTP servers, of the user, of files and of the clock. Nothing real is contacted or changed.

mod clock;
mod files;
mod requests;
mod rules;

use std::{path::PathBuf, sync::Mutex, time::Duration};

use clock::Clock;
pub use files::Files;
use requests::Requests;
pub use rules::{Pattern, Rules};

use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        process::{Exit, Output},
        sync::lock,
    },
    http::{Reply, Responder, Sent, Unanswered},
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

/// The answers and the records of one test.
#[derive(Default)]
pub struct Mock {
    log: Mutex<Vec<String>>,
    /// The answers to commands.
    pub commands: Rules<Answer>,
    /// The answers to questions.
    pub questions: Rules<String>,
    /// The local files.
    pub files: Files,
    requests: Requests,
    clock: Clock,
    unanswered: Mutex<Vec<Diagnostic>>,
}

impl Mock {
    /// Creates the mock of a project. Scripts can read the files in its folder.
    pub fn new(root: PathBuf) -> Self {
        Mock {
            files: Files::new(root),
            ..Mock::default()
        }
    }

    /// Sets the answer to all further commands that match a glob.
    pub fn answer(&self, glob: &str, answer: Answer) -> Result<(), Diagnostic> {
        self.commands.add(Pattern::parse(glob)?, vec![answer]);
        Ok(())
    }

    /// Records a command and answers it. Without an answer, it succeeds without output.
    pub fn run(&self, place: &str, line: &str) -> Output {
        self.record(format!("{place}: {line}"));
        output(self.commands.next(line).unwrap_or_default())
    }

    /// Answers a command whose output is a value, such as a secret. Without an answer, it fails.
    pub fn evaluate(&self, line: &str) -> Result<Output, Diagnostic> {
        let answer = self.commands.next(line).ok_or_else(|| {
            self.unanswered(
                format!("`{line}` has no answer in this test"),
                &format!("test::answer({}, \"…\")", quoted(line)),
            )
        })?;
        Ok(output(answer))
    }

    /// Answers a question to the user. Without an answer, it fails.
    pub fn reply(&self, question: &str) -> Result<String, Diagnostic> {
        self.questions.next(question).ok_or_else(|| {
            self.unanswered(
                format!("the question `{question}` has no answer in this test"),
                &format!("test::prompt({}, \"…\")", quoted(question)),
            )
        })
    }

    /// Adds the answers to all further requests that match `METHOD URL`.
    pub fn answer_requests(&self, pattern: Pattern, replies: Vec<Reply>) {
        self.requests.replies.add(pattern, replies);
    }

    /// The requests that were sent since the test began, in order.
    pub fn requests(&self) -> Vec<Sent> {
        lock(&self.requests.sent).clone()
    }

    /// The time since 1970.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Notes that something was asked for that the test has no answer to, and returns the error. `call` is
    /// what the test has to call. The test fails even if the script catches the error.
    pub fn unanswered(&self, message: String, call: &str) -> Diagnostic {
        let error = Diagnostic::new(Kind::Usage, message)
            .help(format!("write `{call}` in the test, before the call"));
        lock(&self.unanswered).push(error.clone());
        error
    }

    /// The errors of [`Mock::unanswered`] so far.
    pub fn all_unanswered(&self) -> Vec<Diagnostic> {
        lock(&self.unanswered).clone()
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
        lock(&self.unanswered).clear();
        self.commands.clear();
        self.questions.clear();
        self.files.clear();
        self.requests.clear();
        self.clock.clear();
    }
}

impl Responder for Mock {
    fn respond(&self, sent: Sent) -> Result<Reply, Unanswered> {
        let line = format!("{} {}", sent.method, sent.url);
        let call = format!(
            "test::http(\"{}\", {}, #{{ status: 200, body: \"…\" }})",
            sent.method,
            quoted(&sent.url)
        );
        lock(&self.requests.sent).push(sent);
        self.requests.replies.next(&line).ok_or_else(|| {
            self.unanswered(format!("{line} has no answer in this test"), &call);
            Unanswered
        })
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        self.clock.advance(duration);
    }
}

fn output(answer: Answer) -> Output {
    Output {
        exit: Exit::Code(answer.code),
        stdout: answer.stdout.into_bytes(),
        stderr: answer.stderr.into_bytes(),
        elapsed: Duration::ZERO,
    }
}

/// A text as a literal of scripts.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}
