//! Engines that are killed or hang in the middle of a task, and whose disk is full: the task ends
//! with an error that says what to do, and what was there before is there still.

use std::{
    io::{BufRead, BufReader},
    process::Child,
    time::{Duration, Instant},
};

use super::docker_commands::{exec, servers, start};
use crate::support::{
    Project, Run, interrupt,
    live::{Live, docker},
    registry::{Authority, Registry},
};

const BROKEN: &str = "the Docker Engine stopped answering: ";
const HELP: &str =
    "help: start the engine with `hitc run -H web docker.setup`, and run this again\n";

/// Ignores SIGTERM, but tells when it comes.
const STUBBORN: &str = "command=sh -c \"trap 'echo stopping' TERM; while :; do sleep 0.1; done\"";

/// An image of 100 MB, and its name.
fn large_image(live: &Live) -> &'static str {
    const NAME: &str = "hitc/large:1";
    live.write(
        "large/Dockerfile",
        "FROM hitc/commands:1\nRUN [\"dd\", \"if=/dev/zero\", \"of=/large\", \"bs=1M\", \"count=100\"]\n",
    );
    let folder = live.root().join("large");
    docker(&["build", "-q", "-t", NAME, folder.to_str().unwrap()]);
    NAME
}

/// Waits until a condition of the shell is met on the server, and kills the engine.
fn killer(live: &Live, condition: &str) -> Child {
    let line = format!("until {condition}; do sleep 0.02; done; pkill -KILL -x dockerd");
    live.spawn(&["exec", "-H", "web", "--", &line])
}

/// Runs a task and kills the engine as soon as the condition is met.
fn cut(live: &Live, condition: &str, task: &[&str]) -> Run {
    let killer = killer(live, condition);
    let run = live.run(&[&["run", "-H", "web"], task].concat());
    let killed = killer.wait_with_output().unwrap();
    assert!(killed.status.success(), "{killed:?}\n{run}");
    run
}

/// Starts the engine again.
fn mend(live: &Live) {
    live.run(&["run", "-H", "web", "docker.setup"]).ok();
}

#[track_caller]
fn fails(run: &Run, what: &str) {
    assert_eq!(run.status, 1, "{run}");
    let error = format!("error: host `web`: {what}: {BROKEN}");
    assert!(run.stderr.contains(&error), "{run}");
    assert!(run.stderr.contains(HELP), "{run}");
}

/// Name, state and image of each container.
fn containers(live: &Live) -> Vec<String> {
    let listed = exec(
        live,
        "docker ps -a --format '{{.Names}} {{.State}} {{.Label \"version\"}}'",
    );
    let mut containers: Vec<String> = listed.lines().map(|line| line.trim().to_owned()).collect();
    containers.sort();
    containers
}

#[test]
fn an_engine_is_killed_while_an_image_comes() {
    let (live, image) = servers(1);
    let large = large_image(&live);
    start(&live, image, &["name=shop"]);

    let received = "[ -n \"$(ls -A /var/lib/docker/tmp)\" ]";
    let pushed = cut(&live, received, &["docker.push", large]);
    fails(&pushed, &format!("loading image `{large}`"));
    mend(&live);
    let images = "docker images --format '{{.Repository}}'; ls -A /var/lib/docker/tmp";
    assert_eq!(exec(&live, images), "hitc/commands\n");
    assert_eq!(containers(&live), ["shop running"]);
    live.run(&["run", "-H", "web", "docker.push", large]).ok();

    // A registry that does not answer.
    let registry = Registry::faulty(&Authority::new(), 0);
    registry.trust_on(&live, "web");
    let image = format!("{}/app:1", registry.name);
    let connected = format!("ss -Htn state established | grep -qF {}", registry.name);
    for task in [
        &["docker.pull", &image][..],
        &["docker.run", &image, "name=shop", "replace=true"],
    ] {
        let pulled = cut(&live, &connected, task);
        fails(&pulled, &format!("pulling image `{image}`"));
        mend(&live);
        assert_eq!(containers(&live), ["shop running"]);
    }
}

#[test]
fn an_engine_is_killed_while_a_container_is_replaced() {
    let (live, image) = servers(1);
    let run = |version: &str, more: &[&str]| {
        let label = format!("labels=version={version}");
        let words = ["docker.run", image, "name=shop", &label, "replace=true"];
        [&words[..], more]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let words = |task: &[String]| -> Vec<String> {
        let words = ["run", "-H", "web"].map(str::to_owned);
        [&words[..], task].concat()
    };
    let ok = |task: &[String]| {
        let words = words(task);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        live.run(&words).ok()
    };
    let cut = |condition: &str, task: &[String]| {
        let task: Vec<&str> = task.iter().map(String::as_str).collect();
        cut(&live, condition, &task)
    };
    ok(&run("1", &[STUBBORN, "stop_timeout=60s"]));

    // While the old one is stopped, it runs on.
    let stopping = "docker logs shop 2>&1 | grep -q stopping";
    let failed = cut(stopping, &run("2", &[]));
    fails(&failed, "stopping container `shop`");
    mend(&live);
    assert_eq!(
        containers(&live),
        ["shop running 1", "shop.new created 2"],
        "{failed}"
    );
    exec(&live, "docker kill shop");
    ok(&run("2", &[]));
    assert_eq!(containers(&live), ["shop running 2"]);

    // While the new one starts, which never becomes ready: the next run finishes.
    let started = "docker inspect -f '{{.State.Running}}' shop.new 2>&1 | grep -q true";
    let failed = cut(started, &run("3", &["ready=tcp=99"]));
    assert_eq!(failed.status, 1, "{failed}");
    let error = format!("error: host `web`: inspecting container `shop.new`: {BROKEN}");
    assert!(failed.stderr.contains(&error), "{failed}");
    let error = "; the previous `shop` could not be restored: host `web`: inspecting container";
    assert!(failed.stderr.contains(error), "{failed}");
    assert!(failed.stderr.contains(HELP), "{failed}");
    mend(&live);
    assert_eq!(
        containers(&live),
        ["shop.new running 3", "shop.old exited 2"]
    );
    ok(&run("4", &[]));
    assert_eq!(containers(&live), ["shop running 4"]);

    // An engine that hangs: Ctrl-C ends the run, and the next one says so.
    let words = words(&run("5", &["ready=tcp=99"]));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut child = live.spawn(&words);
    exec(
        &live,
        &format!("until {started}; do sleep 0.02; done; pkill -STOP -x dockerd"),
    );
    let begun = Instant::now();
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(8));
    let hanging = live.run(&["docker.ps"]);
    let error = "host `web`: the Docker Engine does not answer: no answer within 10 s\n";
    assert!(hanging.stderr.contains(error), "{hanging}");
    exec(&live, "pkill -CONT -x dockerd");
    ok(&run("6", &[]));
    assert_eq!(containers(&live), ["shop running 6"]);
}

#[test]
fn an_engine_is_killed_while_containers_are_used() {
    let (live, image) = servers(1);
    start(&live, image, &["name=shop"]);
    start(&live, image, &["name=stubborn", STUBBORN]);

    let stopping = "docker logs stubborn 2>&1 | grep -q stopping";
    for task in ["docker.stop", "docker.restart"] {
        let stopped = cut(&live, stopping, &[task, "stubborn", "timeout=60s"]);
        let doing = if task == "docker.stop" {
            "stopping"
        } else {
            "restarting"
        };
        fails(&stopped, &format!("{doing} container `stubborn`"));
        mend(&live);
        assert_eq!(containers(&live), ["shop running", "stubborn running"]);
        let again = ["run", "-H", "web", "docker.restart", "stubborn"];
        live.run(&[&again[..], &["timeout=0s"]].concat()).ok();
        exec(
            &live,
            "truncate -s 0 $(docker inspect -f '{{.LogPath}}' stubborn)",
        );
    }

    let line = "echo out; sleep 4711";
    let executed = cut(
        &live,
        "pgrep -fx 'sleep 4711'",
        &["docker.exec", "shop", "--", "sh", "-c", line],
    );
    fails(&executed, "running a command in container `shop`");
    mend(&live);
    assert_eq!(containers(&live), ["shop running", "stubborn running"]);

    // Streams that have begun. The engine forgets its events when it ends.
    exec(&live, "docker network create new");
    let begun = |task: &[&str], doing: &str| -> String {
        let mut child = live.spawn(task);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        exec(&live, "pkill -KILL -x dockerd");
        let drain = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        let output = child.wait_with_output().unwrap();
        drain.join().unwrap().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let error = format!("error: host `web`: {doing}");
        assert!(stderr.contains(&error), "{stderr}");
        assert!(stderr.contains(BROKEN) && stderr.contains(HELP), "{stderr}");
        mend(&live);
        stderr
    };
    begun(&["docker.events", "since=10m"], "reading events");
    let measured = ["-H", "web", "docker.stats", "live=true"];
    begun(&measured, "measuring container `s");

    // A container that is shown until it ends.
    let job = |sleep: &str| {
        let command = format!("command=sh -c 'echo out; exec {sleep}'");
        let words = ["-H", "web", "docker.run", image, "name=job", "attach=true"];
        let words = words.into_iter().map(str::to_owned);
        words.chain([command]).collect::<Vec<_>>()
    };
    let task = job("sleep 4712");
    let task: Vec<&str> = task.iter().map(String::as_str).collect();
    let stderr = begun(&task, "running container `job`");
    let warning = "warning: host `web`: `container job` may still run there\n";
    assert!(stderr.contains(warning), "{stderr}");
    exec(&live, "docker rm -f job");

    // It is killed by another program, with the engine alive.
    let task = job("sleep 4713");
    let task: Vec<&str> = task.iter().map(String::as_str).collect();
    let killer = live.spawn(&[
        "exec",
        "-H",
        "web",
        "--",
        "until pgrep -fx 'sleep 4713'; do sleep 0.02; done; docker kill job",
    ]);
    let killed = live.run(&[&["run"], &task[..]].concat());
    assert!(killer.wait_with_output().unwrap().status.success());
    assert_eq!(killed.status, 1, "{killed}");
    assert_eq!(killed.stdout, "out\n");
    let error = "error: host `web`: container `job` ended with status 137\n";
    assert!(killed.stderr.contains(error), "{killed}");
}

#[test]
fn a_full_disk() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    exec(&live, "mount -t tmpfs -o size=40m none /var/lib/docker");
    let (image, large) = (super::docker_commands::image(&live), large_image(&live));
    let on = |words: &[&str]| live.run(&[&["run", "-H", "web"], words].concat());
    on(&["docker.push", image]).ok();
    on(&["docker.run", image, "name=shop"]).ok();
    let id = || exec(&live, "docker ps -q --no-trunc --filter name=^shop$");
    let before = id();
    let full = |run: &Run, what: &str| {
        assert_eq!(run.status, 1, "{run}");
        let error = format!("error: host `web`: {what}: ");
        assert!(run.stderr.contains(&error), "{run}");
        let rest = ": no space left on device\n\
                    help: free disk space on the server, or use a larger one\n";
        assert!(run.stderr.contains(rest), "{run}");
    };

    let pushed = on(&["docker.push", large]);
    full(&pushed, &format!("loading image `{large}`"));
    assert_eq!(pushed.stderr.matches(" MB)\n").count(), 1, "{pushed}");
    let images = "docker images --format '{{.Repository}}'; ls -A /var/lib/docker/tmp";
    assert_eq!(exec(&live, images), "hitc/commands\n");

    exec(
        &live,
        "dd if=/dev/zero of=/var/lib/docker/filler bs=1k 2>/dev/null; true",
    );
    let replace = ["docker.run", image, "name=shop", "replace=true"];
    full(&on(&replace), "creating container `shop.new`");
    full(
        &on(&["docker.run", image, "name=other"]),
        "creating container `other.new`",
    );
    assert_eq!(containers(&live), ["shop running"]);
    assert_eq!(id(), before);
    exec(&live, "rm /var/lib/docker/filler");
    on(&replace).ok();
    assert_eq!(containers(&live), ["shop running"]);
    assert_ne!(id(), before);
}

/// Images are built by the engine of this machine, which here is that of a server.
#[test]
fn an_engine_is_killed_while_an_image_is_built() {
    let (live, image) = servers(1);
    start(&live, image, &["name=shop"]);
    let socket = live.root().join("engine.sock");
    let socket = socket.to_str().unwrap();
    let forward = [
        "run",
        "-H",
        "web",
        "forward",
        socket,
        "/var/run/docker.sock",
    ];
    let mut forwarding = live.spawn(&forward);
    let mut said = String::new();
    let mut stderr = BufReader::new(forwarding.stderr.take().unwrap());
    stderr.read_line(&mut said).unwrap();
    assert!(said.starts_with("forwarding "), "{said}");

    let project = Project::new()
        .env("DOCKER_HOST", &format!("unix://{socket}"))
        .file(
            "hitcfile.rhai",
            "/// B.\n/// @param folder  a folder\nfn build(folder) { print(docker::build(folder)) }\n",
        );
    for (name, run) in [
        ("classic", "RUN"),
        ("kit", "RUN --mount=type=cache,target=/c"),
    ] {
        let dockerfile =
            |line: &str| format!("FROM {image}\nRUN echo first >/first\n{run} {line}\n");
        project.write(&format!("{name}/Dockerfile"), &dockerfile("sleep 4714"));
        let killer = killer(&live, "pgrep -fx 'sleep 4714'");
        let failed = project.run(&["run", "build", name]);
        assert!(
            killer.wait_with_output().unwrap().status.success(),
            "{failed}"
        );
        assert_eq!(failed.status, 1, "{failed}");
        let folder = project.root().join(name);
        let error = format!(
            "` from `{}`: the Docker Engine stopped answering: ",
            folder.display()
        );
        assert!(
            failed
                .stderr
                .contains("error: host `this machine`: building `hitc/"),
            "{failed}"
        );
        assert!(failed.stderr.contains(&error), "{failed}");
        let help = "help: check the engine with `docker info`, and run this again\n";
        assert!(failed.stderr.contains(help), "{failed}");
        exec(&live, "pkill -KILL -fx 'sleep 4714'; true");
        mend(&live);
        let shop = "docker ps --filter name=shop --format '{{.Names}} {{.State}}'";
        assert_eq!(exec(&live, shop), "shop running\n");

        project.write(&format!("{name}/Dockerfile"), &dockerfile("true"));
        let built = project.run(&["run", "build", name]).ok();
        exec(
            &live,
            &format!("docker run --rm {} cat /first", built.stdout.trim()),
        );
    }
    interrupt(&forwarding);
    assert_eq!(forwarding.wait().unwrap().code(), Some(130));
}
