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

use crate::event::Stream;

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

/// What came of a program.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
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
        };
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ((), stdout, stderr, status) = tokio::join!(
            feed,
            drain(stdout, |bytes| on_output(Stream::Stdout, bytes)),
            drain(stderr, |bytes| on_output(Stream::Stderr, bytes)),
            child.wait(),
        );
        let status = status?;
        Ok(Output {
            exit: match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(u32::try_from(code).unwrap_or(u32::MAX)),
                (None, signal) => Exit::Signal(signal.unwrap_or_default().to_string()),
            },
            stdout: stdout?,
            stderr: stderr?,
            elapsed: started.elapsed(),
        })
    }
}

async fn drain(
    pipe: Option<impl AsyncRead + Unpin>,
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
                all.extend_from_slice(&buffer[..count]);
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
