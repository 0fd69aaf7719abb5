//! Events: everything that hitc shows to the user.
//!
//! A layer emits [`Event`]s through [`Events`]; `ui/` formats and prints them. Questions take the
//! same way, because only `ui/` knows whether a user can answer.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

pub use crate::core::log::Stream;
use crate::core::{
    diagnostic::{Diagnostic, Failure, Kind},
    log::LogLines,
    secrets::Secrets,
    table::Table,
};

/// The result of a task on a host, or of the operations on a resource of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded.
    Ok,
    /// It succeeded and changed something.
    Changed,
    /// It failed.
    Failed,
    /// The host could not be reached.
    Unreachable,
    /// It was not started.
    Skipped,
}

/// One row of the summary table.
#[derive(Clone, Debug)]
pub struct RecapLine {
    /// The host or resource.
    pub name: String,
    /// The result.
    pub outcome: Outcome,
    /// The duration in seconds.
    pub seconds: f64,
    /// The error, if it failed.
    pub failure: Option<Diagnostic>,
}

impl Outcome {
    /// The word in the summary table and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Changed => "changed",
            Outcome::Failed => "failed",
            Outcome::Unreachable => "unreachable",
            Outcome::Skipped => "skipped",
        }
    }
}

impl RecapLine {
    /// Whether it succeeded.
    pub fn is_ok(&self) -> bool {
        matches!(self.outcome, Outcome::Ok | Outcome::Changed)
    }
}

/// One line of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanLine {
    /// What happens to the resource of the line.
    pub mark: Mark,
    /// How far the line is indented, in steps.
    pub depth: usize,
    /// The text.
    pub text: String,
}

/// What happens to a resource, as one character at the beginning of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Nothing, or the line is a detail.
    None,
    /// It is added.
    Add,
    /// It is changed.
    Change,
    /// Another takes its place.
    Replace,
    /// It is removed.
    Remove,
}

impl fmt::Display for PlanLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.mark {
            Mark::None => "",
            Mark::Add => "+ ",
            Mark::Change => "~ ",
            Mark::Replace => "! ",
            Mark::Remove => "- ",
        };
        write!(
            f,
            "{:width$}{mark}{}",
            "",
            self.text,
            width = self.depth * 2
        )
    }
}

/// Something to show to the user.
#[derive(Clone, Debug)]
pub enum Event {
    /// Data that the user asked for, including line ends. Written to standard output unchanged.
    Data(String),
    /// A table that the user asked for. Written to standard output.
    Table(Table),
    /// One line of a command's output. Written to the same stream of hitc.
    Output {
        /// The host that ran the command; none for the local machine.
        host: Option<String>,
        /// The stream to which the command wrote it.
        stream: Stream,
        /// The bytes, including the line end if there is one.
        line: Vec<u8>,
    },
    /// Lines of containers' logs. Each is written to the same stream of hitc.
    Logs(LogLines),
    /// A table that replaces the one before it on a terminal. Elsewhere, it is written after it.
    Refresh(Table),
    /// A task starts on this number of hosts; 0 if it runs on the local machine.
    Hosts(usize),
    /// The task or command starts on this host.
    Begun(String),
    /// The task or command ended on this host.
    Ended(String),
    /// An action that a dry run skipped, as an infinitive: "write `/etc/motd` on web".
    WouldDo(String),
    /// A heading for what follows.
    Heading(String),
    /// One line of information.
    Note(String),
    /// One line of detail, shown with `-v`.
    Detail(String),
    /// One line about a problem that is not an error.
    Warning(String),
    /// The lines in which a file differs, each after `+`, `-` or a space.
    Diff(String),
    /// The plan of an ensemble.
    Plan {
        /// The plan as lines of text.
        lines: Vec<PlanLine>,
        /// The whole plan as data (`docs/plan.schema.json`). None if the interface shows no data.
        data: Option<serde_json::Value>,
        /// Whether the user asked for the plan itself, so that it goes to standard output.
        requested: bool,
        /// Whether it changes anything.
        changes: bool,
    },
    /// Data for programs: an object of this name. Shown only as JSON.
    Record {
        /// What the data is.
        name: &'static str,
        /// The data.
        data: serde_json::Value,
    },
    /// An activity starts that may take a while.
    Started {
        /// Identifies the activity in the events that follow.
        id: u64,
        /// Its subject: a server or a container, for example.
        thing: String,
        /// What happens: "waiting for SSH".
        what: String,
    },
    /// An activity reached its next step.
    Progress {
        /// As in [`Event::Started`].
        id: u64,
        /// What happens now.
        what: String,
    },
    /// The progress of an activity. Shown only on a terminal, where it can be overwritten.
    Tick {
        /// As in [`Event::Started`].
        id: u64,
        /// The progress: "12 of 40 MiB".
        what: String,
    },
    /// An activity ended.
    Finished {
        /// As in [`Event::Started`].
        id: u64,
        /// The result; none if it is reported elsewhere.
        what: Option<String>,
    },
    /// An error.
    Failure(Diagnostic),
    /// The summary table of a run on several hosts or resources.
    Recap {
        /// The title of the first column: `host`, for example.
        noun: &'static str,
        /// The rows.
        lines: Vec<RecapLine>,
        /// Whether the terminal shows only the counts, because another table has a row for each.
        counts_only: bool,
    },
}

impl Event {
    /// The event with its secrets masked.
    fn masked(self, secrets: &Secrets) -> Self {
        if secrets.is_empty() {
            return self;
        }
        let text = |text: String| secrets.masked(text);
        match self {
            Event::Data(data) => Event::Data(text(data)),
            Event::Table(table) => Event::Table(table.map(text)),
            Event::Refresh(table) => Event::Refresh(table.map(text)),
            Event::Output { host, stream, line } => Event::Output {
                host,
                stream,
                line: secrets.masked_bytes(line),
            },
            Event::Logs(mut logs) => {
                for line in &mut logs.lines {
                    line.line = secrets.masked_bytes(std::mem::take(&mut line.line));
                }
                Event::Logs(logs)
            }
            Event::Hosts(_) => self,
            Event::Begun(host) => Event::Begun(text(host)),
            Event::Ended(host) => Event::Ended(text(host)),
            Event::WouldDo(what) => Event::WouldDo(text(what)),
            Event::Heading(heading) => Event::Heading(text(heading)),
            Event::Note(note) => Event::Note(text(note)),
            Event::Detail(detail) => Event::Detail(text(detail)),
            Event::Warning(warning) => Event::Warning(text(warning)),
            Event::Diff(lines) => Event::Diff(text(lines)),
            Event::Plan {
                mut lines,
                data,
                requested,
                changes,
            } => {
                for line in &mut lines {
                    line.text = text(std::mem::take(&mut line.text));
                }
                Event::Plan {
                    lines,
                    data: data.map(|data| secrets.masked_json(data)),
                    requested,
                    changes,
                }
            }
            Event::Record { name, data } => Event::Record {
                name,
                data: secrets.masked_json(data),
            },
            Event::Started { id, thing, what } => Event::Started {
                id,
                thing: text(thing),
                what: text(what),
            },
            Event::Progress { id, what } => Event::Progress {
                id,
                what: text(what),
            },
            Event::Tick { id, what } => Event::Tick {
                id,
                what: text(what),
            },
            Event::Finished { id, what } => Event::Finished {
                id,
                what: what.map(text),
            },
            Event::Failure(diagnostic) => Event::Failure(diagnostic.masked(secrets)),
            Event::Recap {
                noun,
                mut lines,
                counts_only,
            } => {
                for line in &mut lines {
                    line.name = text(std::mem::take(&mut line.name));
                    let failure = line.failure.take();
                    line.failure = failure.map(|failure| failure.masked(secrets));
                }
                Event::Recap {
                    noun,
                    lines,
                    counts_only,
                }
            }
        }
    }
}

/// Shows events and asks questions. `ui/` implements it for the terminal, tests for themselves.
pub trait Interface: Send + Sync {
    /// Shows an event.
    fn show(&self, event: Event);

    /// Whether it shows plans as data, which may be large.
    fn shows_data(&self) -> bool {
        false
    }

    /// Asks a yes/no question. With `typed`, only typing that word counts as yes.
    ///
    /// Fails immediately if there is no terminal.
    fn confirm(&self, question: &str, typed: Option<&str>) -> Result<bool, Diagnostic>;

    /// Asks for a text. With `hidden`, typed characters are not shown.
    ///
    /// Fails immediately if there is no terminal.
    fn prompt(&self, question: &str, hidden: bool) -> Result<String, Diagnostic>;
}

/// Discards events and refuses questions.
struct Silent;

impl Interface for Silent {
    fn show(&self, _: Event) {}

    fn confirm(&self, question: &str, _: Option<&str>) -> Result<bool, Diagnostic> {
        self.prompt(question, false).map(|_| false)
    }

    fn prompt(&self, question: &str, _: bool) -> Result<String, Diagnostic> {
        let message = format!("no terminal to answer: {question}");
        Err(Diagnostic::new(Kind::Usage, message))
    }
}

/// A handle for showing events and asking questions. Clones are cheap and share the interface.
///
/// Secrets are masked here, before the interface wraps, cuts or encodes anything.
#[derive(Clone)]
pub struct Events {
    interface: Arc<dyn Interface>,
    next: Arc<AtomicU64>,
    secrets: Arc<Secrets>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// Creates a handle for an interface.
    pub fn new(interface: Arc<dyn Interface>) -> Self {
        Events {
            interface,
            next: Arc::default(),
            secrets: Arc::default(),
        }
    }

    /// The same handle for another interface.
    #[must_use]
    pub fn with(&self, interface: Arc<dyn Interface>) -> Self {
        Events {
            interface,
            ..self.clone()
        }
    }

    /// Creates a handle that discards events and refuses questions.
    pub fn silent() -> Self {
        Events::new(Arc::new(Silent))
    }

    /// Shows an event.
    pub fn emit(&self, event: Event) {
        self.interface.show(event.masked(&self.secrets));
    }

    /// Whether plans are shown as data.
    pub fn shows_data(&self) -> bool {
        self.interface.shows_data()
    }

    /// Shows one line of information.
    pub fn note(&self, text: impl Into<String>) {
        self.emit(Event::Note(text.into()));
    }

    /// Shows one line of detail, if the user asked for details with `-v`.
    pub fn detail(&self, text: impl Into<String>) {
        self.emit(Event::Detail(text.into()));
    }

    /// Shows a warning.
    pub fn warn(&self, text: impl Into<String>) {
        self.emit(Event::Warning(text.into()));
    }

    /// Shows the errors of a failure.
    pub fn report(&self, failure: &Failure) {
        for diagnostic in &failure.0 {
            self.emit(Event::Failure(diagnostic.clone()));
        }
    }

    /// Starts an activity about `thing`. It ends when the returned guard is dropped.
    pub fn start(&self, thing: impl Into<String>, what: impl Into<String>) -> Activity {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.emit(Event::Started {
            id,
            thing: thing.into(),
            what: what.into(),
        });
        Activity {
            events: self.clone(),
            id,
            open: true,
        }
    }

    /// Asks for a text. A `hidden` one is a secret: it is not shown, neither while it is typed nor
    /// later.
    pub fn prompt(&self, question: &str, hidden: bool) -> Result<String, Diagnostic> {
        let question = self.secrets.masked(question.to_owned());
        let answer = self.interface.prompt(&question, hidden)?;
        if hidden {
            self.hide(&answer);
        }
        Ok(answer)
    }

    /// Replaces a secret by `***` in everything that is shown from now on.
    pub fn hide(&self, secret: &str) {
        self.secrets.add(secret);
    }

    /// The secrets that are replaced.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Asks a yes/no question. Any answer other than yes is an error, which stops the caller.
    pub fn confirm(&self, question: &str, typed: Option<&str>) -> Result<(), Diagnostic> {
        let question = self.secrets.masked(question.to_owned());
        if self.interface.confirm(&question, typed)? {
            Ok(())
        } else {
            Err(Diagnostic::new(Kind::Failed, "not confirmed"))
        }
    }
}

/// A running activity. Dropping it removes it from the screen.
#[derive(Debug)]
pub struct Activity {
    events: Events,
    id: u64,
    open: bool,
}

impl Activity {
    /// Shows the next step.
    pub fn update(&self, what: impl Into<String>) {
        self.events.emit(Event::Progress {
            id: self.id,
            what: what.into(),
        });
    }

    /// Shows the progress. May be called often.
    pub fn tick(&self, what: impl Into<String>) {
        self.events.emit(Event::Tick {
            id: self.id,
            what: what.into(),
        });
    }

    /// Ends the activity and shows its result.
    pub fn done(mut self, what: impl Into<String>) {
        self.open = false;
        self.events.emit(Event::Finished {
            id: self.id,
            what: Some(what.into()),
        });
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        if self.open {
            self.events.emit(Event::Finished {
                id: self.id,
                what: None,
            });
        }
    }
}
