//! Ending what was given up: a closed channel alone leaves its command running.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use crate::ssh::{Command, Connection, line::MARK};

/// How long ending a command may take: two seconds for it to end by itself, two after it was
/// killed, and the way there.
const LIMIT: Duration = Duration::from_secs(8);

/// Commands of a run that are being ended, and those that could not be.
#[derive(Clone, Debug, Default)]
pub struct Terminations {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: Vec<(u64, UnterminatedCommand)>,
    failed: Vec<UnterminatedCommand>,
}

/// A command that may still run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnterminatedCommand {
    /// The host it runs on.
    pub host: String,
    /// Its line.
    pub line: String,
}

impl Terminations {
    /// Waits until all that was given up has ended, for as long as `limit`. Returns what may
    /// still run.
    pub async fn wait(&self, limit: Duration) -> Vec<UnterminatedCommand> {
        let end = Instant::now() + limit;
        loop {
            let changed = self.changed.notified();
            let left: Vec<UnterminatedCommand> = {
                let state = self.lock();
                if state.open.is_empty() {
                    return state.failed.clone();
                }
                let open = state.open.iter().map(|(_, left)| left.clone());
                open.chain(state.failed.iter().cloned()).collect()
            };
            if timeout_at(end, changed).await.is_err() {
                return left;
            }
        }
    }

    fn begin(&self, left: UnterminatedCommand) -> u64 {
        let mut state = self.lock();
        state.next += 1;
        let id = state.next;
        state.open.push((id, left));
        id
    }

    fn done(&self, id: u64, ended: bool) {
        let mut state = self.lock();
        if let Some(at) = state.open.iter().position(|(open, _)| *open == id) {
            let (_, left) = state.open.swap_remove(at);
            if !ended {
                state.failed.push(left);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that died with the lock held has left a sound list behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command that runs. Dropped before its end, the command is ended.
pub(super) struct Running {
    connection: Arc<Connection>,
    command: Command,
    mark: String,
    over: bool,
}

impl Running {
    pub fn new(connection: &Arc<Connection>, command: &Command, mark: &str) -> Self {
        Running {
            connection: connection.clone(),
            command: command.clone(),
            mark: mark.to_owned(),
            over: false,
        }
    }

    /// It has ended by itself.
    pub fn over(mut self) {
        self.over = true;
    }

    /// Ends it, and says whether it did.
    pub async fn end(mut self) -> bool {
        self.over = true;
        end(&self.connection, &self.command, &self.mark).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.over || self.connection.is_closed() {
            return;
        }
        let endings = self.connection.endings.clone();
        let id = endings.begin(UnterminatedCommand {
            host: self.connection.target().name.clone(),
            line: self.command.line.clone(),
        });
        let (connection, command) = (self.connection.clone(), self.command.clone());
        let mark = std::mem::take(&mut self.mark);
        tokio::spawn(async move {
            let ended = end(&connection, &command, &mark).await;
            endings.done(id, ended);
        });
    }
}

/// Ends the processes that carry the mark in their environment, and all that they have begun, on
/// Linux: asked first, killed after two seconds. What sudo has begun carries no mark that we may
/// see, but is found by its parents; where there is something beside us that we may not look into,
/// it may be that.
async fn end(connection: &Arc<Connection>, command: &Command, mark: &str) -> bool {
    // The pattern does not mean itself.
    let (first, rest) = mark.split_at(1.min(mark.len()));
    let script = format!(
        "[ -r /proc/self/environ ] || exit 1
         ours() {{ m=$(grep -ls '{MARK}=[{first}]{rest}' /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr -dc '0-9\\n')
         grep -s '^PPid:' /proc/[0-9]*/status | awk -v m=\"$m\" 'BEGIN {{ n = split(m, a); for (i = 1; i <= n; i++) t[a[i]] = 1 }}
         {{ split($1, p, \"/\"); up[p[3]] = $2 }}
         END {{ do {{ c = 0; for (x in up) if (!(x in t) && (up[x] in t)) {{ t[x] = 1; c = 1 }} }} while (c); for (x in t) if (x in up) print x }}'; }}
         p=$(ours); [ -n \"$p\" ] || {{ sleep 0.3; p=$(ours); }}
         kill -TERM $p 2>/dev/null; n=0
         while p=$(ours); [ -n \"$p\" ]; do
         [ $n -lt 20 ] || kill -KILL $p 2>/dev/null
         [ $n -lt 40 ] || exit 1
         n=$((n+1)); sleep 0.1; done
         for f in $(grep -lsE \"^PPid:[[:space:]]+$PPID\\$\" /proc/[0-9]*/status); do d=${{f%/status}}
         [ \"$d\" = /proc/$$ ] || [ ! -d \"$d\" ] || [ -r \"$d/environ\" ] || exit 1; done"
    );
    let killer = Command {
        sudo: command.sudo,
        user: command.user.clone(),
        ..Command::new(script)
    };
    matches!(
        timeout(LIMIT, connection.run_unmarked(&killer)).await,
        Ok(Ok(output)) if output.ok()
    )
}
