//! The terminal: everything that is shown, and every question.
//!
//! Data goes to standard output, everything else to standard error.

mod json;
mod line;
mod output;
mod progress;
mod prompt;
mod report;
mod secrets;

use std::{
    collections::BTreeSet,
    env,
    io::{self, IsTerminal, Write},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anstyle::{AnsiColor, Style};
pub use line::LineReader;
pub use output::OutputStyle;
use output::{Held, Piece, heading};
pub use progress::Progress;
pub use report::render;
use secrets::Secrets;

use crate::core::{
    cancel::Cancel,
    diagnostic::{Diagnostic, plain, plural},
    event::{Event, Interface, Outcome, RecapLine, Stream},
    table::Table,
};

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, and as the environment says.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What the user wants to see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// When to use colours.
    pub color: Color,
    /// Only data, output of commands and errors.
    pub quiet: bool,
    /// Also what was done on which host, and how long it took.
    pub verbose: bool,
    /// Every question is answered with yes.
    pub yes: bool,
    /// How the output of several hosts is shown.
    pub style: OutputStyle,
}

/// The user's terminal.
pub struct Terminal {
    shown: Shown,
    color: bool,
    held: Held,
    progress: Progress,
    /// Those on which something runs.
    hosts: Mutex<BTreeSet<String>>,
    /// Whether lines of commands carry their host.
    prefix: AtomicBool,
    run: OnceLock<Cancel>,
    lost: AtomicBool,
    secrets: Secrets,
}

impl Terminal {
    /// A terminal that shows what it is told to.
    pub fn new(shown: Shown) -> Self {
        let terminal = io::stderr().is_terminal();
        let ci = env::var_os("CI").is_some();
        Terminal {
            color: wants_color(shown.color, terminal),
            shown,
            held: Held::default(),
            progress: Progress::new(terminal && !ci && !shown.quiet),
            hosts: Mutex::default(),
            prefix: AtomicBool::new(true),
            run: OnceLock::new(),
            lost: AtomicBool::new(false),
            secrets: Secrets::default(),
        }
    }

    /// Ends this run when nobody reads the output any more: `hitc exec … | head`.
    pub fn end_with_reader(&self, run: Cancel) {
        // A terminal serves one run.
        let _ = self.run.set(run);
    }

    /// Whether what runs, runs on exactly one host.
    pub fn is_on_one_host(&self) -> bool {
        !self.prefix.load(Ordering::Relaxed)
    }

    /// The names of what goes on right now.
    pub fn running(&self) -> Vec<String> {
        let mut running = self.progress.running();
        running.extend(self.hosts().iter().cloned());
        running.sort();
        running.dedup();
        running
    }

    fn hosts(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn out(&self, text: impl AsRef<[u8]>) {
        let written = self.progress.suspend(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&self.secrets.mask(text.as_ref()))?;
            stdout.flush()
        });
        let Err(error) = written else { return };
        // Where nobody reads any more, `hitc tasks | head`, nothing is lost.
        if error.kind() != io::ErrorKind::BrokenPipe && !self.lost.swap(true, Ordering::Relaxed) {
            self.err(format!("error: standard output: {}\n", plain(error)));
        }
        if let Some(run) = self.run.get() {
            run.end();
        }
    }

    /// Whether data could not be written.
    pub fn has_lost_data(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    fn err(&self, text: impl AsRef<[u8]>) {
        self.progress.suspend(|| {
            let text = self.secrets.mask(text.as_ref());
            drop(io::stderr().lock().write_all(&text));
        });
    }

    fn note(&self, text: &str) {
        if !self.shown.quiet {
            self.err(format!("{text}\n"));
        }
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.color {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// Of several hosts, each line is text and carries its host; of one, every byte is passed on.
    fn line(&self, host: Option<&str>, stream: Stream, line: &[u8]) {
        let many = self.prefix.load(Ordering::Relaxed);
        let shown = match host {
            Some(host)
                if many && matches!(self.shown.style, OutputStyle::Group | OutputStyle::Fold) =>
            {
                if let Err(error) = self.held.push(host, stream, line) {
                    self.err(format!("error: output of {host}: {}\n", plain(error)));
                }
                return;
            }
            Some(host) if many && self.shown.style == OutputStyle::Prefix => {
                let host = self.paint(color_of(host), &format!("[{host}]"));
                let line = String::from_utf8_lossy(line);
                &format!("{host} {}\n", line.trim_end_matches(['\n', '\r'])).into_bytes()
            }
            _ => line,
        };
        match stream {
            Stream::Stdout => self.out(shown),
            Stream::Stderr => self.err(shown),
        }
    }

    /// Shows output that was held back.
    fn pieces(&self, pieces: io::Result<impl IntoIterator<Item = Piece>>) {
        match pieces {
            Ok(pieces) => {
                for piece in pieces {
                    let title = self.paint(Style::new().bold(), &heading(&piece.hosts));
                    self.out(format!("{title}\n"));
                    let ends = piece
                        .lines
                        .last()
                        .is_some_and(|(_, line)| line.ends_with(b"\n"));
                    for (stream, line) in piece.lines {
                        match stream {
                            Stream::Stdout => self.out(line),
                            Stream::Stderr => self.err(line),
                        }
                    }
                    if !ends {
                        self.out("\n");
                    }
                }
            }
            Err(error) => self.err(format!("error: held output: {}\n", plain(error))),
        }
    }

    /// A host has ended.
    fn ended(&self, host: &str) {
        if self.shown.style == OutputStyle::Group {
            self.pieces(self.held.take(host));
        }
    }

    /// Shows what is still held back: a run is over.
    pub fn flush(&self) {
        self.pieces(self.held.fold());
    }

    fn plan(&self, text: &str) {
        let mut painted = String::new();
        for line in text.lines() {
            let style = match line.trim_start().chars().next() {
                Some('+') => AnsiColor::Green.on_default(),
                Some('~' | '!') => AnsiColor::Yellow.on_default(),
                Some('-') => AnsiColor::Red.on_default(),
                _ => Style::new(),
            };
            painted.push_str(&self.paint(style, line));
            painted.push('\n');
        }
        self.err(painted);
    }

    fn recap(&self, noun: &str, results: &[RecapLine]) {
        let row = |result: &RecapLine| {
            let outcome = word(result.outcome);
            let seconds = match result.outcome {
                Outcome::Skipped => String::new(),
                _ => format!("{:.1} s", result.seconds),
            };
            vec![result.name.clone(), outcome.to_owned(), seconds]
        };
        let table = Table {
            columns: [noun, "result", "time"].map(str::to_owned).to_vec(),
            rows: results.iter().map(row).collect(),
        };
        let count = |outcome| results.iter().filter(|r| r.outcome == outcome).count();
        let all = [
            Outcome::Ok,
            Outcome::Changed,
            Outcome::Failed,
            Outcome::Unreachable,
            Outcome::Skipped,
        ];
        let summary: Vec<String> = all
            .into_iter()
            .filter(|outcome| count(*outcome) > 0)
            .map(|outcome| format!("{} {}", count(outcome), word(outcome)))
            .collect();
        let hosts = plural(results.len(), noun);
        self.note(&format!("\n{table}\n\n{hosts}: {}", summary.join(", ")));
    }
}

impl Interface for Terminal {
    fn show(&self, event: Event) {
        match &event {
            Event::Hosts(count) => self.prefix.store(*count != 1, Ordering::Relaxed),
            Event::Begun(host) => {
                self.hosts().insert(host.clone());
            }
            Event::Ended(host) => {
                self.hosts().remove(host);
            }
            _ => {}
        }
        if self.shown.style == OutputStyle::Json
            && let Some(line) = json::line(&event)
        {
            self.out(line);
            return;
        }
        match event {
            Event::Data(text) => self.out(text),
            Event::Table(table) => self.out(format!("{table}\n")),
            Event::Output { host, stream, line } => self.line(host.as_deref(), stream, &line),
            Event::Hosts(_) | Event::Begun(_) => {}
            Event::Ended(host) => self.ended(&host),
            Event::WouldDo(what) => {
                self.err(format!(
                    "{} {what}\n",
                    self.paint(Style::new().bold(), "would")
                ));
            }
            Event::Heading(text) => {
                let heading = self.paint(Style::new().bold(), &text);
                self.note(&format!("\n{heading}"));
            }
            Event::Note(text) => self.note(&text),
            Event::Detail(text) => {
                if self.shown.verbose {
                    self.note(&text);
                }
            }
            Event::Warning(text) => {
                let warning = self.paint(AnsiColor::Yellow.on_default().bold(), "warning:");
                self.err(format!("{warning} {text}\n"));
            }
            Event::Plan(text) => self.plan(&text),
            Event::Started { id, thing, what } => {
                if !self.shown.quiet {
                    self.progress.start(id, &thing, &self.secrets.masked(what));
                }
            }
            Event::Progress { id, what } => self.progress.update(id, &self.secrets.masked(what)),
            Event::Tick { id, what } => self.progress.tick(id, &what),
            Event::Finished { id, what } => {
                let what = what.map(|what| self.secrets.masked(what));
                self.progress.finish(id, what.as_deref());
            }
            Event::Failure(diagnostic) => {
                let report = render(&diagnostic, self.color);
                self.err(format!("{report}\n"));
            }
            Event::Recap { noun, lines } => {
                self.flush();
                self.recap(noun, &lines);
            }
        }
    }

    fn confirm(&self, question: &str, typed: Option<&str>) -> Result<bool, Diagnostic> {
        if self.shown.yes {
            return Ok(true);
        }
        self.progress.suspend(|| prompt::confirm(question, typed))
    }

    fn prompt(&self, question: &str, hidden: bool) -> Result<String, Diagnostic> {
        self.progress.suspend(|| prompt::text(question, hidden))
    }

    fn hide(&self, secret: &str) {
        self.secrets.add(secret);
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Changed => "changed",
        Outcome::Failed => "failed",
        Outcome::Unreachable => "unreachable",
        Outcome::Skipped => "skipped",
    }
}

/// `--color` beats `NO_COLOR`, which beats `FORCE_COLOR`, which beats what the terminal is.
fn wants_color(color: Color, terminal: bool) -> bool {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if set("NO_COLOR") => false,
        Color::Auto => set("FORCE_COLOR") || terminal,
    }
}

/// A colour for a host, always the same.
fn color_of(host: &str) -> Style {
    const COLORS: [AnsiColor; 6] = [
        AnsiColor::Cyan,
        AnsiColor::Green,
        AnsiColor::Yellow,
        AnsiColor::Magenta,
        AnsiColor::Blue,
        AnsiColor::BrightCyan,
    ];
    let sum: usize = host.bytes().map(usize::from).sum();
    COLORS[sum % COLORS.len()].on_default()
}
