//! Runs hitc in a project folder of its own, as a user would.

pub mod canary;
pub mod cloud;
mod delay;
pub mod foreign_server;
mod hostile_engine;
pub mod hostile_packets;
mod hostile_sshd;
pub mod live;
mod mock_sshd;
mod queue;
pub mod registry;

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

pub use hostile_sshd::{babbler as sshd_that_babbles, cut_after};
use tokio::net::TcpListener;

/// A project folder and a home folder, both initially empty.
pub struct Project {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    /// The working directory, if that is not the project folder.
    working_directory: Option<PathBuf>,
}

/// Starts a mock SSH server on a port of all local addresses, which runs until the tests end. Each
/// address of 127.0.0.0/8 is a host. Returns the port.
pub fn mock_hosts() -> u16 {
    serve(mock_sshd::serve)
}

/// Starts a server that attacks the client after the login, in the way that the login user chooses.
pub fn hostile_hosts() -> u16 {
    serve(hostile_sshd::serve)
}

/// Starts a proxy to port `to` that delays everything by a round trip. Returns its port.
pub fn delayed_hosts(to: u16, round_trip: Duration) -> u16 {
    serve(move |listener| delay::delay(listener, to, round_trip))
}

/// Runs a server on a free port of all local addresses. Returns the port.
fn serve<F>(server: impl FnOnce(TcpListener) -> F + Send + 'static) -> u16
where
    F: Future<Output = std::io::Result<()>>,
{
    let (sender, port) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let listener = queue::listen(0).unwrap();
            sender.send(listener.local_addr().unwrap().port()).unwrap();
            server(listener).await.unwrap();
        });
    });
    port.recv().unwrap()
}

/// A program on a terminal.
pub struct Terminal {
    child: Child,
    stdin: ChildStdin,
    shown: Arc<Mutex<String>>,
    /// How much of what is shown was waited for.
    read: usize,
}

impl Terminal {
    /// Waits until a text is shown, and returns everything up to its end since the last call.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let shown = self.shown.lock().unwrap().clone();
            if let Some(at) = shown[self.read..].find(text) {
                let from = self.read;
                self.read += at + text.len();
                return shown[from..self.read].to_owned();
            }
            assert!(Instant::now() < end, "no {text:?} in {shown:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Types a text.
    pub fn type_keys(&mut self, keys: &str) {
        self.stdin.write_all(keys.as_bytes()).unwrap();
        self.stdin.flush().unwrap();
    }

    /// Waits until the program has ended. Returns its exit status.
    pub fn end(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    /// Ends the terminal of a test that failed.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The result of a run.
#[derive(Debug)]
pub struct Run {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Project {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        fs::create_dir(folder.path().join("project")).unwrap();
        let project = Project {
            folder,
            environment: Vec::new(),
            working_directory: None,
        };
        // A prefix without servers: tests that need servers are in `live/`.
        project.env("HITC_NAME_PREFIX", "NONE-")
    }

    /// Writes a file of the project.
    pub fn file(self, path: &str, content: &str) -> Self {
        self.write(path, content);
        self
    }

    /// Writes a file of the project.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Sets an environment variable of hitc.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Sets an environment variable of hitc.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Sets the working directory of hitc.
    pub fn move_to(&mut self, folder: &Path) {
        self.working_directory = Some(folder.to_owned());
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hitc"));
        command
            .args(arguments)
            .current_dir(
                self.working_directory
                    .clone()
                    .unwrap_or_else(|| self.root()),
            )
            // Independent of the environment of the tests.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs hitc until it ends.
    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::from(self.command(arguments).output().unwrap())
    }

    /// Runs hitc with a text as standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Run {
        Run::from(self.pipe(arguments, input.as_bytes()))
    }

    /// Runs hitc with bytes as standard input, and returns its output as bytes.
    pub fn pipe<T: AsRef<str>>(&self, arguments: &[T], input: &[u8]) -> Output {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let mut child = self
            .command(&arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        // In a thread of its own: hitc may write before it reads. It need not read everything.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    /// Runs hitc with a file as standard output.
    pub fn run_into(&self, arguments: &[&str], file: &Path) -> Run {
        let file = fs::File::options().write(true).open(file).unwrap();
        Run::from(self.command(arguments).stdout(file).output().unwrap())
    }

    /// Runs hitc on a terminal, and types a text. Returns the exit status and everything shown.
    pub fn run_on_terminal(&self, arguments: &[&str], typed: &str) -> (i32, String) {
        let (mut child, mut stdin) = self.spawn_on_terminal(arguments);
        stdin.write_all(typed.as_bytes()).unwrap();
        let mut shown = String::new();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_to_string(&mut shown).unwrap();
        let status = child.wait().unwrap();
        (status.code().unwrap_or(-1), shown.replace("\r\n", "\n"))
    }

    /// Runs hitc on a terminal, and types a line when the question appears. Input that is typed before
    /// a prompt for a secret is discarded.
    pub fn answer_on_terminal(
        &self,
        arguments: &[&str],
        question: &str,
        answer: &str,
    ) -> (i32, String) {
        let (mut child, mut stdin) = self.spawn_on_terminal(arguments);
        let mut stdout = child.stdout.take().unwrap();
        let (mut shown, mut buffer) = (String::new(), [0; 1024]);
        let mut asked = false;
        // Reading fails at the end of a terminal session.
        while let Ok(count @ 1..) = stdout.read(&mut buffer) {
            shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
            if !asked && shown.contains(question) {
                asked = true;
                stdin.write_all(format!("{answer}\n").as_bytes()).unwrap();
            }
        }
        let status = child.wait().unwrap();
        (status.code().unwrap_or(-1), shown.replace("\r\n", "\n"))
    }

    /// Starts hitc on a terminal, which `script` provides.
    fn spawn_on_terminal(&self, arguments: &[&str]) -> (Child, ChildStdin) {
        let mut words = vec![env!("CARGO_BIN_EXE_hitc")];
        words.extend(arguments);
        let words = words.iter().map(|word| hitc::ssh::quote(word));
        let line = words.collect::<Vec<_>>().join(" ");
        let mut child = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .current_dir(self.root())
            .env("HOME", self.home())
            .env("NO_COLOR", "1")
            .env("TERM", "dumb")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        (child, stdin)
    }

    /// Starts a shell command line on a terminal, in which `$HITC` is hitc.
    pub fn terminal(&self, line: &str) -> Terminal {
        let mut child = Command::new("script")
            .args(["-qec", line, "/dev/null"])
            .current_dir(self.root())
            .env("HITC", env!("CARGO_BIN_EXE_hitc"))
            .env("HOME", self.home())
            .env("NO_COLOR", "1")
            .env("TERM", "vt100")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (shown, mut stdout) = (
            Arc::<Mutex<String>>::default(),
            child.stdout.take().unwrap(),
        );
        let into = shown.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            // Reading fails at the end of a terminal session.
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]);
                into.lock().unwrap().push_str(&text.replace('\r', ""));
            }
        });
        Terminal {
            stdin: child.stdin.take().unwrap(),
            child,
            shown,
            read: 0,
        }
    }

    /// Starts hitc.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }
}

/// Sends Ctrl-C to hitc.
pub fn interrupt(hitc: &Child) {
    let id = hitc.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.unwrap().success());
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Run {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Run {
    /// The first lines of the errors.
    pub fn errors(&self) -> Vec<&str> {
        let lines = self.stderr.lines();
        lines.filter(|line| line.starts_with("error")).collect()
    }

    /// Asserts exit status 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{self}");
        self
    }

    /// Asserts the exact exit status and output.
    #[track_caller]
    pub fn is(&self, status: i32, stdout: &str, stderr: &str) {
        let expected = Run {
            status,
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        };
        assert_eq!(self.to_string(), expected.to_string());
    }

    /// Asserts the exact exit status and standard error, with an empty standard output.
    #[track_caller]
    pub fn fails(&self, status: i32, stderr: &str) {
        self.is(status, "", stderr);
    }

    /// The rows of the table on standard output, without the header.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let words = |line: &str| {
            let cells = line
                .split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty());
            cells.map(str::to_owned).collect()
        };
        self.stdout.lines().skip(1).map(words).collect()
    }

    /// The rows of the tables among the events of `-o json`.
    pub fn json_rows(&self) -> Vec<serde_json::Value> {
        let events = self.stdout.lines().map(serde_json::from_str);
        let rows = events.filter_map(|event| {
            let mut event: serde_json::Value = event.unwrap();
            serde_json::from_value::<Vec<serde_json::Value>>(event["rows"].take()).ok()
        });
        rows.flatten().collect()
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "status {}\n--- stdout\n{}--- stderr\n{}",
            self.status, self.stdout, self.stderr
        )
    }
}

/// The root of the repository.
pub fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
