//! Runs of `ensemble.up` that are killed, interrupted, or concurrent.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr, Command},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::support::live::{Live, docker};

const MANIFEST: &str = "\
one:
  provider: local
  containers:
    first: {template: web, environment: {ANSWER: first}}
two:
  provider: local
  containers:
    second:
      template: web
      environment:
        ANSWER: second
        NEEDS: ${one.containers.first.ip}
templates:
  web:
    build: web
    stop_timeout: 1s
    ports: [80]
    ready: {tcp: 80}
";

/// A run of `ensemble.up`, which is killed when dropped.
struct Up {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Up {
    /// Starts a run, and reads its messages up to the first line that contains `marker`.
    fn until(live: &Live, marker: &str) -> Self {
        Self::with(live, &[], marker)
    }

    /// Starts a run with these flags, and reads its messages up to the first line that contains
    /// `marker`.
    fn with(live: &Live, flags: &[&str], marker: &str) -> Self {
        let words = [&["run", "--yes"], flags, &["ensemble.up", "it"]].concat();
        let mut up = Up::new(live.spawn(&words));
        up.read_to(marker);
        up
    }

    fn new(mut child: Child) -> Self {
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Up { child, stderr }
    }

    fn read_to(&mut self, marker: &str) {
        let mut seen = String::new();
        while !seen.lines().last().unwrap_or_default().contains(marker) {
            let count = self.stderr.read_line(&mut seen).unwrap();
            assert_ne!(count, 0, "no {marker:?} in:\n{seen}");
        }
    }

    fn signal(&self, signal: &str) {
        Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .unwrap();
    }

    /// What other runs say of a server that it changes.
    fn busy(&self) -> String {
        let (host, process) = (host(), self.child.id());
        format!("`it` is being changed by {host} (process {process})")
    }

    /// Waits until it ends. Returns the exit status, or none after a signal, and the remaining messages.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

/// Makes the two containers of [`MANIFEST`] ready, one after the other, which wait for a file.
fn make_ready(live: &Live) {
    for (server, line) in [
        ("one", "docker exec first.new touch /go"),
        (
            "two",
            "timeout 60 sh -c 'until docker exec second.new touch /go; do sleep 0.1; done'",
        ),
    ] {
        live.run(&["exec", "-H", server, "--", line]).ok();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Brings the manifest up. Checks that each resource exists once, and that no changes are left.
fn finish(live: &Live, containers: &[(&str, &str)]) {
    live.run(&["run", "--yes", "ensemble.up", "it"]).ok();
    let names: Vec<String> = live
        .run(&["nodes"])
        .ok()
        .rows()
        .into_iter()
        .map(|row| row[1].clone())
        .collect();
    assert_eq!(names, ["one", "two"]);
    for server in ["one", "two"] {
        let all = "docker ps -a --format '{{.Names}}'";
        let found = live.run(&["exec", "-H", server, "--", all]).ok().stdout;
        let expected: Vec<&str> = containers
            .iter()
            .filter(|(on, _)| *on == server)
            .map(|(_, name)| *name)
            .collect();
        assert_eq!(found.lines().collect::<Vec<_>>(), expected);
    }
    let plan = live.run(&["run", "ensemble.plan", "it"]).ok();
    assert_eq!(plan.stdout, "no changes\n");
}

/// SIGKILL while servers are created, while an image is sent, while a container starts, and while one
/// is replaced.
#[test]
fn the_next_run_finishes_after_a_kill() {
    let live = Live::new().web_server("web").file("it.yml", MANIFEST);
    let both = [("one", "first"), ("two", "second")];
    for marker in [
        "starting",
        "setting up Docker",
        "one.first: sending",
        "one.first: waiting until it is ready",
        "two.second: creating",
    ] {
        let up = Up::until(&live, marker);
        up.signal("-KILL");
        assert_eq!(up.end().0, None);
    }
    finish(&live, &both);

    // While a container is replaced, at different points of the replacement.
    for (round, wait) in [0, 300, 1200, 1500, 2000].into_iter().enumerate() {
        let answer = format!("ANSWER: again{round}");
        live.write("it.yml", &MANIFEST.replace("ANSWER: first", &answer));
        let up = Up::until(&live, "one.first: replacing");
        sleep(Duration::from_millis(wait));
        up.signal("-KILL");
        up.end();
        finish(&live, &both);
        assert_eq!(live.get("one", 80), format!("again{round}"));
    }

    // While it waits for a container that never becomes ready: the old container is not lost.
    let bad = MANIFEST.replace("ready: {tcp: 80}", "ready: {exec: \"false\", timeout: 2s}");
    live.write("it.yml", &bad.replace("ANSWER: first", "ANSWER: bad"));
    let up = Up::until(&live, "one.first: waiting until it is ready");
    up.signal("-KILL");
    assert_eq!(up.end().0, None);
    let failed = live.run(&["run", "--yes", "ensemble.up", "it"]);
    assert_eq!(failed.status, 1, "{failed}");
    assert_eq!(live.get("one", 80), "again4");
}

#[test]
fn ctrl_c_finishes_running_operations_and_starts_no_others() {
    let live = Live::new().web_server("web").file("it.yml", MANIFEST);
    let up = Up::until(&live, "one: setting up Docker");
    up.signal("-INT");
    let (status, rest) = up.end();
    assert_eq!(status, Some(130), "{rest}");
    assert!(rest.contains("stopping; waiting for "), "{rest}");
    assert!(
        rest.contains("one: created"),
        "what ran was finished: {rest}"
    );
    let words: Vec<&str> = rest.split_whitespace().collect();
    let skipped = words.windows(2).filter(|pair| pair[1] == "skipped");
    let skipped: Vec<&str> = skipped.map(|pair| pair[0]).collect();
    assert_eq!(skipped, ["one.first", "two.second", "2"], "{rest}");
    assert!(
        rest.contains("help: `it` was changed in part; finish with `hitc ensemble.up it`"),
        "{rest}"
    );
    finish(&live, &[("one", "first"), ("two", "second")]);
}

#[test]
fn a_second_ctrl_c_ends_the_run() {
    let slow = MANIFEST.replace("ready: {tcp: 80}", "ready: {exec: \"false\", timeout: 60s}");
    let live = Live::new().web_server("web").file("it.yml", &slow);
    let mut up = Up::until(&live, "one.first: waiting until it is ready");
    up.signal("-INT");
    up.read_to("stopping; waiting for");
    up.signal("-INT");
    let (status, rest) = up.end();
    assert_eq!(status, Some(130), "{rest}");
    // What is half done, and what to do.
    let warning = rest
        .lines()
        .find(|line| line.starts_with("warning: `it` is half done"));
    let warning = warning.unwrap_or_else(|| panic!("{rest}"));
    assert!(warning.contains("one.first"), "{warning}");
    assert!(
        warning.ends_with("; finish with `hitc ensemble.up it`"),
        "{warning}"
    );
    assert!(rest.ends_with("error: interrupted\n"), "{rest}");
}

#[test]
fn concurrent_runs_exclude_each_other() {
    let slow = MANIFEST.replace(
        "ready: {tcp: 80}",
        "ready: {exec: \"test -e /go\", timeout: 60s}",
    );
    let live = Live::new().web_server("web").file("it.yml", &slow);
    let up = Up::until(&live, "one.first: waiting until it is ready");
    let second = live.run(&["run", "--yes", "ensemble.up", "it"]);
    assert_eq!(second.status, 1, "{second}");
    let busy = up.busy();
    assert!(second.stderr.contains(&busy), "{second}");
    // The first one goes on.
    make_ready(&live);
    let (status, rest) = up.end();
    assert_eq!(status, Some(0), "{rest}");
}

/// The network of a run is cut while it waits for a container. The server releases the lock by itself,
/// and the run that lost it ends and does nothing more, also once the network is back.
#[test]
fn a_run_without_network_loses_the_lock() {
    let manifest = "\
one:
  provider: local
  containers:
    first: {build: web, ready: {exec: \"test -e /go\", timeout: 5m}}
";
    let live = Live::new().web_server("web").file("it.yml", manifest);
    let names = [
        "exec",
        "-H",
        "one",
        "--",
        "docker ps -a --format '{{.Names}}'",
    ];
    let up = Up::until(&live, "one.first: waiting until it is ready");
    let server = live.container("one");
    let cut = |action: &str| {
        let script = format!(
            "set -e
            for port in $(cat /ports); do
              iptables {action} INPUT -p tcp --dport 22 --sport $port -j DROP
              iptables {action} OUTPUT -p tcp --sport 22 --dport $port -j DROP
            done"
        );
        docker(&["exec", &server, "sh", "-c", &script]);
    };
    // The connections of the first run, and of no other.
    let ports = "ss -Htn state established sport = :22 | sed 's/.*://' | grep . >/ports";
    docker(&["exec", &server, "sh", "-c", ports]);
    cut("-I");
    let started = Instant::now();
    // Now it could go on.
    docker(&[
        "exec",
        &server,
        "docker",
        "exec",
        "first.new",
        "touch",
        "/go",
    ]);
    let second = Up::with(&live, &["--wait-lock", "90s"], "one.first: finishing");
    let waited = started.elapsed().as_secs();
    assert!(
        (20..=70).contains(&waited),
        "the lock was free after {waited} s"
    );
    assert_eq!(second.end().0, Some(0));
    assert_eq!(live.run(&names).ok().stdout, "first\n");
    cut("-D");
    let (status, rest) = up.end();
    assert_eq!(status, Some(4), "{rest}");
    assert!(rest.contains("the lock was lost"), "{rest}");
    // A request that the network delivers late would arrive by now.
    assert_eq!(live.run(&names).ok().stdout, "first\n");
    let plan = live.run(&["run", "ensemble.plan", "it"]).ok();
    assert_eq!(plan.stdout, "no changes\n");
}

const TASKS: &str = r#"
/// Run two containers at the same time, change them, and bring the manifest up.
///
/// @param image  the image
fn all(host, image) {
    let names = [host, host].each(|host| {
        let name = host.run("mktemp -u cXXXXXX");
        name.trim();
        docker::run(host, #{ image: image, name: name });
        name
    });
    for name in names {
        docker::stop(host, name, #{});
        docker::start(host, name, #{});
    }
    iptables::apply(host, #{ "80": "*" }, #{});
    ensemble::up("it", #{});
    for name in names {
        docker::kill(host, name);
    }
    iptables::clear(host, #{});
}
"#;

/// Tasks and `ensemble.up` do not change a server at the same time. A task waits for as long as it is
/// told, and names the run that it waits for.
#[test]
fn tasks_wait_for_a_run_that_changes_their_server() {
    let slow = MANIFEST.replace(
        "ready: {tcp: 80}",
        "ready: {exec: \"test -e /go\", timeout: 5m}",
    );
    let live = Live::new().web_server("web").file("it.yml", &slow);
    let up = Up::until(&live, "one.first: waiting until it is ready");
    let busy = up.busy();
    let images = "docker images --format '{{.Repository}}:{{.Tag}}' hitc/web";
    let image = docker(&["exec", &live.container("one"), "sh", "-c", images]);
    let at_once = ["run", "-H", "one", "--wait-lock", "0s"];
    for task in [
        &["docker.run", image.trim(), "name=other"][..],
        &["docker.kill", "first.new"],
        &["docker.stop", "first.new"],
        &["docker.restart", "first.new"],
        &["iptables.open", "80", "*"],
    ] {
        let error = format!(
            "error: host `one`: {busy}\n\
             help: wait until it is done, or add --wait-lock 10m to wait for it\n"
        );
        let refused = live.run(&[&at_once[..], task].concat());
        assert!(refused.stderr.contains(&error), "{refused}");
        assert_eq!(refused.status, 1, "{refused}");
    }
    // Reading needs no lock.
    live.run(&["-H", "one", "docker.ps"]).ok();
    // Ctrl-C ends the wait: nothing was begun.
    let both = ["run", "-H", "one,two", "--wait-lock", "10m"];
    let mut waiting = Up::new(live.spawn(&[&both[..], &["docker.restart", "first.new"]].concat()));
    waiting.read_to(&format!("host `one`: waiting, because {busy}"));
    waiting.signal("-INT");
    let (status, rest) = waiting.end();
    assert_eq!(status, Some(130), "{rest}");
    assert!(!rest.contains("restarted"), "{rest}");
    // Without a flag, for a minute.
    let kill = ["run", "-H", "one", "docker.kill", "first", "adopt=true"];
    let mut waiting = Up::new(live.spawn(&kill));
    waiting.read_to(&format!("host `one`: waiting, because {busy}"));
    make_ready(&live);
    assert_eq!(up.end().0, Some(0));
    let (status, rest) = waiting.end();
    assert_eq!(status, Some(0), "{rest}");
}

/// A run does not wait for itself, neither one call after the other nor at the same time. A container
/// whose output is shown does not hold the lock.
#[test]
fn a_run_does_not_wait_for_its_own_lock() {
    let manifest = "one:\n  provider: local\n  containers:\n    first: {build: web}\n";
    let live = Live::new()
        .web_server("web")
        .file("it.yml", manifest)
        .file("hitcfile.rhai", TASKS);
    live.run(&["run", "--yes", "ensemble.up", "it"]).ok();
    let image = super::docker_commands::image(&live);
    live.run(&["run", "-H", "one", "docker.push", image]).ok();
    let started = Instant::now();
    let task = [
        "run",
        "--yes",
        "--wait-lock",
        "0s",
        "-H",
        "one",
        "all",
        image,
    ];
    live.run(&task).ok();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    let mut attached = live.spawn(&[
        "run",
        "-H",
        "one",
        "docker.run",
        image,
        "name=shown",
        "attach=true",
        "command=echo shown; sleep 60",
    ]);
    let mut lines = BufReader::new(attached.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("shown") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0);
    }
    live.run(&[
        "run",
        "--wait-lock",
        "5s",
        "-H",
        "one",
        "docker.kill",
        "shown",
    ])
    .ok();
    attached.wait().unwrap();
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap()
        .trim()
        .to_owned()
}
