//! Commands, terminals and tunnels in containers of servers: `docker.exec`, `ssh`, `tunnel`, `sshfs`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use super::inside::{BUSYBOX, ONE_PROGRAM, build};
use crate::support::{
    Terminal, interrupt,
    live::{Live, docker},
};

/// A server with containers of these images.
fn server(containers: &[(&str, &str, &[&str])]) -> Live {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    for (name, dockerfile, options) in containers {
        start(&live, name, dockerfile, options);
    }
    live
}

fn start(live: &Live, name: &str, dockerfile: &str, options: &[&str]) {
    let image = build(live, name, dockerfile);
    live.run(&["run", "-H", "web", "docker.push", &image]).ok();
    run_image(live, &image, name, options);
}

/// Runs an image that the server has.
pub(super) fn run_image(live: &Live, image: &str, name: &str, options: &[&str]) {
    let name = format!("name={name}");
    let run = ["run", "-H", "web", "docker.run", image, &name, "pull=never"];
    live.run(&[&run[..], options].concat()).ok();
}

#[test]
fn a_command_in_a_container() {
    let live = server(&[("shop", BUSYBOX, &[]), ("app", ONE_PROGRAM, &[])]);
    let exec = |words: &[&str]| live.run(&[&["run", "-H", "web", "docker.exec"], words].concat());
    exec(&["shop", "--", "echo", "a  b", "$x"]).is(0, "a  b $x\n", "");
    exec(&["shop", "echo a | cat"]).is(0, "a\n", "");
    exec(&["app", "--", "/busybox-app", "echo", "b"]).is(0, "b\n", "");
    let run = exec(&["shop", "--", "sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!(run.status, 42, "{run}");
    assert_eq!(run.stdout, "out\n");
    assert!(run.stderr.starts_with("err\n"), "{run}");
    let run = exec(&["shpo", "--", "true"]);
    assert_eq!(run.status, 1);
    let error = "error: host `web`: container `shpo` not found\n";
    assert!(run.stderr.contains(error), "{run}");
    assert!(run.stderr.contains("help: did you mean `shop`?"), "{run}");
    let run = exec(&["shop", "tty=true", "--", "true"]);
    let error = "error: host `web/shop`: a terminal is needed, and hitc does not run on one\n";
    assert!(run.stderr.contains(error), "{run}");
    let run = live.run(&["run", "-H", "web/shop", "docker.exec", "shop", "true"]);
    let error = "host `web/shop` is a container; this works on servers only";
    assert!(run.stderr.contains(error), "{run}");
    let dry = live
        .run(&["run", "-n", "-H", "web", "docker.ssh", "shop"])
        .ok();
    assert_eq!(
        dry.stderr.lines().next(),
        Some("would open a shell in container shop on web")
    );
}

/// Waits until `stty size` in the terminal prints this, after `resize`.
fn wait_for_size(terminal: &mut Terminal, rows: u16, columns: u16) {
    let wanted = format!("size={rows} {columns}=");
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        terminal.type_keys("echo \"size=$(stty size)=\"\n");
        // The line that was typed is echoed.
        terminal.wait_for("size)=\"\n");
        let shown = terminal.wait_for("=\n");
        if shown.contains(&wanted) {
            return;
        }
        assert!(Instant::now() < end, "{shown}");
    }
}

/// A shell by the engine: size, Ctrl-C, exit status, and the terminal as it was before.
#[test]
fn a_shell_without_an_ssh_server() {
    let live = server(&[("shop", BUSYBOX, &[])]);
    let line = "stty rows 33 cols 77; tty; before=$(stty -g); $HITC run -H web docker.ssh shop
        code=$?; [ \"$before\" = \"$(stty -g)\" ] && echo restored; exit $code";
    let mut terminal = live.terminal(line);
    let tty = terminal.wait_for("\n").trim().to_owned();
    terminal.wait_for("# ");
    wait_for_size(&mut terminal, 33, 77);
    let resized = Command::new("stty")
        .args(["-F", &tty, "rows", "44", "cols", "99"])
        .status();
    assert!(resized.unwrap().success());
    wait_for_size(&mut terminal, 44, 99);
    // Ctrl-C ends what runs in the container, and nothing else.
    terminal.type_keys("sh -c 'echo re\"\"ady; exec cat'\n");
    terminal.wait_for("ready\n");
    terminal.type_keys("lines\n");
    terminal.wait_for("lines\nlines\n");
    terminal.type_keys("\u{3}");
    terminal.wait_for("^C");
    terminal.type_keys("echo \"still=$TERM=\"\n");
    terminal.wait_for("still=vt100=");
    // Bytes that look like the header of a part of the output.
    terminal.type_keys("printf '\\001\\002\\000\\000end\\n'\n");
    terminal.wait_for("end\n");
    terminal.type_keys("exit 3\n");
    terminal.wait_for("restored");
    assert_eq!(terminal.end(), 3);

    // A command on the terminal.
    let line = "$HITC run -H web docker.exec shop tty=true -- sh -c 'tty; exit 4'";
    let mut terminal = live.terminal(line);
    terminal.wait_for("/dev/pts/");
    assert_eq!(terminal.end(), 4);
}

/// What hitc started ends with it.
#[test]
fn a_terminal_that_is_closed() {
    let live = server(&[("shop", BUSYBOX, &[])]);
    let line = "before=$(stty -g); $HITC run -H web docker.exec shop tty=true -- sleep 4327
        [ \"$before\" = \"$(stty -g)\" ] && echo restored";
    let mut terminal = live.terminal(line);
    let count = || {
        let run = live.run(&["exec", "-H", "web/shop", "--", "pidof sleep | wc -w"]);
        run.stdout.trim().to_owned()
    };
    wait_until(|| count() == "1");
    let pids = Command::new("pgrep")
        .args(["-f", "docker.exec shop tty=true -- sleep 4327"])
        .output();
    let pids = String::from_utf8(pids.unwrap().stdout).unwrap();
    for pid in pids.split_whitespace() {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.trim() == "hitc" {
            let killed = Command::new("kill").args(["-TERM", pid]).status();
            assert!(killed.unwrap().success());
        }
    }
    terminal.wait_for("restored");
    terminal.end();
    wait_until(|| count() == "0");
}

#[track_caller]
fn wait_until(mut is_true: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_true() {
        assert!(Instant::now() < end, "timed out");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A Dockerfile with sshd, where root has the password `secret`.
fn with_sshd(live: &Live) -> String {
    // A local server's image has sshd.
    let image = docker(&["inspect", "-f", "{{.Config.Image}}", &live.container("web")]);
    format!(
        "FROM {image}\nRUN echo root:secret | chpasswd && mkdir -p /run/sshd && ssh-keygen -A && \
         rm -f /etc/ssh/sshd_config.d/*\n\
         ENTRYPOINT [\"/usr/sbin/sshd\", \"-D\", \"-o\", \"PermitRootLogin=yes\"]\nCMD []\n"
    )
}

/// A shell through sshd in the container.
#[test]
fn a_shell_with_an_ssh_server() {
    let live = server(&[]);
    start(&live, "shop", &with_sshd(&live), &[]);
    let line = "stty rows 33 cols 77; $HITC run -H web docker.ssh shop password=secret";
    let mut terminal = live.terminal(line);
    terminal.wait_for("the host key of the SSH server in the container is not checked");
    terminal.wait_for("# ");
    wait_for_size(&mut terminal, 33, 77);
    terminal.type_keys("echo \"by=${SSH_CONNECTION:+ssh}=\"; exit 5\n");
    terminal.wait_for("by=ssh=");
    assert_eq!(terminal.end(), 5);
    let mut terminal = live.terminal("$HITC run -H web docker.ssh shop");
    terminal.wait_for("error: host `web/shop`: ssh: could not log in as `root`");
    assert_eq!(terminal.end(), 1);
}

/// Installs sshfs on this machine if it is missing.
fn install_sshfs() {
    let line = "command -v sshfs || $(test \"$(id -u)\" = 0 || echo sudo -n) sh -c 'apt-get update -qq && \
                DEBIAN_FRONTEND=noninteractive apt-get install -qqy sshfs' >/dev/null";
    let installed = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(installed.status.success(), "{installed:?}");
}

/// A folder of a container, mounted until Ctrl-C.
#[test]
fn a_folder_of_a_container_is_mounted() {
    install_sshfs();
    let live = server(&[]);
    start(&live, "shop", &with_sshd(&live), &[]);
    let folder = live.root().join("mnt");
    std::fs::create_dir(&folder).unwrap();
    let is_mounted = || {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        mounts.contains(&format!(" {} fuse.sshfs ", folder.display()))
    };
    let mount = ["run", "-H", "web", "docker.sshfs", "shop", "/srv", "mnt"];
    let mut mounting = live.spawn(&[&mount[..], &["password=secret"]].concat());
    let mut stderr = BufReader::new(mounting.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert_eq!(said, "mounting /srv of web/shop at mnt; stop with Ctrl-C\n");
    wait_until(|| {
        if mounting.try_wait().unwrap().is_some() {
            stderr.read_to_string(&mut said).unwrap();
            panic!("{said}");
        }
        is_mounted()
    });
    let exec = |line: &str| {
        let run = live.run(&["exec", "-H", "web/shop", "--", line]).ok();
        run.stdout
    };
    exec("echo there >'/srv/it'\\''s'");
    let read = std::fs::read_to_string(folder.join("it's")).unwrap();
    assert_eq!(read, "there\n");
    std::fs::write(folder.join("here"), "here\n").unwrap();
    assert_eq!(exec("cat /srv/here"), "here\n");
    interrupt(&mounting);
    assert_eq!(mounting.wait().unwrap().code(), Some(130));
    wait_until(|| !is_mounted());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);

    let refused = live.run(&mount);
    assert_eq!(refused.status, 1, "{refused}");
    let error = "error: host `web/shop`: sshfs: ";
    assert!(refused.stderr.contains(error), "{refused}");
    assert!(!is_mounted());
}

/// Says hello to a port of this machine, and returns the first line of the answer.
fn answer(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(b"hello\n").unwrap();
    let mut line = String::new();
    // It is reset if it leads nowhere.
    let read = BufReader::new(stream).read_line(&mut line);
    read.map_or(String::new(), |_| line.trim().to_owned())
}

/// The tunnel follows the container, and nothing takes its place.
#[test]
fn a_tunnel_to_a_container() {
    let says_its_name = BUSYBOX.replace("\"cat\"", "\"sh\", \"-c\", \"read x; hostname\"");
    let live = server(&[("shop", &says_its_name, &["hostname=shop"])]);
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let local = port.to_string();
    let mut tunnel = live.spawn(&["run", "-H", "web", "docker.tunnel", "shop", &local, "80"]);
    let mut stderr = BufReader::new(tunnel.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    let expected =
        format!("forwarding 127.0.0.1:{port} to port 80 of web/shop; stop with Ctrl-C\n");
    assert_eq!(said, expected);
    assert_eq!(answer(port), "shop");

    // Another container gets its address while it is stopped.
    let line = "ip() { docker inspect -f '{{.NetworkSettings.IPAddress}}' $1; }
        old=$(ip shop); image=$(docker inspect -f '{{.Config.Image}}' shop); docker stop -t 0 shop
        docker run -d --name thief --hostname thief $image; [ $(ip thief) = $old ]";
    live.run(&["exec", "-H", "web", "--", line]).ok();
    assert_eq!(answer(port), "", "it does not run");
    said.clear();
    stderr.read_line(&mut said).unwrap();
    assert_eq!(
        said,
        "warning: host `web/shop`: cannot connect to port 80: the container has no address\n"
    );
    live.run(&["exec", "-H", "web", "--", "docker start shop"])
        .ok();
    wait_until(|| answer(port) == "shop");

    interrupt(&tunnel);
    assert_eq!(tunnel.wait().unwrap().code(), Some(130));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();

    // No SSH server, no mount.
    let run = live.run(&["run", "-H", "web", "docker.sshfs", "shop", "/", "mnt"]);
    let error = "error: host `web/shop`: no SSH server listens on port 22 of the container\n";
    assert!(run.stderr.contains(error), "{run}");
    // A port that is in use.
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let run = live.run(&["run", "-H", "web", "docker.tunnel", "shop", &local, "80"]);
    let error = format!("cannot listen on 127.0.0.1:{port} of the local machine");
    assert!(run.stderr.contains(&error), "{run}");
}
