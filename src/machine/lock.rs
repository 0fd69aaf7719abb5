//! A lock on a machine, so that two runs do not change it at the same time.
//!
//! A process on the machine holds the lock. Its standard input is a stream of ours, over
//! which we send heartbeats that it answers. The kernel releases the lock when the process ends:
//! when we close the stream, when the connection ends, or [`SERVER_LIMIT`] after the last heartbeat
//! that reached the machine. We give up first, after [`OWN_LIMIT`] without an answer.

use std::{
    any::Any,
    future::Future,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf, split},
    sync::watch,
    task::JoinHandle,
    time::{Instant, interval, sleep, timeout},
};

use super::{Machine, Stream};
use crate::{
    core::diagnostic::{Diagnostic, Kind},
    ssh::{Command, quote},
};

/// The time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long we go on without an answer. Shorter than [`SERVER_LIMIT`], so that two runs never
/// believe at the same time that they hold the lock.
const OWN_LIMIT: Duration = Duration::from_secs(30);
/// How long the server holds the lock without a heartbeat.
const SERVER_LIMIT: Duration = Duration::from_mins(1);
/// The time between two attempts while another run holds the lock.
const RETRY: Duration = Duration::from_secs(1);
/// How long a lock is kept after a call of a task.
const KEPT_AFTER_CALL: Duration = Duration::from_secs(1);

/// A held lock. Dropping it and its clones releases the lock.
#[derive(Clone)]
pub struct Lock {
    lost: watch::Receiver<bool>,
    /// Ends the heartbeats, or whatever else holds the lock.
    guard: Arc<dyn Any + Send + Sync>,
}

/// A lock that others hold in the same run. It does not keep the lock.
pub struct WeakLock {
    lost: watch::Receiver<bool>,
    guard: Weak<dyn Any + Send + Sync>,
}

impl WeakLock {
    /// The lock, if it is still held.
    pub fn upgrade(&self) -> Option<Lock> {
        let guard = self.guard.upgrade()?;
        let lock = Lock {
            lost: self.lost.clone(),
            guard,
        };
        (!lock.is_lost()).then_some(lock)
    }
}

/// What the machine answered.
enum Attempt {
    Held(Lock),
    /// Another run holds the lock; who, if that could be found out.
    Busy(Option<String>),
}

impl Lock {
    /// Takes the lock of a machine. `purpose` tells others what it is held for. While another run
    /// holds it, tries again for as long as `wait`, then fails and names the holder. `before_wait` gets
    /// the holder before each attempt but the first, and may end the wait with an error.
    pub async fn take(
        machine: &dyn Machine,
        purpose: &str,
        wait: Duration,
        mut before_wait: impl FnMut(&str) -> Result<(), Diagnostic>,
    ) -> Result<Self, Diagnostic> {
        let host = machine.name();
        let end = Instant::now() + wait;
        loop {
            let attempted = timeout(OWN_LIMIT, attempt(machine, purpose)).await;
            let holder = match attempted.unwrap_or_else(|_| Err(no_answer(host)))? {
                Attempt::Held(lock) => return Ok(lock),
                Attempt::Busy(holder) => holder,
            };
            let holder = holder.unwrap_or_else(|| "another run is changing it".to_owned());
            if Instant::now() + RETRY > end {
                let help = "wait until it is done, or add --wait-lock 10m to wait for it";
                return Err(
                    Diagnostic::new(Kind::Failed, format!("host `{host}`: {holder}"))
                        .help(help.to_owned())
                        .on(host),
                );
            }
            before_wait(&holder)?;
            sleep(RETRY).await;
        }
    }

    /// Runs `work`, which needs the lock. Stops it if the lock is lost: another run may then change the
    /// server.
    ///
    /// # Errors
    /// Those of `work`, and [`Lock::error_lost`].
    pub async fn hold_during<T>(
        &self,
        server: &str,
        work: impl Future<Output = Result<T, Diagnostic>>,
    ) -> Result<T, Diagnostic> {
        let mut lost = self.lost.clone();
        tokio::select! {
            biased;
            // The sender ends together with the lock.
            _ = lost.wait_for(|lost| *lost) => Err(Self::error_lost(server)),
            result = work => result,
        }
    }

    /// Runs `work` as [`Lock::hold_during`] does, and releases the lock a second later: a task often
    /// changes a server several times in a row, and each time would need another round trip.
    pub async fn hold_for_call<T>(
        self,
        server: &str,
        work: impl Future<Output = Result<T, Diagnostic>>,
    ) -> Result<T, Diagnostic> {
        let result = self.hold_during(server, work).await;
        tokio::spawn(async move {
            sleep(KEPT_AFTER_CALL).await;
            drop(self);
        });
        result
    }

    /// The same lock, which keeps `guard` for as long as it is held.
    #[must_use]
    pub fn with(self, guard: impl Any + Send + Sync) -> Self {
        Lock {
            lost: self.lost,
            guard: Arc::new((self.guard, guard)),
        }
    }

    /// Whether the lock was lost.
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow() || self.lost.has_changed().is_err()
    }

    /// The error of a server whose lock was lost.
    pub fn error_lost(server: &str) -> Diagnostic {
        let message = format!("host `{server}`: the lock was lost; nothing more is changed there");
        Diagnostic::new(Kind::Unreachable, message)
            .help("check the connection to the server and run the command again".to_owned())
            .on(server)
    }

    /// The lock as something that does not keep it.
    pub fn downgrade(&self) -> WeakLock {
        WeakLock {
            lost: self.lost.clone(),
            guard: Arc::downgrade(&self.guard),
        }
    }

    /// A lock that something else holds for as long as the guard lives. `lost` tells when it is
    /// lost.
    #[cfg(test)]
    pub fn held_by(guard: impl Any + Send + Sync, lost: watch::Receiver<bool>) -> Self {
        Lock {
            lost,
            guard: Arc::new(guard),
        }
    }
}

/// The error if the server does not say whether the lock is free. Its sessions may all be in use.
fn no_answer(host: &str) -> Diagnostic {
    let seconds = OWN_LIMIT.as_secs();
    let message =
        format!("host `{host}`: the lock could not be taken: no answer within {seconds} s");
    Diagnostic::new(Kind::Failed, message)
        .help(
            "end other commands of this run on the server, or run fewer at the same time"
                .to_owned(),
        )
        .on(host)
}

/// Aborts a task when it is dropped.
struct Abort(JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn attempt(machine: &dyn Machine, purpose: &str) -> Result<Attempt, Diagnostic> {
    let host = machine.name();
    let fail = |cause: String| {
        let message = format!("host `{host}`: the lock could not be taken: {cause}");
        Diagnostic::new(Kind::Failed, message).on(host)
    };
    let stream = machine.stream(&Command::new(script(purpose))).await?;
    let (read, write) = split(stream);
    let mut read = BufReader::new(read);
    let mut answer = String::new();
    read.read_line(&mut answer)
        .await
        .map_err(|error| fail(error.to_string()))?;
    // The holder is empty if it could not be found.
    match answer.trim_end_matches('\n').split_once(' ') {
        Some(("locked", _)) => {
            let (lose, lost) = watch::channel(false);
            let beats = tokio::spawn(async move {
                keep(read, write).await;
                // Without a receiver there is no one to tell.
                let _ = lose.send(true);
            });
            Ok(Attempt::Held(Lock {
                lost,
                guard: Arc::new(Abort(beats)),
            }))
        }
        Some(("busy", holder)) => Ok(Attempt::Busy(
            Some(holder.trim().to_owned()).filter(|holder| !holder.is_empty()),
        )),
        Some(("failed", cause)) => Err(fail(cause.to_owned())),
        _ => Err(fail(match answer.trim() {
            "" => "the server did not answer".to_owned(),
            other => format!("unexpected answer {other:?}"),
        })),
    }
}

/// Sends heartbeats until one is not answered in time.
async fn keep(mut read: BufReader<ReadHalf<Stream>>, mut write: WriteHalf<Stream>) {
    let mut beat = interval(HEARTBEAT);
    let mut answered = Instant::now();
    loop {
        beat.tick().await;
        let left = OWN_LIMIT.saturating_sub(answered.elapsed());
        let exchange = async {
            write.write_all(b".").await?;
            write.flush().await?;
            read.read_u8().await
        };
        match timeout(left, exchange).await {
            Ok(Ok(_)) => answered = Instant::now(),
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// The command that takes the lock. It prints `locked .` and answers heartbeats, or prints `busy`
/// and the holder.
///
/// The lock is on a folder that every user may open and that always exists: a file in a folder that
/// all users may write to could be a trap. The holder is told by the arguments of the process that
/// holds the lock.
///
/// When heartbeats end while the connection seems to stand, the process ends the connection before
/// the kernel releases the lock: requests that the network delivers later must find no server. On
/// the local machine, an sshd above this process serves the user's own login, and is left alone.
///
/// A process of this same run is probably about to end: those who need the lock at the same time share
/// it.
fn script(purpose: &str) -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let who = format!(
        "by {user}{} (process {})",
        machine.trim(),
        std::process::id()
    )
    .replace(char::is_control, " ");
    let holder = format!("{purpose} {who}").replace(char::is_control, " ");
    let limit = SERVER_LIMIT.as_secs();
    let own_name = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
    let own = quote(&format!("{} {}", std::process::id(), own_name.trim()));
    let hold = format!(
        r#"while :; do
  beat=$(timeout {limit} head -c 1)
  status=$?
  [ -n "$beat" ] || break
  printf .
done
[ $status = 0 ] && exit
process=$PPID
while [ "${{process:-0}}" -gt 1 ]; do
  name=$(cat /proc/$process/comm)
  [ "$process $name" = {own} ] && exit
  case $name in sshd*) kill $process; exit ;; esac
  process=$(sed 's/.*) . //; s/ .*//' /proc/$process/stat)
done"#
    );
    // Another run may have the lock and not yet be the process that tells so, or may release it while
    // its process is looked for. One program looks through all processes: a program for each would take
    // seconds on a busy server.
    format!(
        r#"command -v flock >/dev/null || {{ echo failed flock is not installed; exit; }}
exec 9</run
for try in 1 2 3 4 5; do
  if flock -n 9; then
    echo locked .
    exec sh -c {hold} hitc-lock {holder}
  fi
  for file in $(grep -lsz '^[h]itc-lock$' /proc/[0-9]*/cmdline); do
    process=${{file%/cmdline}}
    # A process with ids of its own in a container has the lock of that container. A process that
    # has ended meanwhile has no ids, and does not hold this lock.
    case $(sed -n 's/^NSpid:[[:space:]]*//p' $process/status 2>/dev/null) in '' | *[!0-9]*) continue ;; esac
    holder=$(tr '\0' '\n' <$file | sed -n '$p')
    [ -n "$holder" ] || continue
    case $try$holder in [12]*{who}) sleep 0.05; continue 2 ;; esac
    echo busy "$holder"
    exit
  done
  sleep 0.1
done
echo 'busy '"#,
        hold = quote(&hold),
        who = quote(&who),
        holder = quote(&holder),
    )
}
