//! Running the program in a folder of its own, as a user would.

pub mod cloud;
mod delay;
pub mod live;
mod played;
mod queue;
pub mod stranger;

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    time::Duration,
};

use tokio::net::TcpListener;

/// A project folder and a home folder, both empty at first.
pub struct Project {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    elsewhere: Option<PathBuf>,
}

/// Plays any number of hosts for as long as the tests last, on this port of all addresses of this
/// machine.
pub fn played_hosts() -> u16 {
    serve(played::serve)
}

/// The same as what is on port `to`, farther away.
pub fn far_hosts(to: u16, round_trip: Duration) -> u16 {
    serve(move |listener| delay::delay(listener, to, round_trip))
}

/// Serves a free port of all addresses of this machine, and gives it.
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

/// What came of a run.
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
            elsewhere: None,
        };
        // A prefix that no server has: what needs servers is in `live/`.
        project.env("HITC_NAME_PREFIX", "NONE-")
    }

    /// Writes a file of the project.
    pub fn file(self, path: &str, content: &str) -> Self {
        self.write(path, content);
        self
    }

    pub fn write(&self, path: &str, content: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Sets an environment variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Runs hitc in another folder, with the same home.
    pub fn move_to(&mut self, folder: &Path) {
        self.elsewhere = Some(folder.to_owned());
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
            .current_dir(self.elsewhere.clone().unwrap_or_else(|| self.root()))
            // Nothing of whoever runs the tests.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs hitc to its end.
    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::from(self.command(arguments).output().unwrap())
    }

    /// Runs hitc with something to read.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Run {
        Run::from(self.pipe(arguments, input.as_bytes()))
    }

    /// Runs hitc with bytes to read, and gives the bytes that it wrote.
    pub fn pipe<T: AsRef<str>>(&self, arguments: &[T], input: &[u8]) -> Output {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let mut child = self
            .command(&arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        // Beside the reading. What is not read is not missed.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    /// Runs hitc with its standard output going to a file.
    pub fn run_into(&self, arguments: &[&str], file: &Path) -> Run {
        let file = fs::File::options().write(true).open(file).unwrap();
        Run::from(self.command(arguments).stdout(file).output().unwrap())
    }

    /// Runs hitc on a terminal, with something typed there. What it shows is all in one stream, as
    /// on a screen.
    pub fn run_on_terminal(&self, arguments: &[&str], typed: &str) -> (i32, String) {
        let (mut child, mut stdin) = self.on_terminal(arguments);
        stdin.write_all(typed.as_bytes()).unwrap();
        let mut shown = String::new();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_to_string(&mut shown).unwrap();
        let status = child.wait().unwrap();
        (status.code().unwrap_or(-1), shown.replace("\r\n", "\n"))
    }

    /// The same, with a line typed when it asks for it: what is typed before a secret is asked for
    /// is thrown away.
    pub fn answer_on_terminal(
        &self,
        arguments: &[&str],
        question: &str,
        answer: &str,
    ) -> (i32, String) {
        let (mut child, mut stdin) = self.on_terminal(arguments);
        let mut stdout = child.stdout.take().unwrap();
        let (mut shown, mut buffer) = (String::new(), [0; 1024]);
        let mut asked = false;
        // The end of a terminal is an error.
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

    /// Starts hitc on a terminal of its own, which `script` makes.
    fn on_terminal(&self, arguments: &[&str]) -> (Child, ChildStdin) {
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

    /// Starts hitc.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }
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
    /// The first lines of its errors.
    pub fn errors(&self) -> Vec<&str> {
        let lines = self.stderr.lines();
        lines.filter(|line| line.starts_with("error")).collect()
    }

    /// It must have ended well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{self}");
        self
    }

    /// Exactly this must have come of it.
    #[track_caller]
    pub fn is(&self, status: i32, stdout: &str, stderr: &str) {
        let expected = Run {
            status,
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        };
        assert_eq!(self.to_string(), expected.to_string());
    }

    /// It must have failed in exactly this way, with nothing on standard output.
    #[track_caller]
    pub fn fails(&self, status: i32, stderr: &str) {
        self.is(status, "", stderr);
    }

    /// The rows of the table on standard output, without its head.
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

/// The folder with the sources.
pub fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
