//! The examples run as they are.

use std::fs;

use crate::support::{live::Live, sources};

/// A project that is one of the examples, copied whole.
fn example(name: &str) -> Live {
    let live = Live::new();
    copy(&sources().join("examples").join(name), &live.root());
    live.run(&["check"]).ok();
    live
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(path, target).unwrap();
        }
    }
}

#[test]
fn three_lines() {
    let live = example("three-lines");
    live.run(&["run", "create", "name=web"]).ok();
    assert!(live.run(&["up"]).ok().stdout.starts_with("up "));
}

#[test]
fn report() {
    let live = example("report");
    live.run(&["run", "create", "name=web", "count=2"]).ok();
    let rows = live.run(&["report"]).ok().rows();
    let hosts: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(hosts, ["web", "web-1"]);
    assert!(rows.iter().all(|row| row[2].ends_with('%')), "{rows:?}");
    assert_eq!(live.run(&["report", "sort=nothing"]).status, 1);
}

#[test]
fn base() {
    let live = example("base");
    live.run(&["run", "create", "name=web"]).ok();
    let base = ["run", "-H", "web", "base", "contact=ops"];
    live.run(&base)
        .is(0, "changed /etc/motd\nchanged 10-folder.sh\n", "");
    assert_eq!(live.run(&base).ok().stdout, "");
    live.run(&[
        "exec",
        "-H",
        "web",
        "--",
        "cat /etc/motd; stat -c %a /srv/data",
    ])
    .is(0, "This is web. Questions go to ops.\n750\n", "");
}

#[test]
fn backup() {
    let live = example("backup");
    live.run(&["run", "create", "name=web", "count=2"]).ok();
    live.run(&["run", "-R", "web", "backup"]).ok();
    let checked = live.run(&["verify"]).ok();
    assert_eq!(checked.stdout.lines().count(), 2, "{checked}");
    live.write("archives/web.tar.gz.base64", "damaged");
    assert_eq!(live.run(&["verify"]).status, 1);
}

#[test]
fn rolling() {
    let live = example("rolling");
    live.run(&["test"]).ok();
    live.run(&["run", "create", "name=shop", "count=2"]).ok();
    live.run(&["deploy", "greeting=Hello"]).ok();
    let look = live.run(&["look"]).ok();
    let mut lines: Vec<&str> = look
        .stdout
        .lines()
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort_unstable();
    assert_eq!(lines, ["[shop-1] Hello", "[shop] Hello"]);
    // One that never answers is taken back, and the second server is not touched.
    let broken = "#!/bin/sh\nexit 1\n";
    live.write("shop/index.cgi", broken);
    let dockerfile = fs::read_to_string(live.root().join("shop/Dockerfile")).unwrap();
    live.write("shop/Dockerfile", &dockerfile.replace("\"80\"", "\"81\""));
    let failed = live.run(&["deploy"]);
    assert_eq!(failed.status, 1, "{failed}");
    assert!(
        failed
            .stderr
            .contains("host `shop`: container `shop` was not ready"),
        "{failed}"
    );
    assert!(!failed.stderr.contains("shop-1: starting"), "{failed}");
    assert_eq!(live.run(&["look"]).ok().stdout.matches("Hello").count(), 2);
}
