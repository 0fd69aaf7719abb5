//! Running programs on this machine, and what comes of a program anywhere.

use std::{
    fmt, fs, io,
    os::unix::{fs::MetadataExt, process::ExitStatusExt},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::core::event::Stream;

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With an exit status.
    Code(u32),
    /// By a signal: its name without `SIG`, or its number.
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

/// What is kept of what a program writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Everything, for whoever wants to work with it; more than [`MOST`] is an error.
    #[default]
    All,
    /// The end, for an error message: the program may write for ever.
    End,
}

/// How many bytes of a stream are kept at most.
const MOST: usize = 64 * 1024 * 1024;
/// How many bytes are kept of the end.
const END: usize = 64 * 1024;

/// A program wrote more than can be kept.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it wrote more than {} MiB, which is more than a script can hold", MOST / 1024 / 1024)]
pub struct TooMuch;

impl TooMuch {
    /// What to do.
    pub const HELP: &str = "let it write into a file, or show it with `stream` instead of `run`";
}

impl Keep {
    /// Adds to what is kept of a stream.
    pub fn push(self, kept: &mut Vec<u8>, bytes: &[u8]) -> Result<(), TooMuch> {
        kept.extend_from_slice(bytes);
        match self {
            Keep::All if kept.len() > MOST => Err(TooMuch),
            Keep::End if kept.len() > 2 * END => {
                kept.drain(..kept.len() - END);
                Ok(())
            }
            Keep::All | Keep::End => Ok(()),
        }
    }
}

/// What came of a program.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// What was kept of its standard output.
    pub stdout: Vec<u8>,
    /// What was kept of its standard error.
    pub stderr: Vec<u8>,
    /// How long it took, the way there and back included.
    pub elapsed: Duration,
}

impl Output {
    /// Whether it ended with status 0.
    pub fn ok(&self) -> bool {
        self.exit == Exit::Code(0)
    }

    /// Standard output as text, without the last line end.
    pub fn text(&self) -> String {
        text(&self.stdout)
    }

    /// Standard error as text, without the last line end.
    pub fn error_text(&self) -> String {
        text(&self.stderr)
    }

    /// The last lines of what it complained about, for an error.
    pub fn tail(&self, lines: usize) -> String {
        let text = self.error_text();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .trim_end_matches(['\n', '\r'])
        .to_owned()
}

/// A program to run on this machine.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// What it reads from its standard input.
    pub stdin: Bytes,
    /// Where it runs, if not here.
    pub folder: Option<PathBuf>,
    /// Environment variables on top of ours.
    pub environment: Vec<(String, String)>,
    /// What is kept of its output.
    pub keep: Keep,
}

impl Program {
    /// A program without input.
    pub fn new<T: Into<String>>(argv: impl IntoIterator<Item = T>) -> Self {
        Program {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Program::default()
        }
    }

    /// The same as root: with sudo, unless we are root. sudo that wants a password fails.
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

    /// Runs it to its end; `on_output` is given what it writes as it comes. If the future is
    /// dropped the program is killed.
    pub async fn run(&self, on_output: impl Fn(Stream, &[u8])) -> io::Result<Output> {
        let started = Instant::now();
        let (name, arguments) = self
            .argv
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "there is no program"))?;
        let mut command = tokio::process::Command::new(name);
        command
            .args(arguments)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("`{name}`: {error}")))?;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read its input ends all the same.
                let _ = stdin.write_all(&self.stdin).await;
            }
            Ok(())
        };
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // Dropped with the rest when the program writes too much, and so killed.
        let ((), stdout, stderr, status) = tokio::try_join!(
            feed,
            drain(stdout, self.keep, |bytes| on_output(Stream::Stdout, bytes)),
            drain(stderr, self.keep, |bytes| on_output(Stream::Stderr, bytes)),
            child.wait(),
        )?;
        Ok(Output {
            exit: match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(u32::try_from(code).unwrap_or(u32::MAX)),
                (None, signal) => Exit::Signal(signal.unwrap_or_default().to_string()),
            },
            stdout,
            stderr,
            elapsed: started.elapsed(),
        })
    }
}

async fn drain(
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

/// Whether we may do everything on this machine. Linux only; elsewhere no.
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
    async fn a_program_that_is_not_there() {
        let error = Program::new(["hitc-no-such"]).run(|_, _| ()).await;
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("`hitc-no-such`: No such file"), "{error}");
    }
}
