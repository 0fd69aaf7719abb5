//! Manifests brought up, changed, and taken down.

use crate::support::live::Live;

/// The longer example of the talk that hitc is built from, with images that the test builds.
const SEED: &str = "\
wordpress:
  provider: local
  containers:
    wordpress:
      template: web
      environment: {ANSWER: wordpress}
      ports:
        - 80
    serverstats:
      build: web
      environment:
        HOST_NAME: ${host.name}
        GRAPHITE_HOST: ${graphite.ip}
        # hack to make sure the graphite.containers.graphite container
        # is up before we start streaming data to it
        _DEPENDS: ${graphite.containers.graphite.ip}
        ALL: $internal_ips

graphite:
  provider: local
  containers:
    graphite:
      template: web
      environment: {ANSWER: graphite}
      ports:
        - 80
        - \"80:2003\"

templates:
  web:
    build: web
    stop_timeout: 1s
    ready: {tcp: 80}
";

/// One server with one container, to be changed.
fn manifest(container: &str) -> String {
    format!(
        "web:\n  provider: local\n  size: 1x512m\n  containers:\n    page:\n      build: web\n      \
         stop_timeout: 1s\n      ready: {{tcp: 80}}\n      ports: [80]\n{container}"
    )
}

fn up(live: &Live) -> crate::support::Run {
    live.run(&["run", "--yes", "ensemble.up", "it"])
}

fn plan(live: &Live) -> String {
    live.run(&["run", "ensemble.plan", "it"]).ok().stdout
}

/// Something of a container, by the server's engine.
fn inspect(live: &Live, server: &str, container: &str, format: &str) -> String {
    let line = format!("docker inspect -f '{format}' {container}");
    live.run(&["exec", "-H", server, "--", &line])
        .ok()
        .stdout
        .trim()
        .to_owned()
}

#[test]
fn the_seeds_longer_example() {
    let live = Live::new().web_server("web").file("it.yml", SEED);
    let first = up(&live).ok();
    assert!(
        first
            .stderr
            .contains("2 servers to create, 3 containers to create"),
        "{first}"
    );
    assert_eq!(live.get("wordpress", 80), "wordpress");
    assert_eq!(live.get("graphite", 80), "graphite");
    assert_eq!(live.get("graphite", 2003), "graphite");

    let environment = inspect(&live, "wordpress", "serverstats", "{{json .Config.Env}}");
    let environment: Vec<String> = serde_json::from_str(&environment).unwrap();
    let (own, other) = (live.ip("wordpress"), live.ip("graphite"));
    let needed = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let needed = inspect(&live, "graphite", "graphite", needed);
    for expected in [
        "HOST_NAME=wordpress".to_owned(),
        format!("GRAPHITE_HOST={other}"),
        format!("_DEPENDS={needed}"),
        format!("ALL={other},{own}"),
    ] {
        assert!(
            environment.contains(&expected),
            "{expected} in {environment:?}"
        );
    }
    // What it waits for was started before it.
    let started = |server, container| inspect(&live, server, container, "{{.State.StartedAt}}");
    assert!(started("graphite", "graphite") < started("wordpress", "serverstats"));

    let again = live.run(&["run", "ensemble.up", "it"]).ok();
    assert!(
        again.stderr.contains("no changes\n`it` is up to date ("),
        "{again}"
    );
    // The order in which things are written makes no difference.
    let (servers, templates) = SEED.split_once("templates:").unwrap();
    let (wordpress, graphite) = servers.split_once("\n\ngraphite:").unwrap();
    let permuted = format!(
        "templates:{templates}\ngraphite:{}\n{}",
        graphite.replace(
            "        - 80\n        - \"80:2003\"",
            "        - \"80:2003\"\n        - 80"
        ),
        wordpress
            .replace("        HOST_NAME: ${host.name}\n", "")
            .replace(
                "        ALL:",
                "        HOST_NAME: ${host.name}\n        ALL:"
            ),
    );
    live.write("it.yml", &permuted);
    assert_eq!(plan(&live), "no changes\n");

    live.run(&["run", "ensemble.down", "it"]).fails(
        2,
        "\
it: observing
it: observing
- graphite  removed
- wordpress  removed
2 servers to remove
error: no terminal to answer: Take down `it`: 2 servers to remove, with all data? \
Type its name:
help: use --yes to answer every question with yes
",
    );
    live.run(&["run", "--yes", "ensemble.down", "it"]).ok();
    assert_eq!(live.run(&["nodes"]).ok().rows().len(), 0);
    let nothing = live.run(&["run", "--yes", "ensemble.down", "it"]).ok();
    assert!(
        nothing.stderr.ends_with("nothing of `it` exists\n"),
        "{nothing}"
    );
}

#[test]
fn edits_change_what_they_name_and_nothing_else() {
    let live = Live::new().web_server("web");
    live.write(
        "it.yml",
        &manifest("      environment: {ANSWER: one, OLD: x}\n"),
    );
    up(&live).ok();
    let id = |live: &Live| inspect(live, "web", "page", "{{.Id}}");
    let first = id(&live);

    // Without a terminal nothing is changed unless it is said so.
    live.write("it.yml", &manifest("      environment: {ANSWER: two}\n"));
    let refused = live.run(&["run", "ensemble.up", "it"]);
    assert_eq!(refused.status, 2, "{refused}");
    assert_eq!(live.get("web", 80), "one");

    let shown = plan(&live);
    let image = inspect(&live, "web", "page", "{{.Config.Image}}");
    let expected = format!(
        "  web  stays (server, local)
  ! page  replace (container, {image}, public port 80)
      environment.ANSWER: one → two
      environment.OLD: x → nothing
1 container to replace
"
    );
    assert_eq!(shown, expected);
    let dry = live.run(&["run", "--dry-run", "--exit-code", "ensemble.up", "it"]);
    assert_eq!(dry.status, 5, "{dry}");
    up(&live).ok();
    assert_eq!(live.get("web", 80), "two");
    assert_ne!(id(&live), first);

    // Limits are changed while it runs.
    let second = id(&live);
    let limited = "      environment: {ANSWER: two}\n      max_memory: 64m\n      cpus: 0.5\n";
    live.write("it.yml", &manifest(limited));
    assert!(plan(&live).contains("max_memory: nothing → 64m\n"));
    up(&live).ok();
    assert_eq!(id(&live), second);
    assert_eq!(
        inspect(&live, "web", "page", "{{.HostConfig.Memory}}"),
        "67108864"
    );
    assert_eq!(plan(&live), "no changes\n");

    // The content of what it is built from counts.
    live.write(
        "web/index.cgi",
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho new\n",
    );
    assert!(plan(&live).contains("1 container to replace"));
    up(&live).ok();
    assert_eq!(live.get("web", 80), "new");

    // What somebody stopped is started, what somebody changed is put right.
    live.run(&["exec", "-H", "web", "--", "docker stop -t 0 page"])
        .ok();
    assert!(plan(&live).contains("~ page  start"));
    up(&live).ok();
    assert_eq!(live.get("web", 80), "new");
    live.run(&["exec", "-H", "web", "--", "docker update --restart no page"])
        .ok();
    assert!(plan(&live).contains("restart: no → unless-stopped"));
    up(&live).ok();
    assert_eq!(plan(&live), "no changes\n");

    // It outlives a reboot of its server.
    live.run(&["run", "--yes", "-H", "web", "reboot"]).ok();
    live.run(&["run", "-H", "web", "docker.setup"]).ok();
    assert_eq!(plan(&live), "no changes\n");
    assert_eq!(live.get("web", 80), "new");
}

#[test]
fn servers_are_not_replaced_because_of_an_edit() {
    let live = Live::new().web_server("web");
    live.write("it.yml", &manifest(""));
    up(&live).ok();
    let id = |live: &Live| {
        let run = live.run(&[
            "exec",
            "-H",
            "web",
            "--",
            "cat /etc/ssh/ssh_host_ed25519_key.pub",
        ]);
        run.ok().stdout
    };
    let first = id(&live);

    live.write("it.yml", &manifest("").replace("1x512m", "0.5x256m"));
    assert!(plan(&live).contains("size: 1x512m → 0.5x256m\n"));
    up(&live).ok();
    assert_eq!(live.run(&["nodes"]).ok().rows()[0][2], "0.5x256m");
    assert_eq!(id(&live), first, "resized in place");

    let other = manifest("").replace("  size: 1x512m\n", "  image: debian-13-bare\n");
    live.write("it.yml", &other);
    let refused = up(&live);
    assert_eq!(refused.status, 2, "{refused}");
    let said = "error: server `web`: `size` cannot be changed from 0.5x256m to unlimited";
    assert!(refused.stderr.contains(said), "{refused}");
    assert!(
        refused
            .stderr
            .contains("or replace the server with replace=web"),
        "{refused}"
    );
    live.run(&["run", "--yes", "ensemble.up", "it", "replace=web"])
        .ok();
    assert_ne!(id(&live), first);
    assert_eq!(plan(&live), "no changes\n");
}

#[test]
fn what_is_not_in_the_manifest_is_listed_and_left_alone() {
    let live = Live::new().web_server("web");
    let two = "    stats: {build: web, stop_timeout: 1s}\nold:\n  provider: local\n";
    live.write("it.yml", &manifest(two));
    up(&live).ok();
    let image = inspect(&live, "web", "page", "{{.Config.Image}}");
    let mine = [
        "run",
        "-H",
        "web",
        "docker.run",
        &image,
        "name=mine",
        "stop_timeout=1",
    ];
    live.run(&mine).ok();

    live.write("it.yml", &manifest(""));
    let project = live.project_id();
    let listed = format!(
        "\
not in the manifest, and left alone:
  old, of this manifest: prune=true removes it
  web.mine, belongs to project {project}
  web.stats, of this manifest: prune=true removes it
no changes
"
    );
    assert_eq!(plan(&live), listed);
    up(&live).ok();
    assert_eq!(plan(&live), listed);
    live.run(&["run", "--yes", "ensemble.up", "it", "prune=true"])
        .ok();
    assert_eq!(
        plan(&live),
        format!(
            "not in the manifest, and left alone:\n  web.mine, belongs to project {project}\n\
             no changes\n"
        )
    );
    let names: Vec<String> = live
        .run(&["docker.ps"])
        .ok()
        .rows()
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    assert_eq!(names, ["mine", "page"]);
}

#[test]
fn counts_grow_and_shrink_without_renumbering() {
    let live = Live::new();
    live.write("it.yml", "web:\n  provider: local\n  count: 2\n");
    up(&live).ok();
    let names = |live: &Live| -> Vec<String> {
        live.run(&["nodes"])
            .ok()
            .rows()
            .into_iter()
            .map(|row| row[1].clone())
            .collect()
    };
    assert_eq!(names(&live), ["web", "web-1"]);
    live.write("it.yml", "web:\n  provider: local\n  count: 3\n");
    let grown = up(&live).ok();
    assert!(grown.stderr.contains("1 server to create"), "{grown}");
    live.write("it.yml", "web:\n  provider: local\n");
    live.run(&["run", "--yes", "ensemble.up", "it", "prune=true"])
        .ok();
    assert_eq!(names(&live), ["web"]);
}

/// A container that does not become ready: the old one comes back, the new one is kept.
#[test]
fn a_failed_replacement_is_taken_back() {
    let live = Live::new().web_server("web");
    live.write("it.yml", &manifest("      environment: {ANSWER: good}\n"));
    up(&live).ok();
    let bad = "      environment: {ANSWER: bad}\n      command: sh -c \"echo broken; exit 9\"\n";
    live.write("it.yml", &manifest(bad));
    let failed = up(&live);
    assert_eq!(failed.status, 1, "{failed}");
    assert!(failed.stderr.contains("container `page` ended"), "{failed}");
    assert!(failed.stderr.contains("broken"), "its last lines: {failed}");
    let ps = live.run(&["run", "docker.ps"]).ok();
    assert_eq!(ps.rows()[0][0], "page", "{failed}{ps}");
    assert_eq!(live.get("web", 80), "good");
    assert_eq!(
        inspect(&live, "web", "page.failed", "{{.State.ExitCode}}"),
        "9"
    );
    live.write("it.yml", &manifest("      environment: {ANSWER: better}\n"));
    up(&live).ok();
    assert_eq!(live.get("web", 80), "better");
    assert_eq!(plan(&live), "no changes\n");
}

/// Having been started is not having been ready.
#[test]
fn what_was_never_ready_is_not_up() {
    let live = Live::new().web_server("web");
    for (never, cause) in [
        ("exec: \"false\"", "`false` ended with status 1"),
        ("exec: \"false\"", "`false` ended with status 1"),
        ("exec: ls /nosuch", "`ls /nosuch` ended with status "),
        ("tcp: 81", "nothing accepts connections on its port 81"),
        (
            "http: /x, port: 81",
            "GET /x on its port 81: nothing accepts connections",
        ),
    ] {
        let never = format!("      ready: {{{never}, timeout: 500ms}}\n");
        live.write(
            "it.yml",
            &manifest(&never).replace("      ready: {tcp: 80}\n", ""),
        );
        let failed = up(&live);
        assert_eq!(failed.status, 1, "{failed}");
        let cause = format!("container `page` was not ready within 0.5 s: {cause}");
        assert!(failed.stderr.contains(&cause), "{failed}");
    }
    live.write("it.yml", &manifest("      environment: {ANSWER: ready}\n"));
    up(&live).ok();
    assert_eq!(live.get("web", 80), "ready");
}

/// What the image declares as a volume, and nobody named, is the container's data all the same.
#[test]
fn a_replacement_keeps_the_data() {
    let live = Live::new().web_server("web");
    let dockerfile = std::fs::read_to_string(live.root().join("web/Dockerfile")).unwrap();
    live.write("web/Dockerfile", &format!("{dockerfile}VOLUME /data\n"));
    live.write("it.yml", &manifest("      environment: {ANSWER: one}\n"));
    up(&live).ok();
    let within = |command: &str| {
        let line = format!("docker exec page {command}");
        live.run(&["exec", "-H", "web", "--", &line]).ok().stdout
    };
    within("sh -c 'echo kept >/data/file'");
    for answer in ["two", "three"] {
        live.write(
            "it.yml",
            &manifest(&format!("      environment: {{ANSWER: {answer}}}\n")),
        );
        up(&live).ok();
        assert_eq!(live.get("web", 80), answer);
        assert_eq!(within("cat /data/file"), "kept\n");
        assert_eq!(plan(&live), "no changes\n");
    }
}

#[test]
fn down_ends_what_was_made_for_the_manifest_and_nothing_else() {
    let live = Live::new().web_server("web");
    live.run(&["run", "create", "name=mine"]).ok();
    let container = "{provider: local, containers: {page: {build: web, ready: {tcp: 80}}}}";
    live.write(
        "it.yml",
        &format!("mine: {container}\nold: {{provider: local}}\n"),
    );
    up(&live).ok();
    // `old` is no longer in the manifest, and was made for it; `mine` was not.
    live.write("it.yml", &format!("mine: {container}\n"));
    let other = live.run(&["run", "--yes", "ensemble.up", "other/it"]);
    assert_eq!(other.status, 3, "{other}");
    live.write("other/it.yml", "old: {provider: local}\n");
    let other = live.run(&["run", "--yes", "ensemble.up", "other/it"]);
    assert_eq!(other.status, 2, "{other}");
    let cause = "belongs to manifest `it` of project";
    assert!(other.stderr.contains(cause), "{other}");

    let down = live.run(&["run", "--yes", "ensemble.down", "it"]).ok();
    assert!(
        down.stderr
            .contains("- mine.page  removed\n- old  removed\n"),
        "{down}"
    );
    let nodes = live.run(&["nodes"]).ok().rows();
    assert_eq!(nodes.len(), 1, "{nodes:?}");
    assert_eq!(nodes[0][1], "mine");
    assert_eq!(live.run(&["docker.ps"]).ok().rows().len(), 0);
    let again = live.run(&["run", "--yes", "ensemble.down", "it"]).ok();
    assert_eq!(again.stderr.lines().last(), Some("nothing of `it` exists"));
}

/// A manifest that was emptied by mistake says what is there.
#[test]
fn an_empty_manifest_forgets_nothing() {
    let live = Live::new().file("it.yml", "web: {provider: local}\n");
    up(&live).ok();
    live.write("it.yml", "");
    let shown = plan(&live);
    assert!(
        shown.contains("web, of this manifest: prune=true removes it"),
        "{shown}"
    );
    live.run(&["run", "--yes", "ensemble.down", "it"]).ok();
    assert_eq!(live.run(&["nodes"]).ok().rows().len(), 0);
}

/// What fails stops only what needs it.
#[test]
fn a_failure_stops_only_its_dependents() {
    let live = Live::new().web_server("web").file(
        "it.yml",
        "\
one:
  provider: local
  containers:
    broken: {build: web, command: \"sh -c 'exit 1'\"}
two:
  provider: local
  containers:
    fine: {build: web, stop_timeout: 1s}
    waits: {build: web, environment: {A: \"${one.containers.broken.ip}\"}}
",
    );
    let run = up(&live);
    assert_eq!(run.status, 1, "{run}");
    let table: Vec<Vec<&str>> = run
        .stderr
        .lines()
        .skip_while(|line| !line.starts_with("resource "))
        .skip(1)
        .take(5)
        .map(|line| line.split_whitespace().take(2).collect())
        .collect();
    assert_eq!(
        table,
        [
            ["one", "changed"],
            ["one.broken", "failed"],
            ["two", "changed"],
            ["two.fine", "changed"],
            ["two.waits", "skipped"],
        ],
        "{run}"
    );
    assert!(
        run.stderr
            .contains("5 resources: 3 changed, 1 failed, 1 skipped"),
        "{run}"
    );
}

#[test]
fn containers_on_an_unmanaged_server() {
    let live = Live::new().web_server("web");
    live.run(&["run", "create", "name=web"]).ok();
    let ip = live.ip("web");
    let key = live.home().join(".local/share/hitc/id_ed25519");
    let key = key.to_str().unwrap();
    let manifest = format!(
        "{ip}:\n  containers:\n    page: {{build: web, ports: [80], ready: {{tcp: 80}}, \
         stop_timeout: 1s, environment: {{ANSWER: \"${{host.ip}}\"}}}}\n"
    );
    live.write("it.yml", &manifest);
    live.run(&["run", "--yes", "-i", key, "ensemble.up", "it"])
        .ok();
    assert_eq!(live.get("web", 80), ip);
    let plan = live.run(&["run", "-i", key, "ensemble.plan", "it"]).ok();
    assert_eq!(plan.stdout, "no changes\n");
    live.run(&["run", "--yes", "-i", key, "ensemble.down", "it"])
        .ok();
    assert_eq!(
        live.run(&["nodes"]).ok().rows().len(),
        1,
        "the server stays"
    );
    assert_eq!(live.run(&["docker.ps"]).ok().rows().len(), 0);
}

/// Servers that are created at the same time get one and the same image of a folder that was never
/// built before.
#[test]
fn an_image_is_built_once() {
    let live = Live::new().web_server("web");
    let now = std::time::SystemTime::now();
    live.write("web/new", &format!("{now:?}"));
    let dockerfile = std::fs::read_to_string(live.root().join("web/Dockerfile")).unwrap();
    live.write("web/Dockerfile", &format!("{dockerfile}COPY new /new\n"));
    let mut manifest = "templates: {web: {build: web, stop_timeout: 1s}}\n".to_owned();
    for server in 0..4 {
        manifest.push_str(&format!(
            "s{server}:\n  provider: local\n  containers:\n    page: {{template: web}}\n    \
             other: {{template: web}}\n"
        ));
    }
    live.write("it.yml", &manifest);
    let ran = up(&live).ok();
    let is_begin = |line: &&str| line.contains("building hitc/web:") && !line.contains(": Step");
    let begun: Vec<&str> = ran.stderr.lines().filter(is_begin).collect();
    assert_eq!(begun.len(), 1, "{ran}");
    let mut images: Vec<String> = (0..4)
        .flat_map(|server| ["page", "other"].map(|name| (format!("s{server}"), name)))
        .map(|(server, name)| inspect(&live, &server, name, "{{.Image}}"))
        .collect();
    images.dedup();
    assert_eq!(images.len(), 1, "{images:?}");
    assert_eq!(plan(&live), "no changes\n");
}

/// A volume that is created for a container carries its owner. One that exists stays as it is.
#[test]
fn volumes_have_owners() {
    let live = Live::new().web_server("web");
    let volumes = |volumes: &str| manifest(&format!("      volumes: {volumes}\n"));
    live.write("it.yml", &manifest(""));
    up(&live).ok();
    let exec = |line: &str| live.run(&["exec", "-H", "web", "--", line]).ok().stdout;
    exec("docker volume create theirs");
    live.write(
        "it.yml",
        &volumes("{data: /data, theirs: /theirs, /srv: /srv}"),
    );
    up(&live).ok();
    let format = "'{{index .Labels \"hitc.project\"}} {{index .Labels \"hitc.manifest\"}}'";
    let labels = |volume: &str| exec(&format!("docker volume inspect -f {format} {volume}"));
    assert_eq!(labels("data"), format!("{} it\n", live.project_id()));
    assert_eq!(labels("theirs"), " \n");
    assert_eq!(plan(&live), "no changes\n");
}

/// For scripts that only look.
#[test]
fn the_exit_status_of_a_plan() {
    let live = Live::new().file("it.yml", "web:\n  provider: local\n");
    let plan = ["ensemble.plan", "it", "--exit-code"];
    let run = live.run(&plan);
    assert_eq!(run.status, 5, "{run}");
    assert_eq!(run.errors(), ["error: there are changes to make"]);
    live.run(&["ensemble.up", "it", "-y"]).ok();
    live.run(&plan).ok();
}
