//! `docker.cp`: files and folders into containers and out of them, complete or with an error.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use super::docker_commands::{exec, servers, start};
use crate::support::interrupt;

fn same(one: &Path, other: &Path) {
    let diff = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .args([one, other])
        .output()
        .unwrap();
    assert!(
        diff.status.success(),
        "{}",
        String::from_utf8_lossy(&diff.stdout)
    );
}

#[test]
fn folders_are_copied_whole() {
    let (live, image) = servers(2);
    start(&live, image, &["name=shop"]);
    let tree = live.root().join("tree");
    fs::create_dir_all(tree.join("many")).unwrap();
    fs::create_dir_all(tree.join("empty/inner")).unwrap();
    for n in 0..2000 {
        fs::write(
            tree.join(format!("many/{n}")),
            format!("{n}\n").repeat(n % 50),
        )
        .unwrap();
    }
    let long = "long ".repeat(40);
    for name in [
        "with space",
        "new\nline",
        "quo'te\"$(touch x)",
        "grün 東京",
        "-rf",
        &long,
    ] {
        fs::write(tree.join(name), name).unwrap();
    }
    fs::write(tree.join("big"), vec![7; 3_000_000]).unwrap();
    fs::set_permissions(tree.join("big"), fs::Permissions::from_mode(0o751)).unwrap();
    fs::set_permissions(tree.join("empty"), fs::Permissions::from_mode(0o500)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", tree.join("outside")).unwrap();
    std::os::unix::fs::symlink("big", tree.join("link")).unwrap();

    exec(&live, "docker exec shop mkdir /tmp");
    let cp =
        |source: &str, target: &str| live.run(&["run", "-R", "web", "docker.cp", source, target]);
    let up = cp("tree", "shop:/srv").ok();
    assert!(up.stderr.contains("web: copied 2007 files, "), "{up}");
    // The name is new, and in a folder that exists, its own.
    cp("tree", "shop:/tmp/").ok();
    let count = exec(
        &live,
        "docker exec shop sh -c 'find /srv | wc -l; find /tmp/tree | wc -l'",
    );
    assert_eq!(count, "2014\n2014\n2014\n2014\n");
    cp("shop:/srv", "back").ok();
    for server in ["web", "web-1"] {
        let back = live.root().join("back").join(server).join("srv");
        same(&tree, &back);
        let mode =
            |name: &str| fs::metadata(back.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("big"), mode("empty")), (0o751, 0o500));
        fs::set_permissions(back.join("empty"), fs::Permissions::from_mode(0o700)).unwrap();
    }
    fs::set_permissions(tree.join("empty"), fs::Permissions::from_mode(0o700)).unwrap();
    let again = cp("shop:/srv", "back");
    assert!(
        again.stderr.contains("already exists; remove it first"),
        "{again}"
    );

    // From one server, a file has the name that is given, and replaces a file.
    let one = ["run", "-H", "web", "docker.cp"];
    for _ in 0..2 {
        live.run(&[&one[..], &["shop:/srv/big", "big.copy"]].concat())
            .ok();
    }
    same(&tree.join("big"), &live.root().join("big.copy"));
    let left = fs::read_dir(live.root()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().starts_with(".hitc-cp")),
        "{left:?}"
    );

    for (source, target, message) in [
        (
            "shop:/missing",
            "x",
            "copying `/missing` from container `shop`: the path does not exist in the container",
        ),
        ("missing", "shop:/x", "missing`: no such file or directory"),
        (
            "tree",
            "shop:/none/x",
            "`/none` is no folder in the container",
        ),
        ("tree", "shopp:/x", "container `shopp` not found"),
        ("tree", "x", "one of `tree` and `x` must be in a container"),
    ] {
        let failed = live.run(&[&one[..], &[source, target]].concat());
        assert_ne!(failed.status, 0);
        assert!(failed.stderr.contains(message), "{failed}");
    }
}

/// The engine answers with success and half of an archive then.
#[test]
fn a_file_that_shrinks_meanwhile_is_an_error() {
    let (live, image) = servers(1);
    start(&live, image, &["name=shop"]);
    exec(
        &live,
        "docker exec shop sh -c 'mkdir /data; for n in 1 2 3 4 5 6 7 8 9; do echo $n >/data/z$n; done'; \
         docker exec -d shop sh -c 'while :; do head -c 20000000 /dev/zero >/data/log; : >/data/log; done'",
    );
    let mut incomplete = 0;
    for n in 0..40 {
        let target = format!("copy{n}");
        let run = live.run(&["run", "-H", "web", "docker.cp", "shop:/data", &target]);
        let copy = live.root().join(&target);
        if run.status == 0 {
            assert_eq!(fs::read_dir(&copy).unwrap().count(), 10);
            continue;
        }
        let message = "host `web`: copying `/data` from container `shop`: it ends ";
        assert!(run.stderr.contains(message), "{run}");
        assert!(!copy.exists());
        incomplete += 1;
        if incomplete == 2 {
            return;
        }
    }
    panic!("no copy was cut");
}

/// Copies a file that has no end, and interrupts it when some of it is here.
#[test]
fn an_interrupted_copy_leaves_nothing() {
    let (live, image) = servers(1);
    start(&live, image, &["name=shop"]);
    exec(&live, "docker exec shop sh -c 'truncate -s 100G /huge'");
    let target = live.root().join("target");
    let copying = || {
        let words = ["run", "-H", "web", "docker.cp", "shop:/huge", "target/"];
        let child = live.spawn(&words);
        let begun = |entry: fs::DirEntry| {
            let file = entry.path().join("huge");
            fs::metadata(file).is_ok_and(|file| file.len() > 1_000_000)
        };
        while !fs::read_dir(&target)
            .is_ok_and(|mut found| found.any(|entry| entry.is_ok_and(begun)))
        {
            std::thread::yield_now();
        }
        child
    };

    let mut child = copying();
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);

    let child = copying();
    exec(&live, "pkill -KILL -x dockerd");
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let message = "error: host `web`: copying `/huge` from container `shop`: ";
    assert!(stderr.contains(message), "{stderr}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
}
