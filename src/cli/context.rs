//! Builds the context of a run and installs the Ctrl-C handler.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};

use crate::{
    cli::start::Start,
    context::{Context, Mode, Settings},
    core::{
        cancel::Cancel,
        diagnostic::{Diagnostic, Kind},
        event::{Event, Events, Interface},
        terminal::TerminalMode,
    },
    inventory::Inventory,
    script::{Scripts, enable_run_by_name, scripted},
    ssh::Terminations,
    ui::Terminal,
};

/// The time between the last Ctrl-C and the end of the process.
const GRACE: Duration = Duration::from_millis(500);
/// How long to wait until commands on servers are terminated.
const TERMINATION_TIMEOUT: Duration = Duration::from_secs(8);

/// A run of tasks, in which scripts can call all functions.
pub(super) struct RunContext {
    pub scripts: Scripts,
    pub inventory: Arc<Inventory>,
    runtime: Runtime,
    pending: Arc<Pending>,
    terminations: Terminations,
}

impl Start {
    /// Starts the run.
    pub fn begin(
        self,
        settings: Settings,
        mode: Mode,
        terminal: &Arc<Terminal>,
        events: &Events,
    ) -> Result<RunContext, Diagnostic> {
        let runtime = Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Diagnostic::new(Kind::Failed, format!("internal error: {error}")))?;
        terminal.cancel_when_closed(self.cancel.clone());
        raise_file_limit();
        let terminations = Terminations::default();
        watch_for_interrupts(
            &runtime,
            self.cancel.clone(),
            terminal.clone(),
            terminations.clone(),
        );
        let pending = Arc::new(Pending::new(terminal.clone(), mode.clone()));
        let events = events.with(pending.clone());
        let context = Arc::new(Context::new(
            runtime.handle().clone(),
            events,
            self.cancel,
            settings,
            self.project,
            mode,
        ));
        let built_in = Arc::new(Inventory::new(context.clone(), terminations.clone()));
        let inventory = built_in.with(scripted(&built_in))?;
        let inventory = Arc::new(match context.mode {
            Mode::Mock(_) => inventory.mocked(),
            Mode::Real | Mode::Dry => inventory,
        });
        enable_run_by_name(&self.scripts, &self.api, &context);
        self.api.start(inventory.clone());
        Ok(RunContext {
            scripts: self.scripts,
            inventory,
            runtime,
            pending,
            terminations,
        })
    }
}

impl RunContext {
    /// Ends the run. Returns whether a dry run or a plan found changes to make.
    pub fn end(self) -> bool {
        let context = &self.inventory.context;
        let assumed = context.assumed();
        if !assumed.is_empty() {
            context.events.note(format!(
                "not simulated, assumed to succeed: {}",
                assumed.join("; ")
            ));
        }
        let left = self
            .runtime
            .block_on(self.terminations.wait(TERMINATION_TIMEOUT));
        for left in left {
            context.events.warn(format!(
                "host `{}`: `{}` may still run there",
                left.host, left.line
            ));
        }
        self.pending.terminal.flush();
        // Does not wait for threads that are blocked, such as by the lock of a file.
        self.runtime.shutdown_background();
        self.pending.found.load(Ordering::Relaxed)
    }
}

/// The terminal, which notes whether any changes would be made.
struct Pending {
    terminal: Arc<Terminal>,
    mode: Mode,
    found: AtomicBool,
}

impl Pending {
    fn new(terminal: Arc<Terminal>, mode: Mode) -> Self {
        Pending {
            terminal,
            mode,
            found: AtomicBool::new(false),
        }
    }
}

impl Interface for Pending {
    fn show(&self, event: Event) {
        let is_pending = match &event {
            Event::WouldDo(_) => true,
            Event::Plan {
                requested, changes, ..
            } => *requested && *changes,
            _ => false,
        };
        if is_pending {
            self.found.store(true, Ordering::Relaxed);
        }
        self.terminal.show(event);
    }

    fn shows_data(&self) -> bool {
        self.terminal.shows_data()
    }

    /// A dry run changes nothing, so that no question needs an answer. A test has its own answers.
    fn confirm(&self, question: &str, typed: Option<&str>) -> Result<bool, Diagnostic> {
        match &self.mode {
            Mode::Real => self.terminal.confirm(question, typed),
            Mode::Dry => Ok(true),
            Mode::Mock(mock) => {
                let answer = mock.reply(question)?;
                Ok(match typed {
                    Some(word) => answer == word,
                    None => ["y", "yes"].contains(&answer.as_str()),
                })
            }
        }
    }

    fn prompt(&self, question: &str, hidden: bool) -> Result<String, Diagnostic> {
        match &self.mode {
            Mode::Mock(mock) => mock.reply(question),
            Mode::Real | Mode::Dry => self.terminal.prompt(question, hidden),
        }
    }
}

/// Raises the limit of open files: each connection takes one, and some systems allow only 256 by
/// default.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // If this fails, fewer servers can be connected at the same time. The error of a connection
    // beyond the limit says so.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Handles Ctrl-C. The first one shows what is waited for. The last one ends the process, even if a
/// script waits for something that cannot be cancelled, such as an answer.
fn watch_for_interrupts(
    runtime: &Runtime,
    cancel: Cancel,
    terminal: Arc<Terminal>,
    terminations: Terminations,
) {
    // Registered before this returns: a signal that comes earlier ends the process.
    let guard = runtime.enter();
    let Ok(mut interrupts) = signal(SignalKind::interrupt()) else {
        return;
    };
    drop(guard);
    let mode = TerminalMode::current();
    runtime.spawn(async move {
        while interrupts.recv().await.is_some() {
            if cancel.interrupt() {
                let what = match terminal.running().as_slice() {
                    [] => String::new(),
                    running => format!(" for {}", running.join(", ")),
                };
                terminal.show(Event::Note(format!(
                    "stopping; waiting{what} (Ctrl-C again to cancel)"
                )));
            } else {
                tokio::time::sleep(GRACE).await;
                terminations.wait(TERMINATION_TIMEOUT).await;
                tokio::time::sleep(GRACE).await;
                // A prompt for a password may have hidden what is typed.
                mode.restore();
                #[expect(clippy::exit, reason = "the script's thread cannot be ended otherwise")]
                std::process::exit(Kind::Interrupted.exit_code().into());
            }
        }
    });
}
