//! Docker on servers: setting it up, running, listing, ending; images without a registry.

use crate::support::live::Live;

/// Builds the web server's image on this machine, and gives its name.
fn build(live: &Live) -> String {
    live.write(
        "hitcfile.rhai",
        "/// B.\nfn build() { print(docker::build(\"web\")) }\n",
    );
    let run = live.run(&["run", "build"]).ok();
    run.stdout.trim().to_owned()
}

#[test]
fn run_ps_and_kill() {
    let live = Live::new().web_server("web");
    let image = build(&live);
    live.run(&["run", "create", "name=web", "count=2"]).ok();
    // Docker is not set up there yet, and the image is on no registry.
    live.run(&["run", "-R", "web", "docker.push", &image]).ok();
    let run = ["run", "-R", "web", "docker.run", &image];
    let run = [
        &run[..],
        &["name=page", "ports=80:8080", "environment=ANSWER=42"],
    ]
    .concat();
    live.run(&run).ok();
    for server in ["web", "web-1"] {
        assert_eq!(live.get(server, 8080), "42");
    }

    let listed = live.run(&["docker.ps"]).ok();
    let head = listed.stdout.lines().next().unwrap();
    let head: Vec<&str> = head.split_whitespace().collect();
    assert_eq!(head, ["host", "name", "ip", "ports", "created", "image"]);
    let rows = listed.rows();
    assert_eq!(rows.len(), 2, "{listed}");
    assert_eq!(rows[0][..2], ["web", "page"]);
    assert!(rows[0][2].starts_with("172."), "{listed}");
    assert_eq!(rows[0][3], "80:8080");
    assert_eq!(rows[0][5], image);

    // The name is taken, unless the place is.
    let again = live.run(&run);
    assert_eq!(again.status, 1);
    assert!(
        again
            .stderr
            .contains("container `page` already exists; it belongs to project "),
        "{again}"
    );
    let replaced = run.iter().map(|word| match *word {
        "environment=ANSWER=42" => "environment=ANSWER=43",
        word => word,
    });
    let replaced: Vec<&str> = replaced.chain(["replace=true"]).collect();
    live.run(&replaced).ok();
    assert_eq!(live.get("web", 8080), "43");

    let rules = live.run(&["run", "-H", "web", "iptables.show"]).ok();
    assert!(
        rules.stdout.contains("DNAT --to-destination 172."),
        "{rules}"
    );

    live.run(&["run", "-R", "web", "docker.kill", "page"]).ok();
    assert_eq!(live.run(&["docker.ps"]).ok().rows().len(), 0);
    let gone = live.run(&["run", "-H", "web", "docker.kill", "page"]);
    assert_eq!(gone.status, 1);
    assert!(
        gone.stderr
            .contains("host `web`: container `page` not found"),
        "{gone}"
    );
}

/// What a cloud gives: no Docker, and a user who may only use it through sudo.
#[test]
fn a_vanilla_server_and_a_user_with_sudo() {
    let live = Live::new().web_server("web");
    let image = build(&live);
    live.run(&["run", "create", "name=web", "image=debian-13-bare"])
        .ok();
    live.run(&["exec", "-H", "web", "--", "! command -v dockerd"])
        .ok();
    assert_eq!(
        live.run(&["docker.ps"]).ok().rows().len(),
        0,
        "no Docker, no containers"
    );

    let setup = live
        .run(&["run", "-u", "admin", "-H", "web", "docker.setup"])
        .ok();
    assert!(setup.stderr.contains("web: Docker is installed"), "{setup}");
    let again = live
        .run(&["run", "-u", "admin", "-H", "web", "docker.setup"])
        .ok();
    assert!(again.stderr.contains("web: Docker is ready"), "{again}");

    live.run(&["run", "-u", "admin", "-H", "web", "docker.push", &image])
        .ok();
    let run = ["run", "-u", "admin", "-H", "web", "docker.run", &image];
    live.run(
        &[
            &run[..],
            &["name=page", "ports=80", "environment=ANSWER=sudo"],
        ]
        .concat(),
    )
    .ok();
    assert_eq!(live.get("web", 80), "sudo");
    let rows = live.run(&["-u", "admin", "docker.ps"]).ok().rows();
    assert_eq!(rows[0][0], "page");

    // It comes back with the server.
    live.run(&["run", "--yes", "-H", "web", "reboot"]).ok();
    live.run(&["run", "-H", "web", "docker.setup"]).ok();
    assert_eq!(live.get("web", 80), "sudo");
}

#[test]
fn only_missing_layers_are_sent() {
    let live = Live::new().web_server("web");
    let image = build(&live);
    live.run(&["run", "create", "name=web"]).ok();
    let megabytes = |run: crate::support::Run| {
        let line = run.stderr.lines().find(|line| line.ends_with(" MB)"));
        let line = line.unwrap_or_else(|| panic!("{run}"));
        let (_, size) = line.rsplit_once('(').unwrap();
        size.trim_end_matches(" MB)").parse::<u32>().unwrap()
    };
    let first = live.run(&["run", "-H", "web", "docker.push", &image]).ok();
    assert!(megabytes(first) >= 2);
    // The same layers with another script on top.
    live.write("web/index.cgi", "#!/bin/sh\n");
    let changed = build(&live);
    assert_ne!(image, changed);
    let second = live
        .run(&["run", "-H", "web", "docker.push", &changed])
        .ok();
    assert_eq!(megabytes(second), 1, "a megabyte is the least that is said");
    // It is there already.
    let third = live
        .run(&["run", "-H", "web", "docker.push", &changed])
        .ok();
    assert!(!third.stderr.contains(" MB)"), "{third}");
    let run = [
        "run",
        "-H",
        "web",
        "docker.run",
        &changed,
        "name=page",
        "command=true",
        "restart=no",
    ];
    // What ends at once is not ready, and that is said.
    let ended = live.run(&run);
    assert!(
        ended
            .stderr
            .contains("container `page` ended with status 0"),
        "{ended}"
    );
}
