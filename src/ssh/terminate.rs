//! Terminates the processes of abandoned commands: a server lets a command run on after its channel
//! is closed.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{Command, Connection, UnterminatedCommand, line::RUN_ID_VARIABLE};

/// The time limit for terminating a command: up to three seconds until it is killed, four more until
/// the processes are gone, and the round trips.
const TIMEOUT: Duration = Duration::from_secs(12);

/// Guards a running command: terminates it when dropped before the command ended.
pub(super) struct CommandGuard {
    connection: Arc<Connection>,
    command: Command,
    run_id: String,
    is_disarmed: bool,
}

impl CommandGuard {
    /// Creates the guard of a command whose processes carry this run id.
    pub fn new(connection: &Arc<Connection>, command: &Command, run_id: &str) -> Self {
        CommandGuard {
            connection: connection.clone(),
            command: command.clone(),
            run_id: run_id.to_owned(),
            is_disarmed: false,
        }
    }

    /// Drops the guard of a command that ended by itself.
    pub fn disarm(mut self) {
        self.is_disarmed = true;
    }

    /// Terminates the command. Returns whether its processes are gone.
    pub async fn terminate(mut self) -> bool {
        self.is_disarmed = true;
        terminate(&self.connection, &self.command, &self.run_id).await
    }
}

impl Drop for CommandGuard {
    fn drop(&mut self) {
        if self.is_disarmed || self.connection.is_closed() {
            return;
        }
        let terminations = self.connection.terminations.clone();
        let id = terminations.start(UnterminatedCommand {
            host: self.connection.target().name.clone(),
            line: self.command.line.clone(),
        });
        let (connection, command) = (self.connection.clone(), self.command.clone());
        let run_id = std::mem::take(&mut self.run_id);
        tokio::spawn(async move {
            let succeeded = terminate(&connection, &command, &run_id).await;
            terminations.finish(id, succeeded);
        });
    }
}

/// Terminates the processes with this run id on a server. Returns whether they are gone.
async fn terminate(connection: &Arc<Connection>, command: &Command, run_id: &str) -> bool {
    let killer = Command {
        sudo: command.sudo,
        user: command.user.clone(),
        ..Command::new(termination_script(run_id))
    };
    matches!(
        timeout(TIMEOUT, connection.run_untracked(&killer)).await,
        Ok(Ok(output)) if output.ok()
    )
}

/// The shell command that terminates the processes with this run id in their environment, and their
/// descendants: SIGTERM, and SIGKILL after two to three seconds. Exits with status 0 if they are gone.
///
/// Works on Linux only, by `/proc`. The environment of processes that sudo started is not readable,
/// but they are found as descendants. If there is a sibling process whose environment is not
/// readable, it may belong to the command, so the status is not 0.
pub fn termination_script(run_id: &str) -> String {
    // The brackets keep the pattern from matching the command line of this script itself.
    let (first, rest) = run_id.split_at(1.min(run_id.len()));
    format!(
        "[ -r /proc/self/environ ] || exit 1
         tracked() {{ m=$(grep -ls '{RUN_ID_VARIABLE}=[{first}]{rest}' /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr -dc '0-9\\n')
         grep -s '^PPid:' /proc/[0-9]*/status | awk -v m=\"$m\" 'BEGIN {{ n = split(m, a); for (i = 1; i <= n; i++) t[a[i]] = 1 }}
         {{ split($1, p, \"/\"); up[p[3]] = $2 }}
         END {{ do {{ c = 0; for (x in up) if (!(x in t) && (up[x] in t)) {{ t[x] = 1; c = 1 }} }} while (c); for (x in t) if (x in up) print x }}'; }}
         p=$(tracked); [ -n \"$p\" ] || {{ sleep 0.3; p=$(tracked); }}
         kill -TERM $p 2>/dev/null; begin=$(date +%s)
         while p=$(tracked); [ -n \"$p\" ]; do
         seconds=$(($(date +%s) - begin))
         [ $seconds -lt 3 ] || kill -KILL $p 2>/dev/null
         [ $seconds -lt 7 ] || exit 1
         sleep 0.1; done
         for f in $(grep -lsE \"^PPid:[[:space:]]+$PPID\\$\" /proc/[0-9]*/status); do d=${{f%/status}}
         [ \"$d\" = /proc/$$ ] || [ ! -d \"$d\" ] || [ -r \"$d/environ\" ] || exit 1; done"
    )
}
