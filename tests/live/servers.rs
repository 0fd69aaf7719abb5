//! Creating, listing, renaming, rebooting and ending servers; the unmanaged ones too.

use std::time::{Duration, Instant};

use crate::support::live::Live;

#[test]
fn from_nothing_to_nothing() {
    let live = Live::new();
    // The image is there: what is measured is the servers.
    let started = Instant::now();
    let run = live
        .run(&[
            "run",
            "create",
            "provider=local",
            "name=web",
            "count=2",
            "size=1x512m",
        ])
        .ok();
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    let rows = run.rows();
    let columns = [
        "provider",
        "name",
        "size",
        "ip",
        "internal_ip",
        "state",
        "created",
    ];
    let head: Vec<&str> = run
        .stdout
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(head, columns);
    assert_eq!(rows.len(), 2, "{run}");
    for (row, name) in rows.iter().zip(["web", "web-1"]) {
        assert_eq!(
            (&row[0], &row[1], &row[2]),
            (&"local".into(), &name.into(), &"1x512m".into())
        );
        assert_eq!(row[3], row[4], "the two addresses of a local server");
        assert_eq!(row[5], "running");
        let created: jiff::Timestamp = row[6].replace(' ', "T").parse().unwrap();
        assert!(
            created.duration_until(jiff::Timestamp::now()).as_secs() < 60,
            "{row:?}"
        );
    }

    live.run(&["run", "create", "name=web"]).fails(
        2,
        "error: server `web` already exists\n\
         help: choose another name, or terminate it first\n",
    );

    // Everything that a task may change survives a reboot, the address included.
    live.run(&["exec", "-H", "web", "--", "echo kept >/var/tmp/kept"])
        .ok();
    live.run(&["run", "--yes", "-H", "web", "reboot"]).ok();
    live.run(&["run", "-H", "web", "rename", "shop"]).ok();
    let after = live.run(&["nodes"]).ok().rows();
    let names: Vec<&str> = after.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(names, ["shop", "web-1"]);
    assert_eq!(after[0][3], rows[0][3]);
    live.run(&["exec", "-H", "shop", "--", "cat /var/tmp/kept"])
        .is(0, "kept\n", "");

    live.run(&["run", "--all", "terminate"]).fails(
        2,
        "error: no terminal to answer: Terminate 2 servers, with all data on them? \
         shop web-1. Type their number:\nhelp: use --yes to answer every question with yes\n",
    );
    live.run(&["run", "-H", "shop", "terminate"]).fails(
        2,
        "error: no terminal to answer: Terminate shop, with all data on it? \
         Type its name:\nhelp: use --yes to answer every question with yes\n",
    );
    live.run(&["run", "--yes", "--all", "terminate"]).ok();
    assert_eq!(live.run(&["nodes"]).ok().rows().len(), 0);
}

#[test]
fn a_server_that_was_left_half_made_is_finished() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    live.half_make("web", None);
    assert_eq!(live.run(&["nodes"]).ok().rows()[0][5], "creating");
    live.run(&["run", "create", "name=web"]).ok();
    assert_eq!(live.run(&["nodes"]).ok().rows().len(), 1);
    live.run(&["exec", "-H", "web", "--", "true"]).ok();
}

#[test]
fn a_server_of_another_prefix_is_nobodys_business() {
    let (one, other) = (Live::new(), Live::new());
    one.run(&["run", "create", "name=web"]).ok();
    assert_eq!(other.run(&["nodes"]).ok().rows().len(), 0);
    assert_eq!(other.run(&["run", "--yes", "--all", "terminate"]).status, 3);
    assert_eq!(one.run(&["nodes"]).ok().rows().len(), 1);
    // A prefix that begins with the other one, in the same project.
    let longer = Live::new()
        .with_prefix(&format!("{}x-", one.container("")))
        .file("hitc.id", &format!("{}\n", one.project_id()));
    longer.run(&["run", "create", "name=db"]).ok();
    let names = |live: &Live| -> Vec<String> {
        let rows = live.run(&["nodes"]).ok().rows();
        rows.iter().map(|row| row[1].clone()).collect()
    };
    assert_eq!(
        (names(&one), names(&longer)),
        (vec!["web".to_owned()], vec!["db".to_owned()])
    );
    one.run(&["run", "--yes", "--all", "terminate"]).ok();
    assert_eq!(names(&longer), ["db"]);
}

#[test]
fn a_shell_by_the_systems_ssh() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let run = live.run_with_input(&["run", "-H", "web", "ssh"], "hostname; exit 3\n");
    // After the greeting.
    assert!(run.stdout.ends_with("web\n"), "{run}");
    assert_eq!(
        run.status, 0,
        "the status of the shell is the user's business: {run}"
    );
}

/// A server that hitc did not make: the same container, known by its address only.
#[test]
fn unmanaged_servers() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let ip = live.ip("web");
    let key = live.home().join(".local/share/hitc/id_ed25519");
    let key = key.to_str().unwrap();
    live.write("unmanaged_servers.txt", &format!("admin@{ip} shop\n"));

    let run = live.run(&["exec", "-H", "shop", "-i", key, "--", "id -un"]);
    assert_eq!(run.stdout, "admin\n", "{run}");
    // Said once, as nothing else says whose key it is.
    assert!(
        run.stderr
            .starts_with("host `shop`: accepted and recorded the new host key SHA256:"),
        "{run}"
    );
    let again = live.run(&["exec", "-H", "shop", "-i", key, "--", "id -un"]);
    again.is(0, "admin\n", "");
    // By address, without being listed.
    live.write("unmanaged_servers.txt", "");
    live.run(&["run", "--yes", "-H", "web", "rename", "other"])
        .ok();
    let known = std::fs::read_to_string(live.home().join(".ssh/known_hosts")).unwrap();
    // The name may be hashed: the system's configuration says so.
    assert_eq!(known.lines().count(), 1, "{known}");
    let found = std::process::Command::new("ssh-keygen")
        .args(["-F", &ip, "-f"])
        .arg(live.home().join(".ssh/known_hosts"))
        .output()
        .unwrap();
    assert!(found.status.success(), "{known}");

    // Another key under the same address is not accepted, and says what to do.
    let (before, _) = known.rsplit_once(' ').unwrap();
    let wrong = "AAAAC3NzaC1lZDI1NTE5AAAAIGS3ZmKGR4LRIQSj6qvpA4CWuTnBjzhxPdVxDyEr1W5V";
    std::fs::write(
        live.home().join(".ssh/known_hosts"),
        format!("{before} {wrong}\n"),
    )
    .unwrap();
    live.write("unmanaged_servers.txt", &format!("{ip} shop\n"));
    let run = live.run(&["exec", "-H", "shop", "-i", key, "--", "true"]);
    assert_eq!(run.status, 4, "{run}");
    assert!(
        run.stderr.contains("does not match the recorded one"),
        "{run}"
    );
    assert!(
        run.stderr.contains(&format!("ssh-keygen -R '{ip}'")),
        "{run}"
    );

    live.run(&["run", "--yes", "-H", "shop", "terminate"])
        .fails(
            2,
            &format!(
                "shop: terminate\nerror: provider `unmanaged` cannot terminate servers\n\
             help: its servers are the lines of `{}`\n",
                live.root().join("unmanaged_servers.txt").display()
            ),
        );
}
