//! The SSH layer against a real sshd.

use std::{
    io::{BufRead, BufReader},
    sync::Arc,
    time::{Duration, Instant},
};

use hitc::{
    core::{
        diagnostic::Diagnostic,
        event::{Event, Events, Interface, Stream},
        owner::Owner,
        process::Exit,
        value::Value,
    },
    provider::{Create, Local, Provider},
    ssh::{
        Cause, Command, Config, Connection, Endpoint, Forward, HostKey, Input, Pool, PublicKey,
        Target, Terminations, quote,
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};

use crate::support::{
    Project,
    live::{Live, docker},
    mock_hosts,
};

struct Silent;

impl Interface for Silent {
    fn show(&self, _: Event) {}

    fn confirm(&self, _: &str, _: Option<&str>) -> Result<bool, Diagnostic> {
        Ok(false)
    }

    fn prompt(&self, _: &str, _: bool) -> Result<String, Diagnostic> {
        Ok(String::new())
    }
}

/// Creates a server, and returns its target.
async fn server(live: &Live) -> Target {
    let provider = Local::new(live.container(""), live.home());
    let create = Create {
        name: "web".to_owned(),
        options: Value::empty_map(),
        owner: Owner {
            project: "test".to_owned(),
            manifest: None,
        },
        unfinished: None,
    };
    let activity = Events::new(Arc::new(Silent)).start("web", "");
    let node = provider.create(&create, &activity).await.unwrap();
    let login = provider.login(&node).await.unwrap();
    let mut target = Config::new(&live.home()).target(&login).await.unwrap();
    target.connect_timeout = Duration::from_secs(20);
    target
}

fn pool() -> Pool {
    Pool::new(Events::silent(), None, Terminations::default())
}

async fn open(target: &Target) -> Arc<Connection> {
    // sshd may still be starting.
    let limit = Duration::from_secs(20);
    pool().wait_for(target, limit).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn output_status_signal_and_input() {
    let live = Live::new();
    let connection = open(&server(&live).await).await;
    let run = async |line: &str| connection.run(&Command::new(line)).await.unwrap();

    let output = run("echo out; echo err >&2; exit 3").await;
    assert_eq!(output.exit, Exit::Code(3));
    assert_eq!(
        (output.text().as_str(), output.error_text().as_str()),
        ("out", "err")
    );
    assert_eq!(
        run("kill -TERM $$").await.exit,
        Exit::Signal("TERM".to_owned())
    );
    assert_eq!(run("printf '\\000\\377'").await.stdout, [0, 255]);

    // More than any buffer holds, in both directions at the same time.
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let command = Command {
        stdin: Input::Bytes(bytes.clone().into()),
        ..Command::new("cat")
    };
    assert!(connection.run(&command).await.unwrap().stdout == bytes);

    // Output is passed on as it arrives, not at the end.
    let mut first = None;
    let started = Instant::now();
    connection
        .exec(&Command::new("echo now; sleep 1"), |stream, _| {
            assert_eq!(stream, Stream::Stdout);
            first.get_or_insert(started.elapsed());
        })
        .await
        .unwrap();
    assert!(first.unwrap() < Duration::from_millis(700), "{first:?}");
}

/// Including processes that ignore SIGTERM, or that have a session of their own.
#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_terminates_all_processes() {
    let live = Live::new();
    let connection = open(&server(&live).await).await;
    let stubborn = "trap '' TERM; setsid sleep 4321 & sleep 4321; sleep 4321";
    assert_terminated(&connection, stubborn).await;
}

/// Runs a line that sleeps for 4321 s with a time limit, and checks that its processes are gone.
async fn assert_terminated(connection: &Arc<Connection>, line: &str) {
    let slow = Command {
        timeout: Some(Duration::from_millis(300)),
        ..Command::new(line)
    };
    let error = connection.run(&slow).await.unwrap_err();
    let user = &connection.target().user;
    assert!(
        matches!(
            error.cause,
            Cause::Timeout {
                terminated: true,
                ..
            }
        ),
        "{user}: {error}"
    );
    let left = Command::new("pgrep -cf 'sleep [4]321'");
    assert_eq!(connection.run(&left).await.unwrap().text(), "0", "{user}");
}

/// A process that sudo starts in the middle of a line belongs to another user. The error says that it
/// may still be running.
#[tokio::test(flavor = "multi_thread")]
async fn an_unterminated_command_is_reported() {
    let live = Live::new();
    let mut target = server(&live).await;
    target.user = "admin".to_owned();
    let connection = open(&target).await;
    let slow = |sudo: bool, line: &str| Command {
        timeout: Some(Duration::from_millis(500)),
        sudo,
        ..Command::new(line)
    };
    let error = connection
        .run(&slow(false, "sudo sleep 4321"))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("timed out after 0.5 s, and may still be running"),
        "{error}"
    );
    // If the whole line runs as root, it is terminated.
    let error = connection.run(&slow(true, "sleep 4322")).await.unwrap_err();
    assert!(
        error.to_string().ends_with("timed out after 0.5 s"),
        "{error}"
    );
}

/// By the first Ctrl-C, because there are no other hosts to wait for.
#[test]
fn ctrl_c_terminates_the_command() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let web = live.container("web");
    let left = || docker(&["exec", &web, "sh", "-c", "pgrep -cf 'sleep [4]321' || true"]);
    let mut hitc = live.spawn(&["exec", "-H", "web", "--", "echo begun; sleep 4321"]);
    let mut begun = [0; 6];
    std::io::Read::read_exact(hitc.stdout.as_mut().unwrap(), &mut begun).unwrap();
    assert_ne!(left(), "0");
    crate::support::interrupt(&hitc);
    let output = hitc.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(left(), "0");
}

/// The first Ctrl-C waits for running commands.
#[test]
fn ctrl_c_names_the_hosts_it_waits_for() {
    // Not `exec`, which leaves nothing half done and ends at the first Ctrl-C.
    let live = Live::new().file(
        "hitcfile.rhai",
        "/// W.\nfn work(host) {\n host.stream(\"echo begun; while [ ! -e /go ]; do sleep 0.1; done; echo done\");\n}\n",
    );
    live.run(&["run", "create", "name=web", "count=2"]).ok();
    let mut hitc = live.spawn(&["run", "-H", "web", "-H", "web-1", "work"]);
    let mut stdout = BufReader::new(hitc.stdout.take().unwrap());
    let mut stderr = BufReader::new(hitc.stderr.take().unwrap());
    let mut said = String::new();
    while said.matches("begun").count() < 2 {
        assert_ne!(stdout.read_line(&mut said).unwrap(), 0);
    }
    crate::support::interrupt(&hitc);
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert_eq!(
        line,
        "stopping; waiting for web, web-1 (Ctrl-C again to cancel)\n"
    );
    for name in ["web", "web-1"] {
        docker(&["exec", &live.container(name), "touch", "/go"]);
    }
    std::io::Read::read_to_string(&mut stdout, &mut said).unwrap();
    assert_eq!(said.matches("] done\n").count(), 2, "{said}");
    hitc.wait().unwrap();
}

/// Other commands go on while a gigabyte of output is unread, and the output is complete.
#[tokio::test(flavor = "multi_thread")]
async fn an_unread_gigabyte_does_not_delay_other_commands() {
    let live = Live::new();
    let connection = open(&server(&live).await).await;
    let size = 1_000_000_000;
    let line = format!("yes $(printf %0999d 0) | head -c {size}");
    let command = Command::new(line);
    let mut unread = connection.stream(&command).await.unwrap();
    for n in 0..20 {
        let echo = Command {
            timeout: Some(Duration::from_secs(20)),
            ..Command::new(format!("echo {n}"))
        };
        assert_eq!(connection.run(&echo).await.unwrap().text(), n.to_string());
    }
    let mut buffer = vec![0; 1024 * 1024];
    let mut read = 0;
    loop {
        match unread.read(&mut buffer).await.unwrap() {
            0 => break,
            count => read += count,
        }
    }
    assert_eq!(read, size);
}

/// sshd allows two sessions at a time, so the commands wait for each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_commands_with_max_sessions_two() {
    let live = Live::new();
    let mut target = server(&live).await;
    drop(open(&target).await);
    let web = live.container("web");
    docker(&[
        "exec",
        &web,
        "/usr/sbin/sshd",
        "-p",
        "2201",
        "-o",
        "MaxSessions=2",
        "-o",
        "PidFile=none",
    ]);
    target.port = 2201;
    let connection = open(&target).await;
    let many: Vec<_> = (0..100)
        .map(|n| {
            let connection = connection.clone();
            tokio::spawn(async move {
                let line = format!("echo {n}");
                connection.run(&Command::new(line)).await.unwrap().text()
            })
        })
        .collect();
    for (n, task) in many.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), n.to_string());
    }
}

/// In both directions.
#[tokio::test(flavor = "multi_thread")]
async fn forwards_ports_and_sockets() {
    let live = Live::new();
    let connection = open(&server(&live).await).await;
    let sshd: Endpoint = "22".parse().unwrap();
    let banner = async |stream: &mut (dyn AsyncRead + Unpin + Send)| {
        let mut banner = [0; 8];
        stream.read_exact(&mut banner).await.unwrap();
        assert_eq!(&banner, b"SSH-2.0-");
    };
    let any: Endpoint = "0".parse().unwrap();
    let forward = Forward::local(&connection, &any, &sshd, |_| ())
        .await
        .unwrap();
    let address = forward.from.to_string();
    banner(&mut TcpStream::connect(&address).await.unwrap()).await;
    drop(forward);
    // The listener is closed soon after.
    while TcpStream::connect(&address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let path = live.root().join("ssh.sock");
    let socket = Endpoint::Unix(path.display().to_string());
    let forward = Forward::local(&connection, &socket, &sshd, |_| ())
        .await
        .unwrap();
    banner(&mut UnixStream::connect(&path).await.unwrap()).await;
    drop(forward);
    assert!(!path.exists());

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here: Endpoint = listener.local_addr().unwrap().to_string().parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            socket.write_all(b"from here\n").await.unwrap();
        }
    });
    let forward = Forward::remote(&connection, &any, &here, |_| ())
        .await
        .unwrap();
    let Endpoint::Tcp(_, port) = &forward.from else {
        panic!("{}", forward.from)
    };
    let command = Command {
        shell: Some("bash".to_owned()),
        ..Command::new(format!("head -n 1 </dev/tcp/127.0.0.1/{port}"))
    };
    assert_eq!(connection.run(&command).await.unwrap().text(), "from here");
    let there = Endpoint::Unix("/run/from-here.sock".to_owned());
    let forward = Forward::remote(&connection, &there, &here, |_| ())
        .await
        .unwrap();
    let command = Command::new("test -S /run/from-here.sock && echo listens");
    assert_eq!(connection.run(&command).await.unwrap().text(), "listens");
    drop(forward);
    // An address that is not local.
    let busy = Forward::local(
        &connection,
        &Endpoint::Tcp("192.0.2.1".to_owned(), 1),
        &sshd,
        |_| (),
    )
    .await;
    assert!(matches!(busy.err().unwrap().cause, Cause::Listen { .. }));
}

/// Arguments, environment and working directory arrive unchanged.
#[tokio::test(flavor = "multi_thread")]
async fn any_text_through_any_login_shell() {
    let live = Live::new();
    let mut target = server(&live).await;
    let root = open(&target).await;
    let set_up = "(apt-get update -qq && apt-get install -qqy zsh fish ksh) >/dev/null 2>&1
        for shell in bash dash zsh fish ksh; do
        useradd -m -s \"$(command -v $shell)\" \"u-$shell\" && cp -r /root/.ssh \"/home/u-$shell\"
        chown -R \"u-$shell\" \"/home/u-$shell\"; done; echo ok";
    assert_eq!(root.run(&Command::new(set_up)).await.unwrap().text(), "ok");
    for shell in ["bash", "dash", "zsh", "fish", "ksh"] {
        target.user = format!("u-{shell}");
        let connection = open(&target).await;
        let output = connection
            .run(&Command::new("echo $0 $SHELL"))
            .await
            .unwrap();
        assert!(output.text().ends_with(shell), "{}", output.text());
        assert_terminated(&connection, "sleep 4321").await;
        for seed in 0..25_u64 {
            let mut random = fastrand::Rng::with_seed(seed);
            let pool: Vec<char> = "ab 'é\"\\$`!*?~#&;|<>(){}[]%^=\n\t-".chars().collect();
            let mut text =
                || -> String { (0..12).map(|_| *random.choice(&pool).unwrap()).collect() };
            let (word, value, folder) = (text(), text(), text().replace('/', ""));
            let make = Command::new(format!("mkdir -p -- {}", quote(&format!("/tmp/{folder}"))));
            assert!(connection.run(&make).await.unwrap().ok());
            let command = Command {
                folder: Some(format!("/tmp/{folder}")),
                environment: vec![("VALUE".to_owned(), value.clone())],
                ..Command::new(format!(
                    "printf '%s|%s|%s' {} \"$VALUE\" \"$PWD\"",
                    quote(&word)
                ))
            };
            let output = connection.run(&command).await.unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(
                said,
                format!("{word}|{value}|/tmp/{folder}"),
                "{shell} {seed}"
            );
        }
    }
}

/// A thousand hosts at the same time need neither a thread each nor much memory.
#[test]
fn a_thousand_hosts() {
    let port = mock_hosts();
    let project = Project::new();
    let ssh = project.home().join(".ssh");
    std::fs::create_dir_all(&ssh).unwrap();
    let key = ssh.join("id_ed25519");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    // A machine that is busy answers late.
    std::fs::write(ssh.join("config"), "ConnectTimeout 60\n").unwrap();
    let hosts: String = (0..1000)
        .map(|n| format!("127.1.{}.{}:{port}\n", n / 250, n % 250 + 1))
        .collect();
    project.write("unmanaged_servers.txt", &hosts);
    let mut hitc = project.spawn(&[
        "-q", "exec", "--all", "-P", "1000", "-o", "fold", "--", "true",
    ]);
    let (mut most, mut threads) = (0, 0);
    let status = loop {
        if let Some(status) = hitc.try_wait().unwrap() {
            break status;
        }
        if let Some(now) = peak(hitc.id()) {
            most = most.max(now);
        }
        let tasks = std::fs::read_dir(format!("/proc/{}/task", hitc.id()));
        threads = threads.max(tasks.map_or(0, Iterator::count));
        std::thread::sleep(Duration::from_millis(5));
    };
    let said = hitc.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&said.stderr);
    assert!(status.success(), "{errors}");
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(
        said.starts_with("1000 hosts: ") && said.ends_with("\n  played\n"),
        "{said}"
    );
    assert!(most < 180_000, "{most} kB");
    assert!(threads < 64, "{threads} threads");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_concurrent_commands_than_max_sessions() {
    let live = Live::new();
    let connection = open(&server(&live).await).await;
    let many = (0..40).map(|n| {
        let connection = connection.clone();
        tokio::spawn(async move {
            let line = format!("sleep 0.1; echo {n}");
            connection.run(&Command::new(line)).await.unwrap().text()
        })
    });
    for (n, task) in many.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), n.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_command_releases_its_session() {
    let live = Live::new();
    let connection = open(&server(&live).await).await;
    for _ in 0..30 {
        let command = Command::new("sleep 0.3; yes | head -c 3000000");
        let run = connection.run(&command);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), run)
                .await
                .is_err()
        );
    }
    let output = connection.run(&Command::new("echo alive")).await.unwrap();
    assert_eq!(output.text(), "alive");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_channel_does_not_block_other_channels() {
    let live = Live::new();
    let connection = open(&server(&live).await).await;
    let command = Command::new("yes | head -c 50000000");
    let unread = connection.stream(&command).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let command = Command::new("echo alive");
    let echo = connection.run(&command);
    let output = tokio::time::timeout(Duration::from_secs(20), echo)
        .await
        .unwrap();
    assert_eq!(output.unwrap().text(), "alive");
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_host_key_is_rejected() {
    let live = Live::new();
    let mut target = server(&live).await;
    drop(open(&target).await);
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGS3ZmKGR4LRIQSj6qvpA4CWuTnBjzhxPdVxDyEr1W5V";
    target.host_key = HostKey::Pinned(PublicKey::from_openssh(key).unwrap());
    let error = pool().connect(&target).await.err().unwrap();
    assert!(
        matches!(error.cause, Cause::HostKeyChanged { .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_during_a_command() {
    let live = Live::new();
    let target = server(&live).await;
    let connection = open(&target).await;
    let command = Command::new("echo begun; kill -KILL $(pgrep -x sshd-session || pgrep -x sshd)");
    let error = connection.run(&command).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Lost { .. }), "{error}");
    assert!(connection.is_closed());
}

/// Accepts connections and never sends a byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = Live::new();
    let mut target = server(&live).await;
    target.address = "127.0.0.1".to_owned();
    target.port = listener.local_addr().unwrap().port();
    target.connect_timeout = Duration::from_millis(300);
    let error = pool().connect(&target).await.err().unwrap();
    assert!(matches!(error.cause, Cause::NoAnswer { .. }), "{error}");
}

/// The peak memory of a process, in kB; none if it has ended.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1).unwrap().parse().unwrap())
}

#[test]
fn unlimited_output_with_a_slow_reader_needs_little_memory() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let size = 300_000_000;
    let command = format!("yes $(printf %0999d 0) | head -c {size}");
    let mut hitc = live.spawn(&["exec", "-H", "web", "--", &command]);
    // Reads more slowly than the server writes.
    let mut output = hitc.stdout.take().unwrap();
    let mut buffer = vec![0; 1024 * 1024];
    let mut read = 0;
    loop {
        match std::io::Read::read(&mut output, &mut buffer).unwrap() {
            0 => break,
            count => read += count,
        }
        std::thread::sleep(Duration::from_millis(1));
        let peak = peak(hitc.id());
        assert!(peak.is_none_or(|peak| peak < 200_000), "{peak:?} kB");
    }
    assert_eq!(read, size);
    assert!(hitc.wait().unwrap().success());
}

/// `hitc exec` on one host is a pipe.
#[test]
fn exec_passes_bytes_unchanged() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let exec = |line: &str| ["exec", "-H", "web", "--", line].map(str::to_owned);
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let sent = live.pipe(&exec("cat"), &bytes);
    assert_eq!(sent.status.code(), Some(0));
    assert!(
        sent.stdout == bytes,
        "{} bytes came back",
        sent.stdout.len()
    );
    let short = live.pipe(&exec("printf 'a\\377b'"), b"");
    assert_eq!(short.stdout, b"a\xffb");
    // The command need not read its input.
    assert_eq!(live.pipe(&exec("true"), &bytes).status.code(), Some(0));
}

#[test]
fn a_closed_output_ends_the_run() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let mut hitc = live.spawn(&["exec", "-H", "web", "--", "yes"]);
    let mut some = [0; 4];
    std::io::Read::read_exact(&mut hitc.stdout.take().unwrap(), &mut some).unwrap();
    assert_eq!(&some, b"y\ny\n");
    assert_eq!(hitc.wait().unwrap().code(), Some(141));
}

#[test]
fn too_much_output_for_a_script_is_an_error() {
    let live = Live::new().file(
        "hitcfile.rhai",
        "/// L.\n/// @readonly\nfn long(host) { host.try_run(\"yes\"); }\n",
    );
    live.run(&["run", "create", "name=web"]).ok();
    live.run(&["run", "-H", "web", "long"]).fails(
        1,
        "error: host `web`: `yes`: output larger than 16 MiB
 --> hitcfile.rhai:3:22
  |
3 | fn long(host) { host.try_run(\"yes\"); }
  |                      ^^^^^^^
  |
  = help: redirect the output to a file, or use `stream`, which shows it, instead of `run`
",
    );
}
