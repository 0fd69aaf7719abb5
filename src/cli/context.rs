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
    },
    inventory::Inventory,
    script::{Scripts, enable_run_by_name, scripted},
    ssh::Terminations,
    ui::Terminal,
};

/// How long after the last Ctrl-C the process ends, whatever still runs.
const GRACE: Duration = Duration::from_millis(500);
/// How long the end of commands on servers is waited for.
const ENDING: Duration = Duration::from_secs(6);

/// From now on the functions that scripts call work.
pub(super) struct Begun {
    pub scripts: Scripts,
    pub inventory: Arc<Inventory>,
    runtime: Runtime,
    pending: Arc<Pending>,
    endings: Terminations,
}

impl Start {
    /// Begins the run.
    pub fn begin(
        self,
        settings: Settings,
        mode: Mode,
        terminal: &Arc<Terminal>,
        events: &Events,
    ) -> Result<Begun, Diagnostic> {
        let runtime = Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Diagnostic::new(Kind::Failed, format!("internal error: {error}")))?;
        terminal.cancel_when_closed(self.cancel.clone());
        raise_file_limit();
        let endings = Terminations::default();
        watch_for_interrupts(
            &runtime,
            self.cancel.clone(),
            terminal.clone(),
            endings.clone(),
        );
        let pending = Arc::new(Pending::new(terminal.clone()));
        let events = if mode.is_real() {
            events.clone()
        } else {
            Events::new(pending.clone())
        };
        let context = Arc::new(Context::new(
            runtime.handle().clone(),
            events,
            self.cancel,
            settings,
            self.project,
            mode,
        ));
        let built_in = Arc::new(Inventory::new(context.clone(), endings.clone()));
        let inventory = Arc::new(built_in.with(scripted(&built_in)));
        enable_run_by_name(&self.scripts, &self.api, &context);
        self.api.start(inventory.clone());
        Ok(Begun {
            scripts: self.scripts,
            inventory,
            runtime,
            pending,
            endings,
        })
    }
}

impl Begun {
    /// Ends the run, and says whether a dry run found something to do.
    pub fn end(self) -> bool {
        let context = &self.inventory.context;
        let assumed = context.assumed();
        if !assumed.is_empty() {
            context.events.note(format!(
                "not simulated, and taken to go well: {}",
                assumed.join("; ")
            ));
        }
        let left = self.runtime.block_on(self.endings.wait(ENDING));
        for left in left {
            context.events.warn(format!(
                "host `{}`: `{}` may still run there",
                left.host, left.line
            ));
        }
        self.pending.terminal.flush();
        // What still blocks a thread, such as waiting for a file's lock, is not waited for.
        self.runtime.shutdown_background();
        self.pending.found.load(Ordering::Relaxed)
    }
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

    fn shows_data(&self) -> bool {
        self.terminal.shows_data()
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

/// A connection takes a file, and some systems allow a program only 256 unless it asks for more.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // With less, fewer servers can be reached at once; the error of the one too many says so.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Ctrl-C: the first one says what is waited for, the last one ends the process even if a script
/// waits for something that cannot be interrupted, such as an answer.
fn watch_for_interrupts(
    runtime: &Runtime,
    cancel: Cancel,
    terminal: Arc<Terminal>,
    endings: Terminations,
) {
    // Registered before this returns: a signal that comes earlier ends the process.
    let guard = runtime.enter();
    let Ok(mut interrupts) = signal(SignalKind::interrupt()) else {
        return;
    };
    drop(guard);
    runtime.spawn(async move {
        while interrupts.recv().await.is_some() {
            if cancel.interrupt() {
                let what = match terminal.running().as_slice() {
                    [] => String::new(),
                    running => format!(" for {}", running.join(", ")),
                };
                terminal.show(Event::Note(format!(
                    "stopping; waiting{what} (Ctrl-C again to end it)"
                )));
            } else {
                tokio::time::sleep(GRACE).await;
                endings.wait(ENDING).await;
                tokio::time::sleep(GRACE).await;
                #[expect(clippy::exit, reason = "the script's thread cannot be ended otherwise")]
                std::process::exit(Kind::Interrupted.exit_code().into());
            }
        }
    });
}
