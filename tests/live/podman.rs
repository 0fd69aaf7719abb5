//! Servers with Podman that offers Docker's socket.

use crate::support::live::Live;

const INSTALL: &str = "{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qqy \
    --no-install-recommends podman crun netavark aardvark-dns nftables; } >/tmp/log 2>&1; \
    setsid podman system service --time=0 unix:///var/run/docker.sock >/tmp/podman.log 2>&1 \
    </dev/null & \
    until [ -S /var/run/docker.sock ]; do kill -0 $! || exit 1; sleep 0.1; done";

#[test]
fn run_ps_logs_exec_and_kill() {
    let live = Live::new().web_server("web");
    live.write(
        "hitcfile.rhai",
        "/// B.\nfn build() { print(docker::build(\"web\")) }\n",
    );
    let image = live.run(&["run", "build"]).ok().stdout.trim().to_owned();
    live.run(&["run", "create", "name=web", "image=debian-13-bare"])
        .ok();
    live.run(&["exec", "-H", "web", "--", INSTALL]).ok();
    let task = |words: &[&str]| live.run(&[&["run", "-H", "web"], words].concat());

    let ready = task(&["docker.setup"]).ok();
    assert!(ready.stderr.contains("web: Docker is ready"), "{ready}");
    task(&["docker.push", &image]).ok();
    let options = [
        "name=app",
        "ports=80:8080",
        "environment=ANSWER=podman",
        "command=sh -c 'echo logged; exec httpd -f -p 80 -h /www'",
    ];
    task(&[&["docker.run", &image][..], &options].concat()).ok();
    assert_eq!(live.get("web", 8080), "podman");
    let rows = live.run(&["docker.ps"]).ok().rows();
    assert_eq!(
        (rows[0][0].as_str(), rows[0][2].as_str()),
        ("app", "80:8080")
    );
    let inside = live.run(&["exec", "-H", "web/app", "-o", "raw", "--", "echo $ANSWER"]);
    assert_eq!(inside.ok().stdout.trim(), "podman");
    let logs = task(&["docker.logs", "app"]).ok();
    assert_eq!(logs.stdout, "logged\n");

    let refused = task(&["docker.bind", "app", "80:9000"]);
    let expected = "ports of Podman's containers cannot be bound";
    assert!(refused.stderr.contains(expected), "{refused}");

    // Its process ends, and what cleans up after it is missing.
    let stop = "mv /usr/bin/podman /usr/bin/podman.away; \
        kill -KILL $(pgrep -x httpd); while pgrep -f '[c]onmon .*-n app.new' >/dev/null; do sleep 0.1; done; \
        mv /usr/bin/podman.away /usr/bin/podman";
    live.run(&["exec", "-H", "web", "--", stop]).ok();
    let rows = live.run(&["docker.ps", "all=true"]).ok().rows();
    assert_eq!(
        (rows[0][0].as_str(), rows[0][1].as_str()),
        ("app", "exited")
    );
    let found = task(&["docker.inspect", "app"]).ok();
    assert!(found.stdout.contains("\"Status\": \"exited\""), "{found}");
    task(&["docker.start", "app"]).ok();
    assert_eq!(live.get("web", 8080), "podman");
    task(&["docker.kill", "app"]).ok();
    assert_eq!(live.run(&["docker.ps"]).ok().rows().len(), 0);
}
