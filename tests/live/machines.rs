//! One suite of what every machine does, on the local machine, a server and containers.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use hitc::{
    core::{
        diagnostic::{Diagnostic, Kind},
        event::Events,
        owner::Owner,
        process::{Exit, Output},
        value::{Data, Entry, Value},
    },
    docker::{self, Action, Build, Engine, Run, SetupOptions},
    machine::{Cause, Error, Local, Lock, Machine, OnOutput, Server, Stream, WriteOptions},
    provider::{self, Create, Local as LocalProvider, Node, Provider},
    ssh::{Command, Config, Endpoint, Input, Pool, Terminations, quote},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::live::{Live, docker as docker_output};

/// The programs of BusyBox and no list of users.
const DOCKERFILE: &str = r#"
FROM hitc/debian:13 AS tools
FROM scratch
COPY --from=tools /usr/bin/busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN mkdir -p /tmp /run
CMD ["nc", "-ll", "-p", "80", "-e", "cat"]
"#;

/// How long the next command sleeps: a number of its own for each call, because the local machine
/// sees the processes of its containers, in which another test runs the same command.
/// No argument of another program is likely to be such a number.
static SECONDS: AtomicU32 = AtomicU32::new(54_732_000);

/// A machine on which everything must end in time, so that what hangs is named.
struct Limited<'a>(&'a dyn Machine);

const LIMIT: Duration = Duration::from_mins(2);

async fn limited<T>(what: &str, future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(LIMIT, future).await;
    ended.unwrap_or_else(|_| panic!("still running after {LIMIT:?}: {what}"))
}

#[async_trait]
impl Machine for Limited<'_> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn is_root(&self) -> bool {
        self.0.is_root()
    }

    fn check_connected(&self, doing: &str) -> Result<(), Error> {
        self.0.check_connected(doing)
    }

    async fn exec(&self, command: &Command, on_output: OnOutput<'_>) -> Result<Output, Error> {
        limited(&command.line, self.0.exec(command, on_output)).await
    }

    async fn stream(&self, command: &Command) -> Result<Stream, Error> {
        limited(&command.line, self.0.stream(command)).await
    }

    async fn dial(&self, to: &Endpoint) -> Result<Stream, Error> {
        limited(&to.to_string(), self.0.dial(to)).await
    }
}

/// Commands: status, output, input, environment, folder, root, time limit.
async fn commands(machine: &dyn Machine) {
    let run = async |line: &str| machine.run(&Command::new(line)).await.unwrap();
    let output = run("echo out; echo err >&2; exit 3").await;
    assert_eq!(output.exit, Exit::Code(3));
    assert_eq!(output.text(), "out");
    assert_eq!(output.error_text(), "err");
    assert_eq!(run("printf '\\000\\377'").await.stdout, [0, 255]);

    // More than any buffer holds, in both directions at the same time.
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let command = Command {
        stdin: Input::Bytes(bytes.clone().into()),
        ..Command::new("cat")
    };
    assert!(machine.run(&command).await.unwrap().stdout == bytes);
    // A command may end without reading its input.
    let command = Command {
        line: "exit 7".to_owned(),
        ..command
    };
    let exit = machine.run(&command).await.unwrap().exit;
    assert_eq!(exit, Exit::Code(7));

    let command = Command {
        environment: vec![("WORD".to_owned(), "a b'c$(x)\n".to_owned())],
        folder: Some("/tmp".to_owned()),
        stdin: Input::Bytes("input".into()),
        ..Command::new("printf %s \"$WORD\"; pwd; cat")
    };
    let output = machine.run(&command).await.unwrap();
    assert_eq!(output.text(), "a b'c$(x)\n/tmp\ninput");

    let output = machine.run(&Command::root("id -u")).await.unwrap();
    assert_eq!(output.text(), "0");

    let seconds = SECONDS.fetch_add(1, Ordering::Relaxed);
    let line = format!("sleep {seconds} & sleep {seconds}");
    let slow = Command {
        timeout: Some(Duration::from_millis(500)),
        ..Command::new(&line)
    };
    let error = Diagnostic::from(machine.run(&slow).await.unwrap_err());
    assert_eq!(error.kind, Kind::Timeout);
    let name = machine.name();
    let expected = format!("host `{name}`: `{line}`: timed out after 0.5 s");
    assert_eq!(error.message, expected);
    let left = run(&format!("grep -lsz '^{seconds}$' /proc/[0-9]*/cmdline")).await;
    assert_eq!(left.text(), "");
}

/// Streams: both directions while the command runs, its end, its failure.
async fn streams(machine: &dyn Machine) {
    let command = Command::new("while read line; do echo \"<$line>\"; done; echo end");
    let mut stream = machine.stream(&command).await.unwrap();
    let mut answer = [0; 4];
    for word in ["a\n", "b\n"] {
        stream.write_all(word.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, format!("<{}>\n", word.trim()).as_bytes());
    }
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "end\n");

    let failing = Command::new("echo out; echo cause >&2; exit 3");
    let mut stream = machine.stream(&failing).await.unwrap();
    let mut rest = Vec::new();
    let error = stream.read_to_end(&mut rest).await.unwrap_err();
    assert_eq!(error.to_string(), "cause");
    assert_eq!(rest, b"out\n");
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);

    // Closing a stream ends the command's standard input, nothing else.
    let mark = "/tmp/hitc-machine-closed";
    let line = format!("rm -f {mark}; echo ready; cat >/dev/null; echo closed >{mark}");
    let mut stream = machine.stream(&Command::new(line)).await.unwrap();
    stream.read_exact(&mut [0; 6]).await.unwrap();
    drop(stream);
    let look = Command {
        timeout: Some(Duration::from_secs(10)),
        ..Command::new(format!(
            "until [ -s {mark} ]; do sleep 0.1; done; rm {mark}"
        ))
    };
    machine.run(&look).await.unwrap();
}

/// Sends a line to a port where an echo listens, and returns what comes back.
async fn echo(machine: &dyn Machine, to: &Endpoint) -> String {
    let mut stream = machine.dial(to).await.unwrap();
    stream.write_all(b"hello\n").await.unwrap();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A port on which nothing listens.
async fn refused(machine: &dyn Machine) {
    let to = Endpoint::Tcp("127.0.0.1".to_owned(), 9);
    let error = machine.dial(&to).await.err().unwrap();
    assert!(matches!(error.cause, Cause::Refused { .. }), "{error}");
}

/// Files: content, mode, odd names, and what an error leaves.
async fn files(machine: &dyn Machine) {
    let text = async |line: String| machine.run(&Command::new(line)).await.unwrap().text();
    let folder = "/tmp/hitc machine's files";
    text(format!("rm -rf {0}; mkdir {0}", quote(folder))).await;
    let put = async |path: &str, content: &'static str, mode: Option<&str>| {
        let write_options = WriteOptions {
            mode: mode.map(str::to_owned),
            folders: true,
            ..WriteOptions::default()
        };
        machine.put(path, content.into(), &write_options).await
    };
    for name in ["plain", "a b'c$(x)", "-x", "new\nline", "sub/ö\"`;*"] {
        let path = format!("{folder}/{name}");
        let quoted = quote(&path);
        let state = format!("cat {quoted}; stat -c ' %a' {quoted}");
        put(&path, "one", None).await.unwrap();
        assert_eq!(text(state.clone()).await, "one 644");
        put(&path, "secret", Some("600")).await.unwrap();
        assert_eq!(text(state.clone()).await, "secret 600");
        // The mode of an existing file stays.
        put(&path, "", None).await.unwrap();
        assert_eq!(text(state).await, " 600");
    }
    // The content appears at once: a reader never sees a part of it.
    let big: &'static str = Box::leak("x".repeat(1_000_000).into_boxed_str());
    let path = format!("{folder}/plain");
    let readers = async {
        for _ in 0..5 {
            let size = text(format!("wc -c <{}", quote(&path))).await;
            assert!(["0", "1000000"].contains(&size.trim()), "{size}");
        }
    };
    let (written, ()) = tokio::join!(put(&path, big, None), readers);
    written.unwrap();

    // A failure leaves nothing behind.
    let before = text(format!("find {} | sort", quote(folder))).await;
    let error = put(folder, "x", None).await.unwrap_err();
    let expected = format!(
        "host `{}`: write {folder}: {folder}: is a folder",
        machine.name()
    );
    assert_eq!(error.to_string(), expected);
    let unchanged = text(format!("find {} | sort", quote(folder))).await;
    assert_eq!(unchanged, before);
    text(format!("rm -rf {0} {0}.[0-9]*", quote(folder))).await;
}

/// The lock: taken, busy, released.
async fn locks(machine: &dyn Machine) {
    let take = async |purpose: &str, seconds| {
        Lock::take(machine, purpose, Duration::from_secs(seconds), |_| Ok(())).await
    };
    let lock = take("the first test", 20).await.unwrap();
    let started = Instant::now();
    let busy = take("the second test", 0).await.err().unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    let expected = format!("host `{}`: the first test by ", machine.name());
    assert!(busy.message.starts_with(&expected), "{busy}");
    assert!(!lock.is_lost());
    drop(lock);
    drop(take("the third test", 10).await.unwrap());
}

/// The local machine sees the locks of its containers, which are released at any time.
async fn locks_beside_containers() {
    let machine = Local::new();
    let containers = "while :; do
      for n in 1 2 3 4; do
        unshare --pid --fork sh -c 'name=lock; sh -c \"sleep 0.01; :\" hitc-$name other' &
      done
      wait
    done";
    let containers = std::process::Command::new("sh")
        .args(["-c", containers])
        .spawn();
    let mut containers = containers.unwrap();
    let expected = "host `this machine`: the first test by ";
    let mut wrong = Vec::new();
    for _ in 0..100 {
        let lock = Lock::take(&machine, "the first test", Duration::from_secs(20), |_| {
            Ok(())
        })
        .await;
        let busy = Lock::take(&machine, "the second test", Duration::ZERO, |_| Ok(())).await;
        let busy = busy.err().unwrap().message;
        wrong.extend((!busy.starts_with(expected)).then_some(busy));
        drop(lock.unwrap());
    }
    containers.kill().unwrap();
    containers.wait().unwrap();
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_machine() {
    let machine = Local::new();
    limited("commands", commands(&Limited(&machine))).await;
    limited("streams", streams(&Limited(&machine))).await;
    limited("files", files(&Limited(&machine))).await;
    limited("locks", locks(&Limited(&machine))).await;
    limited("locks", locks_beside_containers()).await;
    limited("refused", refused(&Limited(&machine))).await;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket").display().to_string();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let unix = tokio::net::UnixListener::bind(&path).unwrap();
    let port = tcp.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = tcp.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    tokio::spawn(async move {
        let (mut stream, _) = unix.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let localhost = Endpoint::Tcp("localhost".to_owned(), port);
    assert_eq!(echo(&machine, &localhost).await, "hello\n");
    assert_eq!(echo(&machine, &Endpoint::Unix(path)).await, "hello\n");
}

/// Creates the local server `web`.
async fn create(live: &Live) -> (LocalProvider, Result<Node, provider::Error>) {
    let provider = LocalProvider::new(live.container(""), live.home());
    let create = Create {
        name: "web".to_owned(),
        options: Value::empty_map(),
        owner: owner(),
        unfinished: None,
    };
    let activity = Events::silent().start("web", "");
    let created = provider.create(&create, &activity).await;
    (provider, created)
}

/// A server, over a real sshd.
pub(super) async fn server(live: &Live) -> Arc<dyn Machine> {
    let (provider, created) = create(live).await;
    let node = created.unwrap();
    let login = provider.login(&node).await.unwrap();
    let target = Config::new(&live.home()).target(&login).await.unwrap();
    let pool = Pool::new(Events::silent(), None, Terminations::default());
    // sshd may still be starting.
    let connection = pool.wait_for(&target, Duration::from_secs(20)).await;
    Arc::new(Server(connection.unwrap()))
}

/// A stopped server whose address another container has taken is not removed to be made anew: it has
/// data.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_run_is_not_replaced() {
    let live = Live::new();
    server(&live).await;
    let name = live.container("web");
    let inspect = |form: &str| docker_output(&["inspect", "-f", form, &name]);
    let ip = inspect("{{(index .NetworkSettings.Networks \"hitc\").IPAddress}}");
    let (id, image) = (inspect("{{.Id}}"), inspect("{{.Image}}"));
    docker_output(&["stop", "-t", "0", &name]);
    let thief = docker_output(&[
        "run",
        "-d",
        "--network",
        "hitc",
        "--ip",
        &ip,
        "--entrypoint",
        "sleep",
        &image,
        "100",
    ]);
    let (_, created) = create(&live).await;
    docker_output(&["rm", "-f", &thief]);
    let error = created.unwrap_err().to_string();
    assert!(error.contains("ddress already in use"), "{error}");
    assert_eq!(inspect("{{.Id}}"), id);
}

fn owner() -> Owner {
    Owner {
        project: "test".to_owned(),
        manifest: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_and_containers() {
    let live = Live::new();
    let server = limited("server", Box::pin(server(&live))).await;
    limited("commands", commands(&Limited(server.as_ref()))).await;
    limited("streams", streams(&Limited(server.as_ref()))).await;
    limited("files", files(&Limited(server.as_ref()))).await;
    limited("locks", locks(&Limited(server.as_ref()))).await;
    limited("refused", refused(&Limited(server.as_ref()))).await;
    let mut sshd = server.dial(&"22".parse().unwrap()).await.unwrap();
    let mut banner = [0; 8];
    sshd.read_exact(&mut banner).await.unwrap();
    assert_eq!(&banner, b"SSH-2.0-");

    // The server itself is a container of the local engine.
    let here = Engine::here().await.unwrap();
    let container = here.inside(&live.container("web")).await.unwrap();
    assert!(container.is_root());
    let name = format!("this machine/{}", live.container("web"));
    assert_eq!(container.name(), name);
    limited("commands", commands(&Limited(&container))).await;
    limited("streams", streams(&Limited(&container))).await;
    limited("files", files(&Limited(&container))).await;
    limited("locks", locks(&Limited(&container))).await;
    limited("refused", refused(&Limited(&container))).await;
    let mut sshd = container.dial(&"22".parse().unwrap()).await.unwrap();
    sshd.read_exact(&mut banner).await.unwrap();
    assert_eq!(&banner, b"SSH-2.0-");

    // A container on the server, with BusyBox, through the SSH connection.
    limited(
        "set_up",
        docker::set_up(server.as_ref(), &SetupOptions::default()),
    )
    .await
    .unwrap();
    let engine = Engine::at(&server).await.running().unwrap();
    limited("busybox", busybox(&live, &here, &engine)).await;
    let shop = engine.inside("shop").await.unwrap();
    assert_eq!(shop.name(), "web/shop");
    limited("commands", commands(&Limited(&shop))).await;
    limited("streams", streams(&Limited(&shop))).await;
    limited("files", files(&Limited(&shop))).await;
    limited("refused", refused(&Limited(&shop))).await;
    assert_eq!(echo(&shop, &"80".parse().unwrap()).await, "hello\n");
    let error = Lock::take(&shop, "a test", Duration::ZERO, |_| Ok(()))
        .await
        .err();
    assert_eq!(
        error.unwrap().message,
        "host `web/shop`: the lock could not be taken: flock is not installed"
    );
    for to in ["10.0.0.1:80", "/run/x.sock"] {
        let error = shop.dial(&to.parse().unwrap()).await.err().unwrap();
        let expected = format!(
            "host `web/shop`: cannot connect to {to}: only TCP ports of the container itself are \
             reachable"
        );
        assert_eq!((error.to_string(), error.cause), (expected, Cause::Other));
    }
    let missing = engine.inside("missing").await.err().unwrap();
    let expected = "host `web`: container `missing` not found";
    assert_eq!(missing.to_string(), expected);
    let kill = Action::Kill { remove: true };
    kill.apply(&engine, "shop", &owner(), false).await.unwrap();
    let error = shop.run(&Command::new("true")).await.unwrap_err();
    assert_eq!(error.to_string(), "host `web`: container `shop` not found");
}

/// Runs the container `shop`, in which an echo listens on port 80.
pub(super) async fn busybox(live: &Live, here: &Engine, engine: &Engine) {
    let folder = live.root().join("shop");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("Dockerfile"), DOCKERFILE).unwrap();
    let name = "hitc/machines-shop:1".to_owned();
    let build = Build {
        folder,
        name,
        platform: None,
        secrets: docker::Secrets::default(),
        project: None,
    };
    here.build(&build, &|_| ()).await.unwrap();
    here.push(&build.name, engine, &|_| ()).await.unwrap();
    let options = [
        ("image", build.name.as_str()),
        ("name", "shop"),
        ("pull", "never"),
    ];
    let entries = options.iter().map(|(key, value)| Entry {
        key: (*key).to_owned(),
        key_span: None,
        value: Value::text(*value),
    });
    let options = Value {
        data: Data::Map(entries.collect()),
        span: None,
    };
    let run = Run::decode(options, &live.root(), None).unwrap();
    run.execute(engine, &owner(), &|_| ()).await.unwrap();
}
