//! A run that has begun: the runtime, the session, Ctrl-C.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};

use crate::{
    cli::start::Start,
    core::{
        cancel::Cancel,
        diagnostic::{Diagnostic, Kind},
        event::{Event, Events, Interface},
    },
    machine::Mock,
    script::{Scripts, run_by_name, scripted},
    session::{Session, Settings},
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
    pub session: Arc<Session>,
    runtime: Runtime,
    pending: Arc<Pending>,
    endings: Terminations,
}

impl Start {
    /// Begins the run. With a stage, servers are played.
    pub fn begin(
        self,
        settings: Settings,
        stage: Option<Arc<Mock>>,
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
        let events = if settings.dry_run {
            Events::new(pending.clone())
        } else {
            events.clone()
        };
        let further = scripted(&self.project.root, || {
            Session::new(
                runtime.handle().clone(),
                events.clone(),
                self.cancel.clone(),
                settings.clone(),
                self.project.clone(),
                None,
                endings.clone(),
            )
        });
        let mut session = Session::new(
            runtime.handle().clone(),
            events.clone(),
            self.cancel.clone(),
            settings,
            self.project,
            stage,
            endings.clone(),
        );
        session.providers.add(further);
        let session = Arc::new(session);
        let api = self.api.clone();
        self.api
            .set_runner(Box::new(move |session, name, hosts, values| {
                run_by_name(&api, session, name, hosts, values)
            }));
        self.api.start(session.clone());
        Ok(Begun {
            scripts: self.scripts,
            session,
            runtime,
            pending,
            endings,
        })
    }
}

impl Begun {
    /// Ends the run, and says whether a dry run found something to do.
    pub fn end(self) -> bool {
        let assumed = self.session.assumed();
        if !assumed.is_empty() {
            self.session.events.note(format!(
                "not simulated, and taken to go well: {}",
                assumed.join("; ")
            ));
        }
        let left = self.runtime.block_on(self.endings.wait(ENDING));
        for left in left {
            self.session.events.warn(format!(
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
    runtime.spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
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
