//! Failures of servers, and their messages: host, cause, what to do.

use crate::support::live::{Live, docker};

/// Stops the sshd of a server.
fn stop_sshd(live: &Live, server: &str) {
    docker(&["exec", &live.container(server), "pkill", "-x", "sshd"]);
}

#[test]
fn an_unreachable_server() {
    let live = Live::new().web_server("web");
    live.write("it.yml", "web:\n  provider: local\n  count: 2\n");
    live.run(&["run", "--yes", "ensemble.up", "it"]).ok();
    stop_sshd(&live, "web");
    let ip = live.ip("web");

    // The other hosts are not affected.
    let run = live.run(&["exec", "--all", "--", "hostname"]);
    assert_eq!(run.status, 4, "{run}");
    assert_eq!(run.stdout, "[web-1] web-1\n");
    let refused = format!("host `web`: connection refused ({ip}:22)");
    assert!(run.stderr.contains("2 hosts: 1 ok, 1 unreachable"), "{run}");
    assert!(run.stderr.contains(&refused), "{run}");

    // A plan needs the observed state of every host.
    let plan = live.run(&["run", "ensemble.plan", "it"]);
    assert_eq!(plan.status, 4, "{plan}");
    assert!(plan.stderr.contains(&refused), "{plan}");

    // A failed command takes precedence over an unreachable host.
    let mixed = live.run(&["exec", "--all", "--", "false"]);
    assert_eq!(mixed.status, 1, "{mixed}");
}

/// A server with a container that answers.
fn page() -> Live {
    let live = Live::new().web_server("web");
    live.write(
        "it.yml",
        "web:\n  provider: local\n  containers:\n    page: {build: web, ports: [80], \
         stop_timeout: 1s, environment: {ANSWER: back}}\n",
    );
    live.run(&["run", "--yes", "ensemble.up", "it"]).ok();
    live
}

#[test]
fn a_stopped_server() {
    let live = page();
    docker(&["stop", "-t", "1", &live.container("web")]);
    assert_eq!(live.run(&["nodes"]).ok().rows()[0][5], "stopped");
    let run = live.run(&["exec", "-H", "web", "--", "true"]);
    run.fails(
        4,
        "error: host `web`: the server is stopped\n\
         help: start it with `hitc run -H web reboot`\n",
    );
    let up = live.run(&["run", "--yes", "ensemble.up", "it"]).ok();
    assert!(up.stderr.contains("~ web  start (server, local)"), "{up}");
    assert_eq!(live.get("web", 80), "back");
}

#[test]
fn a_paused_container() {
    let live = page();
    docker(&["exec", &live.container("web"), "docker", "pause", "page"]);
    let up = live.run(&["run", "--yes", "ensemble.up", "it"]).ok();
    let plan = "  web  stays (server, local)\n  ~ page  start (container, hitc/web:";
    assert!(up.stderr.contains(plan), "{up}");
    assert_eq!(live.get("web", 80), "back");
}

/// It does not answer any more, and its process exists for another two seconds.
#[test]
fn an_engine_that_is_terminating() {
    let live = page();
    let server = live.container("web");
    let inside = |line: &str| docker(&["exec", &server, "sh", "-c", line]);
    let before = inside("pgrep -x dockerd");
    inside(
        "pkill -STOP -x dockerd; \
         (sleep 2; pkill -KILL -x dockerd) >/dev/null 2>&1 &",
    );
    live.run(&["run", "-H", "web", "docker.setup"]).ok();
    assert_ne!(inside("pgrep -x dockerd"), before);
    live.run(&["run", "--yes", "ensemble.up", "it"]).ok();
    assert_eq!(live.get("web", 80), "back");
}

#[test]
fn an_image_that_does_not_exist() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let run = live.run(&["run", "-H", "web", "docker.run", "hitc.invalid/no/such:1"]);
    assert_eq!(run.status, 1, "{run}");
    assert!(
        run.stderr
            .contains("error: host `web`: pulling image `hitc.invalid/no/such:1`: "),
        "{run}"
    );
    assert!(
        run.stderr
            .contains("`hitc run -H web docker.push hitc.invalid/no/such:1`"),
        "{run}"
    );
    let push = live.run(&["run", "-H", "web", "docker.push", "no-such:1"]);
    assert_eq!(push.status, 1, "{push}");
    assert!(
        push.stderr.contains(
            "host `this machine`: image `no-such:1` not found: this machine does not have it"
        ),
        "{push}"
    );

    live.write(
        "it.yml",
        "web:\n  provider: local\n  containers:\n    page: {image: \"hitc.invalid/no/such:1\"}\n",
    );
    let up = live.run(&["run", "--yes", "ensemble.up", "it"]);
    assert_eq!(up.status, 1, "{up}");
    assert!(
        up.stderr
            .contains("host `web`: pulling image `hitc.invalid/no/such:1`: "),
        "{up}"
    );
}

#[test]
fn a_full_disk() {
    let live = Live::new().web_server("web");
    live.run(&["run", "create", "name=web"]).ok();
    let small = "mount -t tmpfs -o size=1m tmpfs /var/lib/docker";
    live.run(&["exec", "-H", "web", "--", small]).ok();
    live.write(
        "it.yml",
        "web:\n  provider: local\n  containers:\n    page: {build: web}\n",
    );
    let up = live.run(&["run", "--yes", "ensemble.up", "it"]);
    assert_eq!(up.status, 1, "{up}");
    assert!(
        up.stderr
            .contains("error: host `web`: loading image `hitc/web:"),
        "{up}"
    );
    assert!(up.stderr.contains("no space left on device"), "{up}");
    assert!(
        up.stderr.contains("help: free disk space on the server"),
        "{up}"
    );
}

#[test]
fn a_command_that_times_out() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let run = live.run(&["exec", "-t", "1", "-H", "web", "--", "sleep 30"]);
    run.fails(124, "error: host `web`: `sleep 30`: timed out after 1 s\n");
}

#[test]
fn a_build_that_fails() {
    let live = Live::new().file(
        "bad/Dockerfile",
        "FROM hitc/debian:13\nRUN echo trying; exit 7\n",
    );
    live.write(
        "it.yml",
        "web:\n  provider: local\n  containers:\n    page: {build: bad}\n",
    );
    let up = live.run(&["run", "--yes", "ensemble.up", "it"]);
    assert_eq!(up.status, 1, "{up}");
    assert!(up.stderr.contains("returned a non-zero code: 7"), "{up}");
    assert!(
        up.stderr.contains("trying"),
        "the last lines of the build: {up}"
    );
}
