//! What the layers tell the user: the only way to reach the screen.
//!
//! A layer emits [`Event`]s through [`Events`]; `ui/` decides what they look like. Questions go
//! the same way, so that one place knows whether anybody is there to answer.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::core::{
    diagnostic::{Diagnostic, Kind},
    table::Table,
};

/// Which stream of a command a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a host ended a task, or how a thing of a manifest was brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It went well.
    Ok,
    /// It went well, and something was changed.
    Changed,
    /// It failed.
    Failed,
    /// The host could not be reached.
    Unreachable,
    /// It was not begun.
    Skipped,
}

/// One line of the table at the end.
#[derive(Clone, Debug)]
pub struct RecapLine {
    /// The host or thing.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What went wrong, if something did.
    pub failure: Option<Diagnostic>,
}

impl RecapLine {
    /// Whether it went well.
    pub fn is_ok(&self) -> bool {
        matches!(self.outcome, Outcome::Ok | Outcome::Changed)
    }
}

/// Something the user may want to know.
#[derive(Clone, Debug)]
pub enum Event {
    /// Data that the user asked for, with its line ends. Goes to standard output.
    Data(String),
    /// A table that the user asked for. Goes to standard output.
    Table(Table),
    /// What a command wrote, a line at a time. Goes to the same stream of ours.
    Output {
        /// The host that ran the command; none if this machine did.
        host: Option<String>,
        /// Where the command wrote it.
        stream: Stream,
        /// The bytes of a line, with its end if it has one.
        line: Vec<u8>,
    },
    /// A task begins that runs on so many hosts; none if it runs on this machine.
    Hosts(usize),
    /// A task begins on this host, or a command that is run on many.
    Begun(String),
    /// It has ended there.
    Ended(String),
    /// What a dry run did not do.
    WouldDo(String),
    /// What comes next.
    Heading(String),
    /// Something worth a line.
    Note(String),
    /// Something for those who want to know more (`-v`).
    Detail(String),
    /// Something the user should look at.
    Warning(String),
    /// The plan of an ensemble, as text.
    Plan(String),
    /// Something begins that takes a while.
    Started {
        /// Tells concurrent activities apart.
        id: u64,
        /// What it is about: a server, a container.
        thing: String,
        /// What is being done.
        what: String,
    },
    /// An activity does something else now.
    Progress {
        /// As in [`Event::Started`].
        id: u64,
        /// What is being done now.
        what: String,
    },
    /// How far an activity is: worth a look where it can be written over, and not a line.
    Tick {
        /// As in [`Event::Started`].
        id: u64,
        /// How far it is.
        what: String,
    },
    /// An activity is over.
    Finished {
        /// As in [`Event::Started`].
        id: u64,
        /// How it ended; none if that is reported elsewhere.
        what: Option<String>,
    },
    /// An error.
    Failure(Diagnostic),
    /// The table at the end of what several hosts or things took part in.
    Recap {
        /// What each line is about: `host`, `thing`.
        noun: &'static str,
        /// The lines.
        lines: Vec<RecapLine>,
    },
}

/// The side that shows events and asks questions; `ui/` has the terminal, tests have their own.
pub trait Interface: Send + Sync {
    /// Shows an event.
    fn show(&self, event: Event);

    /// Asks a question. With `typed`, only that word is a yes.
    ///
    /// Fails if nobody can answer: a prompt is refused, never waited for.
    fn confirm(&self, question: &str, typed: Option<&str>) -> Result<bool, Diagnostic>;

    /// Asks for a text. A `hidden` one is not shown while it is typed.
    ///
    /// Fails if nobody can answer.
    fn prompt(&self, question: &str, hidden: bool) -> Result<String, Diagnostic>;

    /// From now on, a text is shown as `***` wherever it turns up.
    fn hide(&self, secret: &str);
}

/// Nobody listens, and nobody answers.
struct Nobody;

impl Interface for Nobody {
    fn show(&self, _: Event) {}

    fn confirm(&self, question: &str, _: Option<&str>) -> Result<bool, Diagnostic> {
        self.prompt(question, false).map(|_| false)
    }

    fn prompt(&self, question: &str, _: bool) -> Result<String, Diagnostic> {
        let message = format!("nobody is there to answer: {question}");
        Err(Diagnostic::new(Kind::Usage, message))
    }

    fn hide(&self, _: &str) {}
}

/// A handle on the user, to be cloned at will.
#[derive(Clone)]
pub struct Events {
    interface: Arc<dyn Interface>,
    next: Arc<AtomicU64>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// Sends everything to this interface.
    pub fn new(interface: Arc<dyn Interface>) -> Self {
        Events {
            interface,
            next: Arc::default(),
        }
    }

    /// Sends everything nowhere, and lets nobody answer.
    pub fn silent() -> Self {
        Events::new(Arc::new(Nobody))
    }

    /// Shows an event.
    pub fn emit(&self, event: Event) {
        self.interface.show(event);
    }

    /// Says something worth a line.
    pub fn note(&self, text: impl Into<String>) {
        self.emit(Event::Note(text.into()));
    }

    /// Says something to those who want to know more.
    pub fn detail(&self, text: impl Into<String>) {
        self.emit(Event::Detail(text.into()));
    }

    /// Says something that the user should look at.
    pub fn warn(&self, text: impl Into<String>) {
        self.emit(Event::Warning(text.into()));
    }

    /// Says that something begins that takes a while.
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

    /// Asks for a text. A `hidden` one is not shown while it is typed.
    pub fn prompt(&self, question: &str, hidden: bool) -> Result<String, Diagnostic> {
        self.interface.prompt(question, hidden)
    }

    /// From now on, a text is shown as `***` wherever it turns up.
    pub fn hide(&self, secret: &str) {
        self.interface.hide(secret);
    }

    /// Asks; an answer other than yes is an error, so that nothing goes on after it.
    pub fn confirm(&self, question: &str, typed: Option<&str>) -> Result<(), Diagnostic> {
        if self.interface.confirm(question, typed)? {
            Ok(())
        } else {
            Err(Diagnostic::new(
                Kind::Failed,
                "not confirmed; nothing was done",
            ))
        }
    }
}

/// How many bytes of a line are shown as one; what is longer is broken.
const LONGEST: usize = 64 * 1024;

/// Turns what a command writes into [`Event::Output`], a line at a time.
///
/// What is left without a line end is shown when it is dropped.
pub struct Lines<'a> {
    events: &'a Events,
    host: Option<&'a str>,
    rest: [Vec<u8>; 2],
}

impl<'a> Lines<'a> {
    /// Lines of a command on this host, or on this machine.
    pub fn new(events: &'a Events, host: Option<&'a str>) -> Self {
        Lines {
            events,
            host,
            rest: [Vec::new(), Vec::new()],
        }
    }

    /// Takes what the command wrote.
    pub fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let rest = &mut self.rest[stream as usize];
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            rest.extend_from_slice(part);
            if part.ends_with(b"\n") || rest.len() >= LONGEST {
                let line = std::mem::take(rest);
                self.events.emit(output(self.host, stream, line));
            }
        }
    }
}

impl Drop for Lines<'_> {
    fn drop(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.rest[stream as usize]);
            if !rest.is_empty() {
                self.events.emit(output(self.host, stream, rest));
            }
        }
    }
}

fn output(host: Option<&str>, stream: Stream, line: Vec<u8>) -> Event {
    Event::Output {
        host: host.map(str::to_owned),
        stream,
        line,
    }
}

/// Something that goes on. Dropped, it disappears from the screen.
#[derive(Debug)]
pub struct Activity {
    events: Events,
    id: u64,
    open: bool,
}

impl Activity {
    /// Says what is being done now.
    pub fn update(&self, what: impl Into<String>) {
        self.events.emit(Event::Progress {
            id: self.id,
            what: what.into(),
        });
    }

    /// Says how far it is, as often as one likes.
    pub fn tick(&self, what: impl Into<String>) {
        self.events.emit(Event::Tick {
            id: self.id,
            what: what.into(),
        });
    }

    /// Ends with a line about how it went.
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
