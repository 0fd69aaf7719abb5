//! `docker.logs`: the logs of several containers on several servers, whole and in order.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    time::{Duration, Instant},
};

use super::docker_commands::{exec, servers, start};
use crate::support::{Run, interrupt};

/// The numbers of the lines `line N` of each container, in their order.
fn numbers(run: &Run) -> BTreeMap<String, Vec<u32>> {
    let mut numbers: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for line in run.stdout.lines() {
        let (source, text) = line.split_once("] ").unwrap_or_else(|| panic!("{line}"));
        let number = text
            .strip_prefix("line ")
            .unwrap_or_else(|| panic!("{line}"));
        let source = source.trim_start_matches('[').to_owned();
        numbers
            .entry(source)
            .or_default()
            .push(number.parse().unwrap());
    }
    numbers
}

#[test]
fn nothing_is_lost_and_each_container_is_in_order() {
    const LINES: u32 = 3000;
    let (live, image) = servers(2);
    // They write faster than a program reads line by line, pause, and end.
    let write = format!(
        "sleep 2; i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); \
         [ $((i % 1000)) = 0 ] && sleep 0.3; done"
    );
    for name in ["n1", "n2"] {
        exec(
            &live,
            &format!("docker run -d --name {name} {image} sh -c '{write}'"),
        );
    }
    let followed = live.run(&["docker.logs", "n*", "follow=true"]).ok();
    let read = live.run(&["docker.logs", "n1,n2"]).ok();
    let all: Vec<u32> = (0..LINES).collect();
    for run in [&followed, &read] {
        let numbers = numbers(run);
        let sources: Vec<&String> = numbers.keys().collect();
        assert_eq!(sources, ["web-1/n1", "web-1/n2", "web/n1", "web/n2"]);
        for (source, numbers) in numbers {
            assert_eq!(numbers, all, "{source}");
        }
    }

    // Merged by time.
    let json = live.run(&["-o", "json", "docker.logs", "n*"]).ok();
    let times: Vec<String> = json
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| event["event"] == "log")
        .map(|event| event["time"].as_str().unwrap().to_owned())
        .collect();
    let times: Vec<jiff::Timestamp> = times.iter().map(|time| time.parse().unwrap()).collect();
    assert_eq!(times.len(), 4 * LINES as usize);
    assert!(times.is_sorted());

    let some = live
        .run(&[
            "-H",
            "web",
            "docker.logs",
            "n1",
            "tail=20",
            "grep=line \\d+[05]$",
        ])
        .ok();
    assert_eq!(some.stdout, "line 2980\nline 2985\nline 2990\nline 2995\n");
    assert_eq!(live.run(&["docker.logs", "n*", "until=1h"]).ok().stdout, "");
    let wrong = live.run(&["docker.logs", "grep=("]);
    assert!(
        wrong
            .stderr
            .contains("grep: invalid regular expression: unclosed group"),
        "{wrong}"
    );
    let wrong = live.run(&["docker.logs", "since=yesterday"]);
    assert!(
        wrong.stderr.contains("since: invalid time `yesterday`"),
        "{wrong}"
    );
    let missing = live.run(&["-H", "web", "docker.logs", "n3"]);
    assert!(
        missing.stderr.contains("container `n3` not found"),
        "{missing}"
    );
    assert!(missing.stderr.contains("did you mean `n1`?"), "{missing}");

    let missing = live.run(&["docker.logs", "n3"]);
    let message = "error: container `n3` not found on any of the servers";
    assert!(missing.stderr.contains(message), "{missing}");

    // A long line comes in parts, and what is odd passes through for one container.
    let odd = "head -c 50000 /dev/zero | tr \"\\\\0\" x; echo; printf \"\\\\033[1m\\\\377\\\\n\"; printf end";
    exec(
        &live,
        &format!("docker run --name odd {image} sh -c '{odd}' >/dev/null"),
    );
    let output = live.pipe(&["-H", "web", "docker.logs", "odd"], b"");
    // The engine keeps text: it replaces other bytes.
    let expected = format!("{}\n\x1b[1m\u{fffd}\nend", "x".repeat(50000));
    assert!(
        output.stdout == expected.as_bytes(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn following_ends_with_the_container_with_ctrl_c_and_with_the_engine() {
    let (live, image) = servers(2);
    let beat = "command=sh -c \"trap exit TERM; while :; do echo beat; sleep 0.1; done\"";
    start(&live, image, &["name=shop", beat]);
    let follow = || {
        let mut child = live.spawn(&["docker.logs", "follow=true"]);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.ends_with("/shop] beat"), "{first}");
        (child, lines)
    };

    let (mut child, _lines) = follow();
    let started = Instant::now();
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );

    // The container on one server dies: its log ends. The other's engine dies: that is an error.
    let (child, lines) = follow();
    live.run(&["run", "-H", "web-1", "docker.kill", "shop"])
        .ok();
    let mut lines = lines.map(Result::unwrap);
    live.run(&["exec", "-H", "web", "--", "pkill -KILL -x dockerd"])
        .ok();
    assert!(lines.all(|line| line.ends_with("/shop] beat")));
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let message = "error: host `web`: reading the log of container `shop`: ";
    assert!(
        stderr.contains(message) && !stderr.contains("host `web-1`"),
        "{stderr}"
    );

    // Without an engine, each task says so.
    for task in [
        &["docker.stats"][..],
        &["docker.logs"],
        &["docker.ps"],
        &["-H", "web", "docker.top", "shop"],
    ] {
        let run = live.run(task);
        assert_ne!(run.status, 0, "{run}");
        assert!(
            run.stderr
                .contains("host `web`: the Docker Engine does not answer"),
            "{run}"
        );
    }
}
