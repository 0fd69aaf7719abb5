//! The terminal: prints events and asks questions.
//!
//! Data goes to standard output, everything else to standard error. Control characters in texts
//! from servers, clouds, manifests and files are escaped, except in the output of a single host, in
//! `-o raw`, and in what a script prints.

mod color;
mod json;
mod line_reader;
mod logs;
mod output;
mod progress;
mod prompt;
mod report;

use std::{
    borrow::Cow,
    collections::BTreeSet,
    env,
    io::{self, IsTerminal, Write},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Style};
pub use color::Color;
pub use line_reader::LineReader;
pub use output::OutputStyle;
use output::{Block, HeldOutput, heading};
pub use progress::Progress;
pub use report::render;

use crate::core::{
    cancel::Cancel,
    diagnostic::{Diagnostic, Kind, plain, plural},
    event::{Event, Interface, Mark, Outcome, PlanLine, RecapLine, Stream},
    table::Table,
    text::{escape_controls, escape_controls_in_line, escape_controls_in_lines},
};

/// How long the handling of a signal that this process sent to itself may take.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(1);

/// How the terminal shows events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerminalOptions {
    /// When to use colours.
    pub color: Color,
    /// Shows only data, output of commands, and errors.
    pub quiet: bool,
    /// Shows details: what was done on which host, and for how long.
    pub verbose: bool,
    /// Answers every question with yes.
    pub yes: bool,
    /// How the output of several hosts is shown.
    pub style: OutputStyle,
}

/// The user's terminal.
pub struct Terminal {
    look: RwLock<Look>,
    held: HeldOutput,
    progress: Progress,
    /// The hosts on which a task or command is running.
    running_hosts: Mutex<BTreeSet<String>>,
    /// Whether the current task runs on exactly one host, so that output needs no prefix.
    is_on_one_host: AtomicBool,
    run: OnceLock<Cancel>,
    has_lost_data: AtomicBool,
    /// Whether the reader of standard output has read enough: `hitc … | head`.
    is_closed: AtomicBool,
    /// Held while a question waits for its answer: the tasks of several hosts ask one after the other.
    question: Mutex<()>,
}

/// How events look.
#[derive(Clone, Copy)]
struct Look {
    options: TerminalOptions,
    has_color: bool,
}

impl Look {
    fn new(options: TerminalOptions) -> Self {
        Look {
            has_color: options.color.is_used(io::stderr().is_terminal()),
            options,
        }
    }
}

impl Terminal {
    /// Creates a terminal on standard output and standard error.
    pub fn new(options: TerminalOptions) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let is_ci = env::var_os("CI").is_some();
        Terminal {
            look: RwLock::new(Look::new(options)),
            held: HeldOutput::default(),
            progress: Progress::new(is_terminal && !is_ci && !options.quiet),
            running_hosts: Mutex::default(),
            is_on_one_host: AtomicBool::new(false),
            run: OnceLock::new(),
            has_lost_data: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            question: Mutex::default(),
        }
    }

    /// Changes how events are shown from now on.
    pub fn set_options(&self, options: TerminalOptions) {
        *self.look.write().unwrap_or_else(PoisonError::into_inner) = Look::new(options);
    }

    fn look(&self) -> Look {
        *self.look.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn options(&self) -> TerminalOptions {
        self.look().options
    }

    fn has_color(&self) -> bool {
        self.look().has_color
    }

    /// Cancels this run when standard output is closed: `hitc exec … | head`.
    pub fn cancel_when_closed(&self, run: Cancel) {
        // A terminal serves one run, so that the cell is empty.
        let _ = self.run.set(run);
    }

    /// Whether the current task runs on exactly one host.
    pub fn is_on_one_host(&self) -> bool {
        self.is_on_one_host.load(Ordering::Relaxed)
    }

    /// The names of the hosts and activities that are running, sorted.
    pub fn running(&self) -> Vec<String> {
        let mut running = self.progress.running();
        running.extend(self.running_hosts().iter().cloned());
        running.sort();
        running.dedup();
        running
    }

    fn running_hosts(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.running_hosts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes to standard output.
    fn out(&self, text: impl AsRef<[u8]>) {
        let written = self.progress.suspend(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_ref())?;
            stdout.flush()
        });
        let Err(error) = written else { return };
        // A reader that has read enough closes the pipe (`hitc tasks | head`): not an error.
        if error.kind() == io::ErrorKind::BrokenPipe {
            self.is_closed.store(true, Ordering::Relaxed);
        } else if !self.has_lost_data.swap(true, Ordering::Relaxed) {
            self.err(format!("error: standard output: {}\n", plain(error)));
        }
        if let Some(run) = self.run.get() {
            run.kill();
        }
    }

    /// Asks a question after the ones that wait for their answers, and none after Ctrl-C.
    fn ask<T>(&self, ask: impl FnOnce() -> Result<T, Diagnostic>) -> Result<T, Diagnostic> {
        let _question = self.question.lock().unwrap_or_else(PoisonError::into_inner);
        let is_stopping = || self.run.get().is_some_and(Cancel::is_stopping);
        if is_stopping() {
            return Err(prompt::interrupted());
        }
        let answer = self.progress.pause(ask);
        if answer
            .as_ref()
            .is_err_and(|error| error.kind == Kind::Interrupted)
        {
            // A hidden prompt reads the Ctrl-C, and sends its signal to this process: no other host asks
            // before it is handled.
            let end = Instant::now() + SIGNAL_TIMEOUT;
            while !is_stopping() && Instant::now() < end {
                thread::sleep(Duration::from_millis(1));
            }
        }
        answer
    }

    /// Whether data could not be written, for another reason than a closed pipe.
    pub fn has_lost_data(&self) -> bool {
        self.has_lost_data.load(Ordering::Relaxed)
    }

    /// Whether the reader of standard output has closed it.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Whether an event is shown after the reader of standard output closed it: every event that the closed
    /// output did not cause.
    fn is_important(event: &Event) -> bool {
        match event {
            Event::Warning(_) => true,
            Event::Failure(error) => error.kind != Kind::Interrupted,
            _ => false,
        }
    }

    /// Writes to standard error.
    fn err(&self, text: impl AsRef<[u8]>) {
        self.progress.suspend(|| {
            drop(io::stderr().lock().write_all(text.as_ref()));
        });
    }

    fn note(&self, text: &str) {
        if !self.options().quiet {
            self.err(format!("{text}\n"));
        }
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.has_color() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// Shows a line of a command's output. With several hosts it is text with the host's name; with
    /// one host, and with `-o raw`, bytes are passed through unchanged.
    fn command_output(&self, host: Option<&str>, stream: Stream, line: &[u8]) {
        let line = match (host, self.options().style) {
            (
                Some(host),
                style @ (OutputStyle::Group | OutputStyle::Fold | OutputStyle::Prefix),
            ) if !self.is_on_one_host() => {
                let line = safe_line(line);
                if style == OutputStyle::Prefix {
                    let host = self.paint(
                        color::of_host(host),
                        &format!("[{}]", escape_controls(host)),
                    );
                    Cow::Owned(format!("{host} {line}\n").into_bytes())
                } else {
                    if let Err(error) = self.held.push(host, stream, line.as_bytes()) {
                        let host = escape_controls(host);
                        self.err(format!("error: output of {host}: {}\n", plain(error)));
                    }
                    return;
                }
            }
            _ => Cow::Borrowed(line),
        };
        match stream {
            Stream::Stdout => self.out(line),
            Stream::Stderr => self.err(line),
        }
    }

    /// Shows output that was held back.
    fn blocks(&self, blocks: io::Result<impl IntoIterator<Item = Block>>) {
        let blocks = match blocks {
            Ok(blocks) => blocks,
            Err(error) => {
                self.err(format!("error: held output: {}\n", plain(error)));
                return;
            }
        };
        for block in blocks {
            let title = escape_controls(&heading(&block.hosts)).into_owned();
            let title = self.paint(Style::new().bold(), &title);
            self.out(format!("{title}\n"));
            for (stream, line) in block.lines {
                // Indented: a line of the host cannot pass for the heading of another one.
                let line = [b"  ", &line[..], b"\n"].concat();
                match stream {
                    Stream::Stdout => self.out(line),
                    Stream::Stderr => self.err(line),
                }
            }
        }
    }

    /// Shows the output of a host that ended, if output is grouped by host.
    fn host_ended(&self, host: &str) {
        if self.options().style == OutputStyle::Group {
            self.blocks(self.held.take(host));
        }
    }

    /// Shows all output that is still held back, at the end of a run.
    pub fn flush(&self) {
        self.blocks(self.held.fold());
    }

    /// Shows a table in place of the one before, if standard output is a terminal.
    fn refresh(&self, table: &Table) {
        // Moves to the corner, overwrites the previous lines, and clears what follows
        // (ECMA-48: CUP, EL, ED): clearing everything first would flicker.
        let text = table.to_string().replace('\n', "\x1b[K\n");
        self.out(if io::stdout().is_terminal() {
            format!("\x1b[H{text}\x1b[K\n\x1b[J")
        } else {
            format!("{table}\n")
        });
    }

    fn diff(&self, text: &str) {
        let mut painted = String::new();
        for line in escape_controls_in_lines(text).lines() {
            let style = match line.chars().next() {
                Some('+') => AnsiColor::Green.on_default(),
                Some('-') => AnsiColor::Red.on_default(),
                _ => Style::new(),
            };
            painted.push_str(&self.paint(style, line));
            painted.push('\n');
        }
        self.err(painted);
    }

    fn plan(&self, lines: &[PlanLine], requested: bool) {
        let mut painted = String::new();
        for line in lines {
            let style = match line.mark {
                Mark::None => Style::new(),
                Mark::Add => AnsiColor::Green.on_default(),
                Mark::Change | Mark::Replace => AnsiColor::Yellow.on_default(),
                Mark::Remove => AnsiColor::Red.on_default(),
            };
            painted.push_str(&self.paint(style, &escape_controls(&line.to_string())));
            painted.push('\n');
        }
        if requested {
            self.out(painted);
        } else {
            self.err(painted);
        }
    }

    fn recap(&self, noun: &str, results: &[RecapLine], counts_only: bool) {
        let row = |result: &RecapLine| {
            let outcome = result.outcome.name();
            let seconds = match result.outcome {
                Outcome::Skipped => String::new(),
                _ => format!("{:.1} s", result.seconds),
            };
            vec![result.name.clone(), outcome.to_owned(), seconds]
        };
        let table = Table {
            columns: [noun, "result", "time"].map(str::to_owned).to_vec(),
            rows: results.iter().map(row).collect(),
            ..Table::default()
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
            .map(|outcome| format!("{} {}", count(outcome), outcome.name()))
            .collect();
        let total = plural(results.len(), noun);
        let counts = format!("{total}: {}", summary.join(", "));
        self.note(&if counts_only {
            counts
        } else {
            format!("\n{table}\n\n{counts}")
        });
    }
}

/// Returns a line of a command as text that cannot pass for another host's line.
fn safe_line(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    escape_controls_in_line(line.trim_end_matches(['\n', '\r'])).into_owned()
}

impl Interface for Terminal {
    fn show(&self, event: Event) {
        match &event {
            Event::Hosts(count) => self.is_on_one_host.store(*count == 1, Ordering::Relaxed),
            Event::Begun(host) => {
                self.running_hosts().insert(host.clone());
            }
            Event::Ended(host) => {
                self.running_hosts().remove(host);
            }
            _ => {}
        }
        if self.is_closed() && !Terminal::is_important(&event) {
            return;
        }
        if self.options().style == OutputStyle::Json
            && let Some(line) = json::line(&event)
        {
            self.out(line);
            return;
        }
        match event {
            Event::Data(text) => self.out(text),
            Event::Table(table) => self.out(format!("{table}\n")),
            Event::Output { host, stream, line } => {
                self.command_output(host.as_deref(), stream, &line);
            }
            Event::Logs(lines) => self.logs(&lines),
            Event::Refresh(table) => self.refresh(&table),
            Event::Hosts(_) | Event::Begun(_) | Event::Record { .. } => {}
            Event::Ended(host) => self.host_ended(&host),
            Event::WouldDo(what) => {
                let what = escape_controls(&what);
                let would = self.paint(Style::new().bold(), "would");
                self.err(format!("{would} {what}\n"));
            }
            Event::Heading(text) => {
                let heading = self.paint(Style::new().bold(), &escape_controls(&text));
                self.note(&format!("\n{heading}"));
            }
            Event::Note(text) => self.note(&escape_controls(&text)),
            Event::Detail(text) => {
                if self.options().verbose {
                    self.note(&escape_controls(&text));
                }
            }
            Event::Warning(text) => {
                let warning = self.paint(AnsiColor::Yellow.on_default().bold(), "warning:");
                self.err(format!("{warning} {}\n", escape_controls(&text)));
            }
            Event::Diff(text) => self.diff(&text),
            Event::Plan {
                lines, requested, ..
            } => self.plan(&lines, requested),
            Event::Started { id, thing, what } => {
                if !self.options().quiet {
                    self.progress
                        .start(id, &escape_controls(&thing), &escape_controls(&what));
                }
            }
            Event::Progress { id, what } => self.progress.update(id, &escape_controls(&what)),
            Event::Tick { id, what } => self.progress.tick(id, &escape_controls(&what)),
            Event::Finished { id, what } => {
                let what = what.as_deref().map(escape_controls);
                self.progress.finish(id, what.as_deref());
            }
            Event::Failure(diagnostic) => {
                let report = render(&diagnostic, self.has_color());
                self.err(format!("{report}\n"));
            }
            Event::Recap {
                noun,
                lines,
                counts_only,
            } => {
                self.flush();
                self.recap(noun, &lines, counts_only);
            }
        }
    }

    fn shows_data(&self) -> bool {
        self.options().style == OutputStyle::Json
    }

    fn confirm(&self, question: &str, typed: Option<&str>) -> Result<bool, Diagnostic> {
        if self.options().yes {
            return Ok(true);
        }
        self.ask(|| prompt::confirm(&escape_controls(question), typed))
    }

    fn prompt(&self, question: &str, hidden: bool) -> Result<String, Diagnostic> {
        self.ask(|| prompt::text(&escape_controls(question), hidden))
    }
}
