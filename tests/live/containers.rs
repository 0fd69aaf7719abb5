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

    let rules = live.run(&["run", "-H", "web", "iptables.rules"]).ok();
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

/// The first line that a command prints on a server.
fn exec(live: &Live, server: &str, line: &str) -> String {
    let run = live.run(&["exec", "-H", server, "--", line]).ok();
    run.stdout.lines().next().unwrap_or_default().to_owned()
}

/// The engine resolves a name that no container has as the beginning of an id.
#[test]
fn the_beginning_of_an_id_is_no_name() {
    let live = Live::new().web_server("web");
    let image = build(&live);
    live.run(&["run", "create", "name=web"]).ok();
    live.run(&["run", "-H", "web", "docker.push", &image]).ok();
    let run = ["run", "-H", "web", "docker.run"];
    live.run(&[&run[..], &[&image, "name=page"]].concat()).ok();
    let id = |name: &str| {
        let line = format!("docker inspect -f '{{{{.Id}}}} {{{{.State.Running}}}}' {name}");
        exec(&live, "web", &line)
    };
    let page = id("page");
    let beginning = &page[..2];

    let killed = live.run(&["run", "-H", "web", "docker.kill", beginning, "adopt=true"]);
    assert_eq!(killed.status, 1);
    let missing = format!("host `web`: container `{beginning}` not found");
    assert!(killed.stderr.contains(&missing), "{killed}");
    let name = format!("name={beginning}");
    let options = [image.as_str(), &name, "replace=true", "adopt=true"];
    live.run(&[&run[..], &options[..]].concat()).ok();
    assert_eq!(id("page"), page, "it is another container");
    assert!(id(beginning).ends_with(" true"));

    let image_id = exec(
        &live,
        "web",
        &format!(
            "docker inspect -f '{{{{.Image}}}}' {page}",
            page = &page[..64]
        ),
    );
    let beginning = &image_id.trim_start_matches("sha256:")[..4];
    let options = [beginning, "name=other", "pull=never"];
    let run = live.run(&[&run[..], &options[..]].concat());
    assert_eq!(run.status, 1);
    let missing = format!("host `web`: image `{beginning}` not found");
    assert!(run.stderr.contains(&missing), "{run}");
}

#[test]
fn containers_of_others_are_left_alone() {
    let live = Live::new().web_server("web");
    let image = build(&live);
    live.run(&["run", "create", "name=web"]).ok();
    live.run(&["run", "-H", "web", "docker.push", &image]).ok();
    let run = |options: &[&str]| {
        let run = ["run", "-H", "web", "docker.run", &image, "name=page"];
        live.run(&[&run[..], options].concat())
    };
    let names = || {
        exec(
            &live,
            "web",
            "docker ps -a --format '{{.Names}}' | sort | xargs",
        )
    };
    run(&[]).ok();
    for step in ["page.new", "page.old", "page.failed"] {
        exec(
            &live,
            "web",
            &format!("docker create --name {step} {image} 2>&1"),
        );
        let refused = run(&["replace=true"]);
        assert_eq!(refused.status, 1);
        let error = format!(
            "error: host `web`: container `{step}` has a name that is needed to create or replace `page`; it was not created by hitc"
        );
        assert!(refused.stderr.contains(&error), "{refused}");
        assert_eq!(names(), format!("page {step}"));
        exec(&live, "web", &format!("docker rm {step}"));
    }

    exec(
        &live,
        "web",
        &format!("docker rm -f page >/dev/null; docker run -d --name page {image}"),
    );
    let unowned = "container `page` was not created by hitc";
    for refused in [
        run(&["replace=true"]),
        live.run(&["run", "-H", "web", "docker.kill", "page"]),
    ] {
        assert_eq!(refused.status, 1);
        assert!(refused.stderr.contains(unowned), "{refused}");
        assert!(
            refused
                .stderr
                .contains("help: take it over with `adopt=true`"),
            "{refused}"
        );
    }
    run(&["replace=true", "adopt=true"]).ok();
    assert_eq!(names(), "page");
    // It is ours now.
    run(&["replace=true"]).ok();
    live.run(&["run", "-H", "web", "docker.kill", "page"]).ok();
    assert_eq!(names(), "");
}

#[test]
fn an_engine_that_does_not_answer_is_not_missing() {
    let live = Live::new().web_server("web");
    let image = build(&live);
    live.run(&["run", "create", "name=web"]).ok();
    live.run(&["run", "-H", "web", "docker.push", &image]).ok();
    let unknown = |flags: &[&str], cause: &str| {
        let listed = live.run(&[&["run"], flags, &["docker.ps"]].concat());
        assert_eq!(listed.status, 1, "{listed}");
        let error = "error: host `web`: the Docker Engine does not answer: ";
        assert!(listed.stderr.contains(error), "{listed}");
        assert!(listed.stderr.contains(cause), "{listed}");
    };

    // A user who may neither open the socket nor use sudo.
    exec(
        &live,
        "web",
        "useradd -m -s /bin/sh joe && cp -r /root/.ssh /home/joe && chown -R joe /home/joe/.ssh",
    );
    unknown(&["-u", "joe"], "sudo");

    // It hangs: the socket accepts connections.
    exec(&live, "web", "pkill -STOP -x dockerd");
    unknown(&[], "no answer within 10 s");
    exec(&live, "web", "pkill -CONT -x dockerd");
    live.run(&["run", "docker.ps"]).ok();

    exec(&live, "web", "pkill -KILL -x dockerd");
    unknown(&[], "no process listens on /var/run/docker.sock");
    // What is not known is not set up either.
    let run = live.run(&["run", "-H", "web", "docker.run", "a", "name=page"]);
    assert!(
        run.stderr.contains("the Docker Engine does not answer"),
        "{run}"
    );
    let setup = live.run(&["run", "-H", "web", "docker.setup"]).ok();
    assert!(setup.stderr.contains("web: Docker is started"), "{setup}");

    // One that is terminating is started again. It waits for a container that does not end.
    let line = format!("docker run -d --stop-timeout 6 --entrypoint sleep {image} 1000");
    exec(&live, "web", &line);
    exec(&live, "web", "pkill -TERM -x dockerd && sleep 1");
    let setup = live.run(&["run", "-H", "web", "docker.setup"]).ok();
    assert!(setup.stderr.contains("web: Docker is started"), "{setup}");
    live.run(&["run", "docker.ps"]).ok();
}
