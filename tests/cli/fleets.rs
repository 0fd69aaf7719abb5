//! Tasks on many hosts: batches, failures and forms of output. The hosts are simulated.

use std::{io::Write, net::TcpListener, os::unix::fs::PermissionsExt, time::Duration};

use crate::support::{Project, Run, delayed_hosts, mock_hosts};

/// Creates a project with hosts that answer `played`. A host named `dead` refuses connections.
fn fleet(names: &[&str]) -> Project {
    let port = mock_hosts();
    let project = Project::new();
    let ssh = project.home().join(".ssh");
    std::fs::create_dir_all(&ssh).unwrap();
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(ssh.join("id_ed25519"))
        .status();
    assert!(made.unwrap().success());
    let line = |(n, name): (usize, &&str)| match *name {
        "dead" => format!("127.2.0.{n}:1 dead\n"),
        name => format!("127.2.0.{n}:{port} {name}\n"),
    };
    let hosts: String = (1..).zip(names).map(line).collect();
    project.write("unmanaged_servers.txt", &hosts);
    project
}

/// Returns the rows of the summary table: host and result.
fn recap(run: &Run) -> Vec<String> {
    let rows = run
        .stderr
        .lines()
        .skip_while(|line| !line.starts_with("host") || !line.contains("result"));
    let rows = rows.skip(1).take_while(|line| !line.is_empty());
    rows.map(|row| row.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn forms_of_output() {
    let it = fleet(&["a", "b", "c"]);
    let exec = |form: &str| {
        it.run(&["-q", "exec", "--all", "-o", form, "--", "true"])
            .ok()
            .stdout
    };
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(
        sorted(exec("prefix")),
        ["[a] played", "[b] played", "[c] played"]
    );
    assert_eq!(exec("fold"), "3 hosts: a, b, c\n  played\n");
    assert_eq!(exec("raw"), "played\nplayed\nplayed\n");
    let grouped = exec("group");
    for host in ["a", "b", "c"] {
        assert!(
            grouped.contains(&format!("{host}:\n  played\n")),
            "{grouped}"
        );
    }
    let json: Vec<serde_json::Value> = exec("json")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(json[0], serde_json::json!({"event": "start", "hosts": 3}));
    let of_a: Vec<_> = json.iter().filter(|event| event["host"] == "a").collect();
    let expected = [
        serde_json::json!({"event": "begin", "host": "a"}),
        serde_json::json!(
            {"event": "output", "host": "a", "stream": "stdout", "text": "played\n"}
        ),
        serde_json::json!({"event": "end", "host": "a"}),
    ];
    assert!(of_a.iter().copied().eq(&expected), "{of_a:?}");
    let summary = json.last().unwrap();
    assert_eq!(summary["event"], "summary");
    assert_eq!(summary["results"][1]["host"], "b");
    assert_eq!(summary["results"][1]["result"], "ok");
}

#[test]
fn batches_stop_at_a_failure_and_failed_resumes() {
    let it = fleet(&["a", "dead", "e", "f"]);
    let exec = |flags: &[&str]| it.run(&[&["exec"], flags, &["--", "true"]].concat());
    let all = exec(&["--all"]);
    assert_eq!(all.status, 4, "{all}");
    assert_eq!(recap(&all), ["a ok", "dead unreachable", "e ok", "f ok"]);
    let batches = exec(&["--all", "--batch", "2,1"]);
    assert_eq!(
        recap(&batches),
        ["a ok", "dead unreachable", "e skipped", "f skipped"]
    );
    assert!(batches.stderr.contains("--failed"), "{batches}");
    // A dry run contacts no host and does not change the list of failed hosts.
    let dry = exec(&["--all", "--dry-run"]);
    assert_eq!(dry.status, 0, "{dry}");
    // Selects the hosts whose result is not ok.
    let failed = exec(&["--failed", "-x", "dead"]);
    assert_eq!(failed.status, 0, "{failed}");
    assert_eq!(recap(&failed), ["e ok", "f ok"]);
    exec(&["--failed"]).fails(
        3,
        "error: no failed servers in the last run of this project\n\
         help: select servers with --hosts, --roles or --all\n",
    );
    let some = exec(&["--all", "--batch", "1", "--max-fail", "25%"]);
    assert_eq!(recap(&some), ["a ok", "dead unreachable", "e ok", "f ok"]);
    let fast = exec(&["--all", "--serial", "--fail-fast"]);
    assert_eq!(
        recap(&fast),
        ["a ok", "dead unreachable", "e skipped", "f skipped"]
    );
    let limited = exec(&["--all", "--limit", "e,f", "-x", "f"]);
    assert_eq!(limited.stdout, "played\n", "{limited}");
}

/// `ssh -G` runs once for all hosts with the same configuration, also if it fails.
#[test]
fn a_shared_configuration_is_read_once() {
    let it = fleet(&["a", "b", "c", "d"]);
    it.write(
        "bin/ssh",
        "#!/bin/sh\necho \"$*\" >>\"$HOME/asked\"\nPATH=${PATH#*:} exec ssh \"$@\"\n",
    );
    let ssh = it.root().join("bin/ssh");
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!(
        "{}:{}",
        ssh.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let it = it.env("PATH", &path);
    let asked = |it: &Project| {
        let log = it.home().join("asked");
        let text = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(log).unwrap();
        text.lines().count()
    };
    let exec = ["exec", "--all", "--", "true"];
    it.run(&exec).ok();
    assert_eq!(asked(&it), 1);
    let config = it.home().join(".ssh/config");
    std::fs::write(config, "Host *\n  Bogus yes\n").unwrap();
    let run = it.run(&exec);
    assert_eq!(run.status, 2, "{run}");
    assert_eq!(
        run.stderr
            .matches("line 2: Bad configuration option: bogus")
            .count(),
        4,
        "{run}"
    );
    assert_eq!(asked(&it), 1);
}

/// The connection timeout restarts with every answer of a slow host, up to a limit.
#[test]
fn a_slow_host() {
    let it = fleet(&[]);
    std::fs::write(it.home().join(".ssh/config"), "ConnectTimeout 1\n").unwrap();
    let far = delayed_hosts(mock_hosts(), Duration::from_millis(300));
    let babbler = TcpListener::bind("127.2.0.1:0").unwrap();
    let port = babbler.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut socket, _) = babbler.accept().unwrap();
        while socket.write_all(b"w").is_ok() {
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    it.write(
        "unmanaged_servers.txt",
        &format!("127.2.0.1:{far} far\n127.2.0.1:{port} babbler\n"),
    );
    let run = it.run(&["exec", "-H", "far", "--", "true"]).ok();
    assert_eq!(run.stdout, "played\n");
    let run = it.run(&["exec", "-H", "babbler", "--", "true"]);
    assert_eq!(run.status, 4, "{run}");
    let said = format!("error: host `babbler`: no answer within 6 s (127.2.0.1:{port})\n");
    assert!(run.stderr.starts_with(&said), "{run}");
}

#[test]
fn exclusions_of_the_environment_apply_to_every_selection() {
    let it = fleet(&["a", "b"])
        .env("HITC_EXCLUDE", "b")
        .env("HITC_HOSTS", "a,b");
    assert_eq!(
        it.run(&["exec", "--all", "--", "true"]).ok().stdout,
        "played\n"
    );
    assert_eq!(it.run(&["exec", "--", "true"]).ok().stdout, "played\n");
}

#[test]
fn invalid_batch_sizes() {
    let it = Project::new();
    for (flag, value) in [("--batch", "0"), ("--batch", "1,x"), ("--max-fail", "101%")] {
        let run = it.run(&["exec", "--all", flag, value, "--", "true"]);
        assert_eq!(run.status, 2, "{run}");
        assert!(run.stderr.contains("invalid value"), "{run}");
    }
}
