//! Runs programs on the local machine; exit status and output of a program on any machine.

use std::{
    env, fmt, fs, io,
    os::unix::{fs::MetadataExt, process::ExitStatusExt},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::core::event::Stream;

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Code(u32),
    /// A signal ended it: the name without `SIG`, or the number.
    Signal(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit status {code}"),
            Exit::Signal(name) => write!(f, "signal {name}"),
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(u32::try_from(code).unwrap_or(u32::MAX)),
            (None, signal) => Exit::Signal(signal.unwrap_or_default().to_string()),
        }
    }
}

/// How much of a program's output is kept in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// All of it, for callers that process it. More than [`MAX_OUTPUT`] is an error.
    #[default]
    All,
    /// The last part, for error messages. The program may write without limit.
    End,
}

/// The largest output that is kept, in bytes: of one stream of a local program, of both streams of a
/// command on a server.
const MAX_OUTPUT: usize = 16 * 1024 * 1024;
/// The size of the last part that is kept, in bytes.
const TAIL: usize = 64 * 1024;

/// A program wrote more than [`MAX_OUTPUT`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("output larger than {} MiB", MAX_OUTPUT / 1024 / 1024)]
pub struct TooMuch;

impl TooMuch {
    /// The advice to show with the error.
    pub const HELP: &str =
        "redirect the output to a file, or use `stream`, which shows it, instead of `run`";
}

impl Keep {
    /// Fails if this is too much output of both streams together.
    pub fn check(self, length: usize) -> Result<(), TooMuch> {
        match self {
            Keep::All if length > MAX_OUTPUT => Err(TooMuch),
            Keep::All | Keep::End => Ok(()),
        }
    }

    /// Appends to the kept output of a stream.
    pub fn push(self, kept: &mut Vec<u8>, bytes: &[u8]) -> Result<(), TooMuch> {
        // Before it grows: growing copies it.
        self.check(kept.len() + bytes.len())?;
        kept.extend_from_slice(bytes);
        match self {
            Keep::End if kept.len() > 2 * TAIL => {
                kept.drain(..kept.len() - TAIL);
                Ok(())
            }
            Keep::All | Keep::End => Ok(()),
        }
    }
}

/// Exit status, output and duration of a program.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// The kept part of its standard output.
    pub stdout: Vec<u8>,
    /// The kept part of its standard error.
    pub stderr: Vec<u8>,
    /// The duration, including the network round trip for a remote program.
    pub elapsed: Duration,
}

impl Output {
    /// Whether the exit status is 0.
    pub fn ok(&self) -> bool {
        self.exit == Exit::Code(0)
    }

    /// Returns standard output as text, without trailing line ends.
    pub fn text(&self) -> String {
        text(&self.stdout)
    }

    /// Returns standard error as text, without trailing line ends.
    pub fn error_text(&self) -> String {
        text(&self.stderr)
    }

    /// Returns the last lines of standard error, for an error message.
    pub fn tail(&self, lines: usize) -> String {
        let text = self.error_text();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

fn text(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    text
}

/// A program to run on the local machine.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its standard input.
    pub stdin: Bytes,
    /// Its working directory, if other than that of hitc.
    pub folder: Option<PathBuf>,
    /// Environment variables to set in addition to those of hitc.
    pub environment: Vec<(String, String)>,
    /// How much of its output is kept.
    pub keep: Keep,
    /// Whether a Ctrl-C on the terminal reaches hitc only, because the program is waited for. It cannot
    /// ask for anything on the terminal then.
    pub is_shielded: bool,
}

/// Makes a shell line run in a process group of its own, which no Ctrl-C on the terminal reaches. To read from
/// the terminal is an error there; otherwise it would stop the program (termios(3), TTIN).
pub fn shielded(line: &str) -> tokio::process::Command {
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", &format!("trap '' TTIN TTOU; {line}")]);
    shell.process_group(0);
    shell
}

/// A running program. Dropping it kills the program, and its process group if it has one of its own.
struct Running {
    child: tokio::process::Child,
    has_group: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Once the program was waited for, its number may belong to another process group.
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.filter(|_| self.has_group).and_then(Pid::from_raw) {
            // It may have ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Program {
    /// Creates a program with empty standard input.
    pub fn new<T: Into<String>>(argv: impl IntoIterator<Item = T>) -> Self {
        Program {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Program::default()
        }
    }

    /// Runs the program as root: prepends `sudo -n` unless hitc runs as root. Fails when it runs if
    /// sudo needs a password.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        if !is_root() {
            self.argv = ["sudo", "-n", "--"]
                .map(str::to_owned)
                .into_iter()
                .chain(self.argv)
                .collect();
        }
        self
    }

    /// Runs the program and waits until it ends. `on_output` receives its output as it arrives.
    /// Dropping the future kills the program.
    pub async fn run(&self, on_output: impl Fn(Stream, &[u8])) -> io::Result<Output> {
        let started = Instant::now();
        let (name, arguments) = self
            .argv
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "empty command"))?;
        let mut command = if self.is_shielded {
            find(name)?;
            let mut command = shielded("exec \"$@\"");
            command.arg("sh").args(&self.argv);
            command
        } else {
            let mut command = tokio::process::Command::new(name);
            command.args(arguments);
            command
        };
        command
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("`{name}`: {error}")))?;
        let mut running = Running {
            child,
            has_group: self.is_shielded,
        };
        let child = &mut running.child;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program may end without reading its input.
                let _ = stdin.write_all(&self.stdin).await;
            }
            Ok(())
        };
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // If the program writes too much, `running` is dropped, which kills it.
        let ((), stdout, stderr, status) = tokio::try_join!(
            feed,
            drain(stdout, self.keep, |bytes| on_output(Stream::Stdout, bytes)),
            drain(stderr, self.keep, |bytes| on_output(Stream::Stderr, bytes)),
            child.wait(),
        )?;
        Ok(Output {
            exit: Exit::from(status),
            stdout,
            stderr,
            elapsed: started.elapsed(),
        })
    }
}

/// Fails as a program does that is not installed.
fn find(name: &str) -> io::Result<()> {
    let folders = env::var_os("PATH").unwrap_or_default();
    let is_found =
        name.contains('/') || env::split_paths(&folders).any(|folder| folder.join(name).is_file());
    if is_found {
        return Ok(());
    }
    let error = io::Error::from(io::ErrorKind::NotFound);
    Err(io::Error::new(error.kind(), format!("`{name}`: {error}")))
}

/// Reads a pipe until its end, passes everything to `on_bytes`, and returns what is kept. An error
/// of [`TooMuch`] is the cause of the error.
pub async fn drain(
    pipe: Option<impl AsyncRead + Unpin>,
    keep: Keep,
    on_bytes: impl Fn(&[u8]),
) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let Some(mut pipe) = pipe else {
        return Ok(all);
    };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match pipe.read(&mut buffer).await? {
            0 => return Ok(all),
            count => {
                on_bytes(&buffer[..count]);
                keep.push(&mut all, &buffer[..count])
                    .map_err(io::Error::other)?;
            }
        }
    }
}

/// Whether hitc runs as root. Always false on systems without `/proc`.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_input_and_status() {
        let program = Program {
            stdin: Bytes::from_static(b"hello"),
            ..Program::new(["sh", "-c", "cat; echo oops >&2; exit 3"])
        };
        let output = program.run(|_, _| ()).await.unwrap();
        assert_eq!(output.exit, Exit::Code(3));
        assert_eq!(output.text(), "hello");
        assert_eq!(output.tail(5), "oops");
    }

    #[tokio::test]
    async fn a_missing_program() {
        let error = Program::new(["hitc-no-such"]).run(|_, _| ()).await;
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("`hitc-no-such`: No such file"), "{error}");
    }
}
