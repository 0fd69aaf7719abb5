//! `hitc run`, `hitc exec`, and `hitc TASK`.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::{Args, CommandFactory};
use tokio::runtime::{Builder, Runtime};

use super::{Cli, flags::Flags, report, start::Start};
use crate::{
    cancel::Cancel,
    diagnostic::{Diagnostic, Failure, Kind, did_you_mean},
    event::{Event, Events, Interface},
    script::{Bound, Task, bind, run},
    session::Session,
    ssh::quote,
    ui::Terminal,
};

/// Separates tasks on the command line.
const SEPARATOR: &str = ":::";

/// How long after the last Ctrl-C the process ends, whatever still runs.
const GRACE: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(super) struct Run {
    /// The task and its values; more tasks after `:::`
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "TASK"
    )]
    pub words: Vec<String>,
}

#[derive(Args)]
pub(super) struct Exec {
    /// The command: one word is a line of shell, several are a program and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    words: Vec<String>,
}

impl Run {
    pub fn main(
        self,
        flags: &Flags,
        terminal: &Arc<Terminal>,
        events: &Events,
    ) -> Result<(), Failure> {
        let mut start = Start::new(events)?;
        let mut calls = Vec::new();
        // All of them are understood before the first one runs.
        for words in self.words.split(|word| word == SEPARATOR) {
            let Some((name, words)) = words.split_first() else {
                return Err(Diagnostic::new(Kind::Usage, "a task is missing beside `:::`").into());
            };
            if name.starts_with('-') {
                return Err(unknown_flag(name).into());
            }
            let task = start.scripts.find(name)?;
            let bound = bind(&task, words)?;
            calls.push((task, bound));
        }
        execute(start, &calls, flags, terminal, events)
    }
}

/// What stands where a task should, and looks like a flag, is one that we do not have.
fn unknown_flag(flag: &str) -> Diagnostic {
    let command = Cli::command();
    let known: Vec<String> = command
        .get_arguments()
        .filter_map(|argument| argument.get_long())
        .map(|long| format!("--{long}"))
        .collect();
    let name = flag.split('=').next().unwrap_or(flag);
    let help = did_you_mean(name, known.iter().map(String::as_str))
        .unwrap_or_else(|| "`hitc --help` lists the flags there are".to_owned());
    Diagnostic::new(Kind::Usage, format!("there is no flag `{name}`")).help(help)
}

impl Exec {
    pub fn main(
        self,
        flags: &Flags,
        terminal: &Arc<Terminal>,
        events: &Events,
    ) -> Result<ExitCode, Failure> {
        let line = match self.words.as_slice() {
            [line] => line.clone(),
            words => words
                .iter()
                .map(|word| quote(word))
                .collect::<Vec<_>>()
                .join(" "),
        };
        let mut start = Start::new(events)?;
        let task = start.scripts.find("exec")?;
        let bound = Bound {
            values: vec![line.into()],
        };
        let failure = match execute(start, &[(task, bound)], flags, terminal, events) {
            Ok(()) => return Ok(ExitCode::SUCCESS),
            Err(failure) => failure,
        };
        // On one host the command's own status is ours.
        match failure.0.as_slice() {
            [
                Diagnostic {
                    code: Some(code), ..
                },
            ] if terminal.is_on_one_host() => {
                let code = u8::try_from(*code).unwrap_or(u8::MAX);
                report(&failure, events);
                Ok(ExitCode::from(code))
            }
            _ => Err(failure),
        }
    }
}

fn execute(
    start: Start,
    calls: &[(Arc<Task>, Bound)],
    flags: &Flags,
    terminal: &Arc<Terminal>,
    events: &Events,
) -> Result<(), Failure> {
    let settings = flags.settings(start.scripts.config(&start.api)?);
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Diagnostic::new(Kind::Failed, format!("internal error: {error}")))?;
    terminal.end_with_reader(start.cancel.clone());
    watch_for_interrupts(&runtime, start.cancel.clone(), terminal.clone());
    let pending = Arc::new(Pending::new(terminal.clone()));
    let events = if settings.dry_run {
        Events::new(pending.clone())
    } else {
        events.clone()
    };
    let session = Arc::new(Session::new(
        runtime.handle().clone(),
        events,
        start.cancel,
        settings,
        start.project,
    ));
    start.api.start(session.clone());
    let done = calls.iter().try_for_each(|(task, bound)| {
        if session.cancel.is_stopping() {
            return Err(Diagnostic::new(Kind::Interrupted, "interrupted").into());
        }
        run(&start.scripts, &session, task, bound)
    });
    // What still blocks a thread, such as waiting for a file's lock, is not waited for.
    runtime.shutdown_background();
    done?;
    if flags.exit_code && pending.found.load(Ordering::Relaxed) {
        return Err(Diagnostic::new(Kind::Pending, "there are changes to make").into());
    }
    Ok(())
}

/// The terminal in a dry run: notices whether anything would be done.
struct Pending {
    terminal: Arc<Terminal>,
    found: AtomicBool,
}

impl Pending {
    fn new(terminal: Arc<Terminal>) -> Self {
        Pending {
            terminal,
            found: AtomicBool::new(false),
        }
    }
}

impl Interface for Pending {
    fn show(&self, event: Event) {
        if matches!(event, Event::WouldDo(_)) {
            self.found.store(true, Ordering::Relaxed);
        }
        self.terminal.show(event);
    }

    /// Nothing is done, so nothing has to be asked.
    fn confirm(&self, _: &str, _: Option<&str>) -> Result<bool, Diagnostic> {
        Ok(true)
    }

    fn prompt(&self, question: &str, hidden: bool) -> Result<String, Diagnostic> {
        self.terminal.prompt(question, hidden)
    }

    fn hide(&self, secret: &str) {
        self.terminal.hide(secret);
    }
}

/// Ctrl-C: the first one says what is waited for, the last one ends the process even if a script
/// waits for something that cannot be interrupted, such as an answer.
fn watch_for_interrupts(runtime: &Runtime, cancel: Cancel, terminal: Arc<Terminal>) {
    runtime.spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if cancel.interrupt() {
                let mut running = terminal.running();
                running.dedup();
                let what = match running.as_slice() {
                    [] => String::new(),
                    running => format!(" for {}", running.join(", ")),
                };
                terminal.show(Event::Note(format!(
                    "stopping; waiting{what} (Ctrl-C again to end it)"
                )));
            } else {
                tokio::time::sleep(GRACE).await;
                #[expect(clippy::exit, reason = "the script's thread cannot be ended otherwise")]
                std::process::exit(Kind::Interrupted.exit_code().into());
            }
        }
    });
}
