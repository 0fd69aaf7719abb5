//! Ctrl-C on a terminal, which sends it to every program in the foreground: hitc waits first, and ends
//! everything the second time.

use crate::support::{
    Project,
    foreign_server::ForeignServer,
    live::{Live, docker},
};

const CTRL_C: &str = "\x03";

/// Whether a process with these words runs on this machine.
fn runs(words: &str) -> bool {
    let pgrep = std::process::Command::new("pgrep")
        .args(["-f", words])
        .output();
    pgrep.unwrap().status.success()
}

/// A task on two hosts that are not connected to.
fn two_hosts(body: &str) -> Project {
    let hitcfile = format!("/// It.\nfn it(host) {{ {body} }}\n");
    Project::new().file("hitcfile.rhai", &hitcfile)
}

const IT: &str = "$HITC run -H 127.0.0.1 -H 127.0.0.2 it";

#[test]
fn a_proxy_command_is_waited_for() {
    let it = ForeignServer::new();
    let (ip, key) = (&it.ip, it.own_key());
    it.config(&format!(
        "Host one.it two.it\n HostName {ip}\n User root\n IdentityFile {}\n \
         ProxyCommand bash -c 'exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3'\n",
        key.display()
    ));
    it.exec("one.it", "true").ok();
    it.live.write(
        "hitcfile.rhai",
        "/// I.\nfn it(host) { host.stream(\"echo begun; until [ -e /go ]; do sleep 0.1; done; echo 'all done'\"); }\n",
    );
    let exec = "$HITC -H one.it -H two.it it";
    let mut terminal = it.live.terminal(exec);
    terminal.wait_for("begun\n");
    terminal.wait_for("begun\n");
    terminal.type_keys(CTRL_C);
    terminal.wait_for("stopping; waiting for one.it, two.it (Ctrl-C again to cancel)");
    it.inside("touch /go");
    terminal.wait_for("all done\n");
    terminal.wait_for("all done\n");
    terminal.end();

    // The second one ends the commands on the server.
    it.inside("rm /go");
    let mut terminal = it.live.terminal(exec);
    terminal.wait_for("begun\n");
    terminal.wait_for("begun\n");
    terminal.type_keys(CTRL_C);
    terminal.wait_for("stopping; waiting for one.it, two.it");
    terminal.type_keys(CTRL_C);
    assert_eq!(terminal.end(), 130);
    assert_eq!(it.inside("pgrep -cf '[u]ntil' || true"), "0");

    // A command that the user typed ends at the first one, on several hosts as on one.
    let exec = "$HITC exec -H one.it -H two.it 'echo begun; tail -f /dev/null'";
    let mut terminal = it.live.terminal(exec);
    terminal.wait_for("begun\n");
    terminal.wait_for("begun\n");
    terminal.type_keys(CTRL_C);
    terminal.wait_for("error: interrupted\n");
    assert_eq!(terminal.end(), 130);
    assert_eq!(it.inside("pgrep -cx tail || true"), "0");
}

/// Only reading leaves nothing half done.
#[test]
fn what_only_reads_ends_at_the_first_one() {
    let hitcfile =
        "/// It.\n/// @readonly\nfn it(host) { local::run(\"echo begun; sleep 4391\"); }\n";
    let project = Project::new().file("hitcfile.rhai", hitcfile);
    let mut terminal = project.terminal(IT);
    terminal.wait_for("begun\n");
    terminal.wait_for("begun\n");
    terminal.type_keys(CTRL_C);
    let shown = terminal.wait_for("2 hosts: 2 failed");
    assert!(!shown.contains("stopping"), "{shown}");
    assert_eq!(terminal.end(), 130);
    assert!(!runs("^sleep 4391"));
}

/// `head` has read enough: no error, and the status that other programs have.
#[test]
fn a_closed_pipe_ends_the_run_quietly() {
    let project = two_hosts("local::run(\"yes\")");
    for words in [
        "run -H 127.0.0.1 -H 127.0.0.2 it",
        "run -H 127.0.0.1 it",
        "-o json -H 127.0.0.1,127.0.0.2 it",
    ] {
        let line =
            format!("bash -c 'set -o pipefail; $HITC {words} | head -1 >first; echo status=$?'");
        let mut terminal = project.terminal(&line);
        let shown = terminal.wait_for("status=141\n");
        assert_eq!(shown, "status=141\n", "{words}");
        terminal.end();
    }
    let mut terminal =
        project.terminal("bash -c 'set -o pipefail; $HITC tasks | head -1; echo status=$?'");
    terminal.wait_for("It.\nstatus=");
    terminal.end();
}

#[test]
fn a_local_command_is_waited_for() {
    let body = "local::run(\"echo begun; until [ -e go ]; do sleep 0.1; done; echo 'all done'\")";
    let project = two_hosts(body);
    let mut terminal = project.terminal(IT);
    terminal.wait_for("begun\n");
    terminal.wait_for("begun\n");
    terminal.type_keys(CTRL_C);
    terminal.wait_for("stopping; waiting for 127.0.0.1, 127.0.0.2 (Ctrl-C again to cancel)");
    project.write("go", "");
    terminal.wait_for("all done\n");
    terminal.wait_for("all done\n");
    terminal.end();

    // The second one ends it, and what it started.
    let body = "local::run(\"echo begun; sleep 4377 & sleep 4377; true\")";
    let project = two_hosts(body);
    let mut terminal = project.terminal(IT);
    terminal.wait_for("begun\n");
    terminal.wait_for("begun\n");
    terminal.type_keys(CTRL_C);
    terminal.wait_for("stopping; waiting for");
    assert!(runs("^sleep 4377"));
    terminal.type_keys(CTRL_C);
    assert_eq!(terminal.end(), 130);
    assert!(!runs("^sleep 4377"));

    // Nobody could answer it: an error, and no program that is stopped for ever.
    let body = "local::run(\"read -r answer </dev/tty\")";
    let project = two_hosts(body);
    let mut terminal = project.terminal(IT);
    terminal.wait_for("failed");
    assert_eq!(terminal.end(), 1);
}

#[test]
fn rsync_is_waited_for() {
    let it = ForeignServer::new();
    let key = it.own_key();
    it.config(&format!(
        "Host one.it two.it\n HostName {}\n User root\n IdentityFile {}\n",
        it.ip,
        key.display()
    ));
    it.live.write(
        "hitcfile.rhai",
        "/// It.\nfn it(host) { host.rsync_up(\"file\", \"/file\"); }\n",
    );
    it.live.write("file", "content");
    // Slow in its middle.
    it.live.write("bin/rsync", "#!/bin/sh\necho begun >&2\nuntil [ -e go ]; do sleep 0.1; done\nPATH=${PATH#*:} exec rsync \"$@\"\n");
    let program = it.live.root().join("bin/rsync");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(program, mode).unwrap();
    it.inside("apt-get install -qqy rsync >/dev/null 2>&1 || { apt-get update -qq; apt-get install -qqy rsync; } >/dev/null");
    let mut terminal = it
        .live
        .terminal("PATH=$PWD/bin:$PATH $HITC run -H one.it -H two.it it");
    terminal.wait_for("begun\n");
    terminal.wait_for("begun\n");
    terminal.type_keys(CTRL_C);
    terminal.wait_for("stopping; waiting for");
    it.live.write("go", "");
    let shown = terminal.wait_for("2 hosts");
    assert!(!shown.contains("error"), "{shown}");
    terminal.end();
    let container = it.live.container("web");
    assert_eq!(docker(&["exec", &container, "cat", "/file"]), "content");
}

#[test]
fn prompts_of_several_hosts_end() {
    for body in ["ui::prompt", "secret::prompt"] {
        let project = two_hosts(&format!("print(\"begun\"); {body}(\"Name?\")"));
        let line = format!(
            "bash -c 'trap \"\" INT; {IT}; stty -a | grep -q -e \" -echo \" && echo hidden || echo shown'"
        );
        let mut terminal = project.terminal(&line);
        // One host may ask before the other has begun.
        let shown = [(); 2].map(|()| terminal.wait_for("begun\n")).concat();
        if !shown.contains("Name? ") {
            terminal.wait_for("Name? ");
        }
        terminal.type_keys(CTRL_C);
        terminal.wait_for("stopping; waiting for 127.0.0.");
        // A hidden prompt reads the Ctrl-C itself, and has ended.
        if body == "ui::prompt" {
            terminal.type_keys(CTRL_C);
        }
        // The other host does not ask any more.
        let shown = terminal.wait_for("shown\n");
        assert!(!shown.contains("Name? "), "{shown}");
        terminal.end();
    }
}

#[test]
fn an_upload_ends_at_the_second_one() {
    let live = Live::new();
    live.run(&["run", "create", "name=web", "count=2"]).ok();
    let file = std::fs::File::create(live.root().join("big")).unwrap();
    file.set_len(8_000_000_000).unwrap();
    let mut terminal = live.terminal("$HITC -H web -H web-1 upload big /big");
    terminal.wait_for("web");
    // Until a part of it has arrived.
    let name = live.container("web");
    docker(&[
        "exec",
        &name,
        "sh",
        "-c",
        "until find / -xdev -size +1M -path '*/.hitc-part-*/file' | grep -q .; do sleep 0.1; done",
    ]);
    terminal.type_keys(CTRL_C);
    terminal.wait_for("stopping; waiting for web, web-1 (Ctrl-C again to cancel)");
    terminal.type_keys(CTRL_C);
    assert_eq!(terminal.end(), 130);
    docker(&["exec", &name, "sh", "-c", "! test -e /big"]);
}

#[test]
fn a_build_ends_at_the_second_one() {
    let live = Live::new();
    let dockerfile = |name: &str| format!("FROM hitc/debian:13\nRUN echo {name}; sleep 4355\n");
    live.write("one/Dockerfile", &dockerfile("one"));
    live.write("two/Dockerfile", &dockerfile("two"));
    live.write(
        "it.yml",
        "web:\n  provider: local\n  containers:\n    one: {build: one}\n    two: {build: two}\n",
    );
    let mut terminal = live.terminal("$HITC run --yes ensemble.up it");
    let started = std::time::Instant::now();
    while !runs("^sleep 4355") {
        assert!(started.elapsed() < std::time::Duration::from_mins(2));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    terminal.type_keys(CTRL_C);
    terminal.wait_for("stopping; waiting for web.one, web.two (Ctrl-C again to cancel)");
    terminal.type_keys(CTRL_C);
    assert_eq!(terminal.end(), 130);
    let started = std::time::Instant::now();
    while runs("^sleep 4355") {
        assert!(
            started.elapsed() < std::time::Duration::from_secs(20),
            "the build goes on"
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
