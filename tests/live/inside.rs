//! Containers as hosts: selection, commands, files, and commands that end in odd ways.

use std::{
    io::{BufRead, BufReader},
    sync::Arc,
    time::{Duration, Instant},
};

use hitc::{
    core::process::{Exit, Output},
    docker::Engine,
    machine::{Local, Machine},
    ssh::{Command, Input},
};
use tokio::{io::AsyncReadExt, time::timeout};

use super::machines;
use crate::support::live::{Live, docker};

/// A whole distribution.
pub(super) const DEBIAN: &str = "FROM hitc/debian:13\nCMD [\"sleep\", \"infinity\"]\n";

/// The programs of BusyBox and no list of users.
pub(super) const BUSYBOX: &str = r#"
FROM hitc/debian:13 AS tools
FROM scratch
COPY --from=tools /usr/bin/busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN mkdir -p /tmp /run
CMD ["nc", "-ll", "-p", "80", "-e", "cat"]
"#;

/// One static program. BusyBox takes its first argument for the name of a program.
pub(super) const ONE_PROGRAM: &str = r#"
FROM hitc/debian:13 AS tools
FROM scratch
COPY --from=tools /usr/bin/busybox /busybox-app
CMD ["/busybox-app", "sleep", "infinity"]
"#;

/// Builds an image on this machine.
pub(super) fn build(live: &Live, name: &str, dockerfile: &str) -> String {
    live.write(&format!("{name}/Dockerfile"), dockerfile);
    live.write(
        "hitcfile.rhai",
        "/// B.\n/// @param folder  a folder\nfn build(folder) { print(docker::build(folder)) }\n",
    );
    live.run(&["run", "build", name])
        .ok()
        .stdout
        .trim()
        .to_owned()
}

/// A container of the local engine, which is removed in the end.
struct Container(String);

impl Container {
    fn run(image: &str) -> Self {
        Container(docker(&["run", "-d", image]))
    }

    async fn inside(&self) -> (Engine, Arc<dyn Machine>) {
        let engine = Engine::here().await.unwrap();
        let name = docker(&["inspect", "-f", "{{.Name}}", &self.0]);
        let inside = engine.inside(name.trim_start_matches('/')).await.unwrap();
        (engine, Arc::new(inside))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        docker(&["rm", "-fv", &self.0]);
    }
}

async fn run(machine: &dyn Machine, line: &str, input: Vec<u8>) -> Output {
    let command = Command {
        stdin: Input::Bytes(input.into()),
        ..Command::new(line)
    };
    let ended = timeout(Duration::from_mins(1), machine.run(&command)).await;
    let ended = ended.unwrap_or_else(|_| panic!("still running: {line}"));
    ended.unwrap()
}

/// Whatever a command does with its input and output, it is seen to end.
async fn many_commands(machine: Arc<dyn Machine>, count: usize) {
    const BIG: usize = 1_500_000;
    let cases: [(&str, usize, u32, usize); 9] = [
        // No input at all: it ends at once.
        ("cat >/dev/null", 0, 0, 0),
        ("cat >/dev/null", BIG, 0, 0),
        ("cat", BIG, 0, BIG),
        ("exit 7", BIG, 7, 0),
        ("head -c 5; exit 3", BIG, 3, 5),
        ("true", 0, 0, 0),
        ("cat", 1, 0, 1),
        (
            "exec 0<&-; printf x; exec >&- 2>&-; sleep 0.05; exit 4",
            BIG,
            4,
            1,
        ),
        ("sleep 0.3 & echo a", 0, 0, 2),
    ];
    let mut tasks = Vec::new();
    for worker in 0..8 {
        let machine = machine.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..count {
                let (line, input, code, length) = cases[(worker + round) % cases.len()];
                let output = run(machine.as_ref(), line, vec![b'x'; input]).await;
                assert_eq!(output.exit, Exit::Code(code), "{line}");
                assert_eq!(output.stdout.len(), length, "{line}");
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// How often each worker runs commands. More of them find rare races.
fn rounds() -> usize {
    std::env::var("HITC_STRESS").map_or(4, |rounds| rounds.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_hangs_on_a_server() {
    let live = Live::new();
    let server = machines::server(&live).await;
    hitc::docker::set_up(server.as_ref(), &hitc::docker::SetupOptions::default())
        .await
        .unwrap();
    let engine = Engine::at(&server).await.running().unwrap();
    let here = Engine::here().await.unwrap();
    machines::busybox(&live, &here, &engine).await;
    let shop = engine.inside("shop").await.unwrap();
    many_commands(Arc::new(shop), rounds()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_hangs() {
    let live = Live::new();
    let container = Container::run(&build(&live, "shop", BUSYBOX));
    let (_, inside) = container.inside().await;
    let rounds = rounds();
    many_commands(inside.clone(), rounds).await;
    // The same through streams that are kept and reused, as on servers.
    let here: Arc<dyn Machine> = Arc::new(Local::new());
    let engine = Engine::at(&here).await.running().unwrap();
    let (_, name) = inside.name().split_once('/').unwrap();
    let pooled = engine.inside(name).await.unwrap();
    many_commands(Arc::new(pooled), rounds).await;

    // Input that ends before the process is there.
    let empty = tempfile::NamedTempFile::new().unwrap();
    for _ in 0..rounds {
        let input = Input::File {
            path: empty.path().to_owned(),
            from: 0,
            sent: Arc::default(),
        };
        let command = Command {
            stdin: input,
            timeout: Some(Duration::from_mins(1)),
            ..Command::new("wc -c")
        };
        assert_eq!(inside.run(&command).await.unwrap().text(), "0");
    }

    // Streams that are closed before everything was read.
    for _ in 0..rounds {
        let line = "while true; do echo x; done";
        let mut stream = inside.stream(&Command::new(line)).await.unwrap();
        stream.read_exact(&mut [0; 10]).await.unwrap();
        drop(stream);
    }
    assert_eq!(run(inside.as_ref(), "echo a", Vec::new()).await.text(), "a");
}

/// A command whose container dies ends with an error, and so does the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_dies() {
    let live = Live::new();
    let container = Container::run(&build(&live, "shop", BUSYBOX));
    let (_, inside) = container.inside().await;
    let name = inside.name().to_owned();
    let sleeping = {
        let inside = inside.clone();
        tokio::spawn(async move { inside.run(&Command::new("echo a; sleep 100")).await })
    };
    let started = async {
        while run(inside.as_ref(), "pidof sleep", Vec::new())
            .await
            .stdout
            .is_empty()
        {}
    };
    timeout(Duration::from_secs(20), started).await.unwrap();
    docker(&["kill", &container.0]);
    let ended = timeout(Duration::from_secs(20), sleeping).await.unwrap();
    assert_eq!(ended.unwrap().unwrap().exit, Exit::Code(137));
    let error = inside.run(&Command::new("true")).await.unwrap_err();
    let (_, short) = name.split_once('/').unwrap();
    assert_eq!(
        error.to_string(),
        format!("host `this machine`: container `{short}` is not running")
    );
    // It is started again: the same container, with another process.
    docker(&["start", &container.0]);
    assert_eq!(run(inside.as_ref(), "echo b", Vec::new()).await.text(), "b");
}

/// An image without a shell runs plain commands, and these are terminated too.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_one_program() {
    let live = Live::new();
    let container = Container::run(&build(&live, "app", ONE_PROGRAM));
    let (_, inside) = container.inside().await;
    let app = inside.as_ref();
    let output = run(app, "/busybox-app cat", b"input".to_vec()).await;
    assert_eq!(output.text(), "input");
    let output = run(app, "/busybox-app echo 'a  b' '$c'", Vec::new()).await;
    assert_eq!(output.text(), "a  b $c");
    let error = app.run(&Command::new("a | b")).await.unwrap_err();
    let name = app.name();
    assert_eq!(
        error.to_string(),
        format!("host `{name}`: `a | b` needs a shell, and the image has none (`sh`)")
    );
    let command = Command {
        environment: vec![("WORD".to_owned(), "a b\n'$x".to_owned())],
        folder: Some("/dev".to_owned()),
        ..Command::root("/busybox-app env")
    };
    let text = app.run(&command).await.unwrap().text();
    assert!(
        text.contains("WORD=a b\n'$x\n") && text.contains("PWD=/dev") || text.contains("WORD=")
    );

    let missing = app.run(&Command::new("nosuch")).await.unwrap_err();
    let expected = format!(
        "host `{name}`: cannot start `nosuch`: exec: \"nosuch\": executable file not found in $PATH"
    );
    assert_eq!(missing.to_string(), expected);

    let started = Instant::now();
    let slow = Command {
        timeout: Some(Duration::from_millis(500)),
        ..Command::new("/busybox-app sleep 4326")
    };
    let error = app.run(&slow).await.unwrap_err();
    assert!(
        error.to_string().ends_with("timed out after 0.5 s"),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(8));
    let left = Local::new()
        .run(&Command::new("pgrep -f 'sleep 4326$'"))
        .await;
    assert_eq!(left.unwrap().text(), "");
}

/// The lines of standard output, sorted.
fn lines(run: &crate::support::Run) -> Vec<&str> {
    let mut lines: Vec<&str> = run.stdout.lines().collect();
    lines.sort_unstable();
    lines
}

/// Containers of two servers, selected in every way.
#[test]
fn containers_are_hosts() {
    let live = Live::new();
    let images = [
        ("shop", build(&live, "debian", DEBIAN)),
        ("box-1", build(&live, "busybox", BUSYBOX)),
        ("app", build(&live, "app", ONE_PROGRAM)),
    ];
    live.run(&["run", "create", "name=web", "count=2"]).ok();
    for (name, image) in &images {
        live.run(&["run", "-R", "web", "docker.push", image]).ok();
        let name = format!("name={name}");
        let run = ["run", "-R", "web", "docker.run", image, &name, "pull=never"];
        live.run(&run).ok();
    }
    let exec =
        |flags: &[&str], words: &[&str]| live.run(&[&["exec"], flags, &["--"], words].concat());

    // One, by its name: its output, and its exit status.
    let run = exec(
        &["-H", "web/shop"],
        &["echo $((6*7)); cat /etc/debian_version; exit 4"],
    );
    assert_eq!(run.status, 4, "{run}");
    assert!(run.stdout.starts_with("42\n13"), "{run}");
    let run = live.pipe(
        &["exec", "-H", "web/box-1", "--", "wc", "-c"],
        "x".repeat(100_000).as_bytes(),
    );
    assert_eq!(String::from_utf8(run.stdout).unwrap().trim(), "100000");
    exec(&["-H", "web/app"], &["/busybox-app", "echo", "a b"]).is(0, "a b\n", "");
    let run = exec(&["-H", "web/app"], &["nosuch"]);
    assert_eq!(run.status, 127, "{run}");
    let run = exec(&["-H", "web/app"], &["echo a | cat"]);
    let error =
        "error: host `web/app`: `echo a | cat` needs a shell, and the image has none (`sh`)";
    assert!(run.stderr.contains(error), "{run}");

    // Many, by globs; less, by other flags. Each line carries its host.
    let run = exec(&["-H", "web*/shop"], &["echo a"]).ok();
    assert_eq!(lines(&run), ["[web-1/shop] a", "[web/shop] a"]);
    let run = exec(&["-H", "web/*", "-x", "web/app"], &["echo a"]).ok();
    assert_eq!(lines(&run), ["[web/box-1] a", "[web/shop] a"]);
    let run = exec(
        &["-H", "*/*", "--limit", "web*/box", "-x", "web-1"],
        &["echo a"],
    )
    .ok();
    assert_eq!(lines(&run), ["a"], "one host carries no name");
    let run = exec(&["-H", "web-1,web/shop"], &["echo a"]).ok();
    assert_eq!(lines(&run), ["[web-1] a", "[web/shop] a"]);
    let run = exec(&["-R", "web"], &["echo a"]).ok();
    assert_eq!(lines(&run), ["[web-1] a", "[web] a"]);

    // What is not there.
    let missing = |flags: &[&str], error: &str, help: &str| {
        let run = exec(flags, &["true"]);
        assert_eq!(run.status, 3, "{run}");
        assert!(run.stderr.contains(&format!("error: {error}\n")), "{run}");
        assert!(run.stderr.contains(help), "{run}");
    };
    missing(
        &["-H", "web/shpo"],
        "container `shpo` not found on server `web`",
        "help: did you mean `shop`?",
    );
    missing(
        &["-H", "wbe/shop"],
        "server `wbe` not found",
        "help: did you mean `web`?",
    );
    missing(
        &["-H", "web*/x*"],
        "`web*/x*` matches no running container",
        "help: list the running containers with `hitc run -H 'web*' docker.ps`",
    );
    missing(
        &["-H", "web/*", "-x", "web/shpo"],
        "`web/shpo` matches none of the selected containers",
        "help: did you mean `web/shop`?",
    );
    missing(
        &["-H", "web/shop", "-x", "web/shop"],
        "no server is selected",
        "",
    );
    exec(&["-H", "web"], &["docker stop -t 0 box-1"]).ok();
    let run = exec(&["-H", "web/box-1"], &["true"]);
    assert!(
        run.stderr
            .contains("error: host `web`: container `box-1` is not running\n"),
        "{run}"
    );

    // What only a server can do.
    for task in [
        &["reboot"][..],
        &["rename", "x"],
        &["terminate"],
        &["docker.ps"],
        &["docker.kill", "x"],
        &["iptables.rules"],
        &["iptables.clear"],
    ] {
        let run = live.run(&[&["run", "--yes", "-H", "web/shop"], task].concat());
        assert_eq!(run.status, 2, "{run}");
        let error = "host `web/shop` is a container; this works on servers only";
        assert!(run.stderr.contains(error), "{run}");
    }
}

/// What tasks do with hosts works in containers, of a distribution and with BusyBox.
#[test]
fn tasks_in_containers() {
    const HITCFILE: &str = r##"
/// What every host can do.
fn all(host) {
    let name = host.name;
    print(`${host.name} ${host.role} ${host.ip != ""} ${host.provider}`);
    print(host.run("echo \"$A\"; pwd; id -u", #{ env: #{ A: "a 'b' $c" }, cd: "/tmp", sudo: true }));
    print(host.try_run("cat; exit 5", #{ stdin: "input" }));
    print(host.script("#!/bin/sh\necho $((1 + 2))"));
    host.put("content ö\n", "/tmp/a b", #{ mode: "600" });
    print(host.run("cat '/tmp/a b'; stat -c %a '/tmp/a b'"));
    print(host.upload("big.bin", "/tmp/"));
    print(host.upload("folder", "/tmp/folder"));
    print(host.upload("folder", "/tmp/folder"));
    print(host.download("/tmp/folder", `got/{host}`));
    print(host.download("/tmp/big.bin", `got/{host}/`));
    let facts = host.facts();
    print(`${facts.kernel != ""} ${facts.cpus > 0} ${facts.memory > 1000000} ${facts.hostname == host.run("cat /etc/hostname")}`);
}

/// Inside.
fn some(host) {
    let shop = docker::inside(host, "shop");
    print(`${shop} ${shop.name} ${shop.try_run("exit 3").code}`);
    shop.put("x", "/tmp/x");
    shop.wait_for_port(80);
    shop.forward_local("0", "80", |address| print(http::get(`http://${address}/`)));
}
"##;
    let live = Live::new();
    let web = BUSYBOX.replace(
        r#"CMD ["nc", "-ll", "-p", "80", "-e", "cat"]"#,
        "RUN [\"mkdir\", \"/www\"]\nCOPY index.html /www/\nCMD [\"httpd\", \"-f\", \"-h\", \"/www\"]",
    );
    live.write("busybox/index.html", "hello");
    let images = [
        ("debian-2", build(&live, "debian", DEBIAN)),
        ("shop", build(&live, "busybox", &web)),
    ];
    live.run(&["run", "create", "name=web"]).ok();
    for (name, image) in &images {
        live.run(&["run", "-H", "web", "docker.push", image]).ok();
        let name = format!("name={name}");
        live.run(&["run", "-H", "web", "docker.run", image, &name, "pull=never"])
            .ok();
    }
    live.write("hitcfile.rhai", HITCFILE);
    live.write("folder/one", "1");
    live.write("folder/sub/two words", "2");
    live.write("big.bin", &"0123456789".repeat(300_000));
    for (name, role) in [("web/debian-2", "debian"), ("web/shop", "shop")] {
        let run = live.run(&["run", "-o", "raw", "-H", name, "all"]).ok();
        let counts = |(transferred, unchanged): (i32, i32)| {
            format!(
                "#{{\"removed\": 0, \"transferred\": {transferred}, \"unchanged\": {unchanged}}}\n"
            )
        };
        for expected in [
            format!("{name} {role} true local\n"),
            "a 'b' $c\n/tmp\n0\n".to_owned(),
            "\"code\": 5".to_owned(),
            "\"stdout\": \"input\"".to_owned(),
            "3\n".to_owned(),
            "content ö\n600\n".to_owned(),
            [(1, 0), (2, 0), (0, 2), (2, 0), (1, 0)]
                .map(counts)
                .concat(),
            "true true true true\n".to_owned(),
        ] {
            assert!(run.stdout.contains(&expected), "{expected}: {run}");
        }
        let got = live.root().join("got").join(name);
        let read = |path: &str| std::fs::read_to_string(got.join(path)).unwrap();
        assert_eq!(read("sub/two words"), "2");
        assert_eq!(read("big.bin").len(), 3_000_000);
    }
    let run = live.run(&["run", "-H", "web", "some"]).ok();
    assert_eq!(run.stdout, "web/shop web/shop 3\nhello\n");
    let run = live.run(&["run", "-H", "web/shop", "rsync_up", "folder/", "/tmp/"]);
    let error = "host `web/shop` is a container; this works on servers only";
    assert!(run.stderr.contains(error), "{run}");

    // Output is shown as it arrives, and Ctrl-C ends the command in the container.
    let line = "echo started; sleep 4328";
    let mut exec = live.spawn(&["exec", "-H", "web/shop", "--", line]);
    let mut stdout = BufReader::new(exec.stdout.take().unwrap());
    let mut said = String::new();
    stdout.read_line(&mut said).unwrap();
    assert_eq!(said, "started\n");
    crate::support::interrupt(&exec);
    assert_eq!(exec.wait().unwrap().code(), Some(130));
    let left = live
        .run(&["exec", "-H", "web/shop", "--", "pidof sleep | wc -w"])
        .ok();
    assert_eq!(left.stdout.trim(), "0");
}

/// A server with containers in whose image there is only one program, as root and as another user.
fn containers_without_a_shell() -> Live {
    const IMAGE: &str = "\
FROM hitc/debian:13 AS tools
FROM scratch
COPY --from=tools /usr/bin/busybox /busybox-app
COPY --chown=7:8 conf /etc/app/conf
COPY big.bin /srv/old
CMD [\"/busybox-app\", \"sleep\", \"infinity\"]
";
    let live = Live::new();
    live.write("app/conf", "first\n");
    live.write("app/big.bin", "old");
    let image = build(&live, "app", IMAGE);
    live.run(&["run", "create", "name=web"]).ok();
    live.run(&["run", "-H", "web", "docker.push", &image]).ok();
    for (name, options) in [("app", &[][..]), ("other", &["user=7:8"])] {
        super::shells::run_image(&live, &image, name, options);
    }
    live.write("big.bin", &"0123456789".repeat(300_000));
    live.write("folder/one", "1");
    live.write("folder/sub/two words", "2");
    live
}

/// Uploads and downloads need nothing in the container.
#[test]
fn files_without_a_shell() {
    const HITCFILE: &str = r#"
/// What an upload needs.
fn all(host) {
    host.put("put\n", "/etc/app/conf");
    host.put("new\n", "/new dir/it's new", #{ folders: true, owner: "5:6", mode: "4600" });
    print(host.sha256("/etc/app/conf"));
    print(host.sha256("/nothing"));
    print(host.upload("big.bin", "/srv/", #{ folders: true }));
    print(host.upload("folder", "/srv/folder"));
    print(host.upload("folder", "/srv/folder"));
    print(host.download("/srv/folder", "got"));
    print(host.download("/srv/big.bin", "got/"));
    host.template("template", "/filled", #{ WHO: "world" });
}
"#;
    let live = containers_without_a_shell();
    let cat = |path: &str| {
        live.run(&["exec", "-H", "web/app", "--", "/busybox-app", "cat", path])
            .ok()
            .stdout
    };
    let stat = |path: &str| {
        let words = ["/busybox-app", "stat", "-c", "%u:%g %a", path];
        live.run(&[&["exec", "-H", "web/app", "--"], &words[..]].concat())
            .ok()
            .stdout
    };
    live.write("hitcfile.rhai", HITCFILE);
    live.write("template", "hello {{WHO}}\n");

    let run = live.run(&["-o", "raw", "run", "-H", "web/app", "all"]).ok();
    let counts = |(transferred, unchanged): (i32, i32)| {
        format!("#{{\"removed\": 0, \"transferred\": {transferred}, \"unchanged\": {unchanged}}}\n")
    };
    let digest = "b28f8edbb7b6641f97cbe7b69722b66e16103dbf660e601a7ac9ee81a145d065\n\n";
    let expected = [(1, 0), (2, 0), (0, 2), (2, 0), (1, 0)]
        .map(counts)
        .concat();
    assert_eq!(run.stdout, format!("{digest}{expected}"));
    assert_eq!(
        (cat("/etc/app/conf"), stat("/etc/app/conf")),
        ("put\n".into(), "7:8 644\n".into())
    );
    let new = "/new dir/it's new";
    assert_eq!((cat(new), stat(new)), ("new\n".into(), "5:6 4600\n".into()));
    assert_eq!(stat("/new dir"), "0:0 755\n");
    assert_eq!(cat("/srv/folder/sub/two words"), "2");
    assert_eq!(cat("/filled"), "hello world\n");
    let read = |path: &str| std::fs::read_to_string(live.root().join("got").join(path)).unwrap();
    assert_eq!(read("sub/two words"), "2");
    assert_eq!(read("big.bin").len(), 3_000_000);
}

/// What cannot be done without a shell.
#[test]
fn errors_of_files_without_a_shell() {
    let live = containers_without_a_shell();
    let fails = |host: &str, words: &[&str], error: &str| {
        let run = live.run(&[&["run", "-H", host], words].concat());
        assert_eq!(run.status, 1, "{run}");
        assert!(
            run.stderr
                .contains(&format!("error: host `{host}`: {error}")),
            "{run}"
        );
    };
    let upload = |words: &[&'static str]| [&["upload"], words].concat();
    fails(
        "web/app",
        &upload(&["big.bin", "/no/such/file"]),
        "writing `/no/such/file`: folder `/no/such` does not exist in the container\n",
    );
    fails(
        "web/app",
        &upload(&["big.bin", "/srv/x", "owner=app"]),
        "writing `/srv/x`: owner `app` cannot be looked up, as the image has no shell (`sh`)\n\
         help: write numbers, for example `1000:1000`\n",
    );
    fails(
        "web/app",
        &upload(&["big.bin", "/dev/shm/x"]),
        "writing `/dev/shm/x`: the engine cannot write below `/dev`, a file system in memory\n",
    );
    fails(
        "web/app",
        &upload(&["big.bin", "/srv"]),
        "writing `/srv`: `/srv` is a folder\n",
    );
    live.run(&["run", "-H", "web/app", "upload", "folder", "/srv/folder"])
        .ok();
    std::fs::remove_file(live.root().join("folder/one")).unwrap();
    fails(
        "web/app",
        &upload(&["folder", "/srv/folder", "delete=true"]),
        "transfer /srv/folder: `one` cannot be removed, as the image has no shell\n",
    );
    fails(
        "web/app",
        &["download", "/nothing", "x"],
        "transfer /nothing: no such file or folder\n",
    );
    let copied = live.run(&["run", "-H", "web", "docker.cp", "big.bin", "app:/dev/shm/x"]);
    let error = "the engine cannot write below `/dev`, a file system in memory\n";
    assert!(copied.stderr.contains(error), "{copied}");
    let as_root = "the engine does it as root, as the image has no shell (`sh`)\n\
                   help: allow that with `sudo=true`\n";
    fails(
        "web/other",
        &upload(&["big.bin", "/big"]),
        &format!("writing `/big`: {as_root}"),
    );
    fails(
        "web/other",
        &["download", "/etc/app/conf", "x"],
        &format!("reading `/etc/app/conf`: {as_root}"),
    );
    live.run(&[
        "run",
        "-H",
        "web/other",
        "upload",
        "big.bin",
        "/big",
        "sudo=true",
    ])
    .ok();
}
