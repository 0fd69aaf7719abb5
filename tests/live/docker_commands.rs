//! The tasks for containers on servers: ps, kill, stop, start, restart, inspect, top, stats, networks,
//! volumes, prune.

use crate::support::{Run, live::Live};

/// Builds the image `hitc/commands:1`, which has a shell and its tools. Returns its name.
pub(super) fn image(live: &Live) -> &'static str {
    const IMAGE: &str = "hitc/commands:1";
    const DOCKERFILE: &str = "FROM hitc/debian:13 AS tools\nFROM scratch\n\
        COPY --from=tools /usr/bin/busybox /bin/busybox\n\
        RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
        CMD [\"sh\", \"-c\", \"trap exit TERM; while :; do sleep 1 & wait; done\"]\n";
    live.write("image/Dockerfile", DOCKERFILE);
    let root = live.root().join("image");
    crate::support::live::docker(&["build", "-q", "-t", IMAGE, root.to_str().unwrap()]);
    IMAGE
}

/// Servers with the image of [`image`], and its name.
pub(super) fn servers(count: usize) -> (Live, &'static str) {
    let live = Live::new();
    let image = image(&live);
    let count = format!("count={count}");
    live.run(&["run", "create", "name=web", &count]).ok();
    live.run(&["run", "-R", "web", "docker.push", image]).ok();
    (live, image)
}

/// Starts a container of this project.
pub(super) fn start(live: &Live, image: &str, options: &[&str]) -> Run {
    let run = ["run", "-R", "web", "docker.run", image];
    live.run(&[&run[..], options].concat()).ok()
}

/// Runs a shell command on all servers.
pub(super) fn exec(live: &Live, line: &str) -> String {
    live.run(&["-o", "raw", "exec", "-R", "web", "--", line])
        .ok()
        .stdout
}

/// The names and states of all containers.
fn states(live: &Live) -> String {
    let rows = live.run(&["docker.ps", "all=true"]).ok().rows();
    let states: Vec<String> = rows.iter().map(|row| row[..2].join(" ")).collect();
    states.join(", ")
}

/// Images that hitc built for this project are removed when nothing uses them, and no others. Their label
/// makes no container one of the project.
#[test]
fn built_images_are_pruned() {
    let (live, image) = servers(1);
    live.write(
        "hitcfile.rhai",
        "/// Up.\n/// @param folder  what\n\
         fn up(host, folder) { docker::run(host, #{ build: folder, name: folder, replace: true }); }\n",
    );
    for (folder, text) in [("used", "one"), ("idle", "two"), ("kit", "three")] {
        // With an id of this test, so that no other one has built it.
        let id = live.project_id();
        let run = if folder == "kit" {
            "RUN --mount=type=cache,target=/c true\n"
        } else {
            ""
        };
        let file = format!("FROM {image}\n{run}LABEL text=\"{text} {id}\"\n");
        live.write(&format!("{folder}/Dockerfile"), &file);
        live.run(&["run", "-R", "web", "up", folder]).ok();
    }
    // A newer version of what is used.
    let file = format!("FROM {image}\nLABEL text=\"newer {}\"\n", live.project_id());
    live.write("used/Dockerfile", &file);
    live.run(&["run", "-R", "web", "up", "used"]).ok();
    let versions = || exec(&live, "docker images -q hitc/used | wc -l");
    assert_eq!(versions(), "2\n");
    let images = || {
        let listed = exec(&live, "docker images --format '{{.Repository}}' | sort -u");
        listed.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    live.run(&["run", "-R", "web", "docker.kill", "idle"]).ok();
    live.run(&["run", "-R", "web", "docker.kill", "kit"]).ok();
    assert_eq!(
        images(),
        ["hitc/commands", "hitc/idle", "hitc/kit", "hitc/used"]
    );
    // A container and an image of others that inherit the label, and an image of another project.
    exec(
        &live,
        "set -e; docker run --name theirs $(docker images -q hitc/idle) true; docker commit theirs other; \
         docker rm theirs; docker run --name theirs $(docker inspect -f '{{.Image}}' used) true; \
         echo FROM hitc/commands:1 | docker build -q --label hitc.built.project=other -t hitc/other - ",
    );
    let refused = live.run(&["run", "-R", "web", "docker.kill", "theirs"]);
    assert!(
        refused.stderr.contains("was not created by hitc"),
        "{refused}"
    );
    live.run(&["run", "--yes", "--all", "docker.prune"]).ok();
    assert_eq!(
        images(),
        ["hitc/commands", "hitc/other", "hitc/used", "other"]
    );
    assert_eq!(versions(), "1\n");
    assert_eq!(states(&live), "theirs exited, used running");
}

#[test]
fn containers_are_listed_stopped_started_and_killed() {
    let (live, image) = servers(1);
    start(&live, image, &["name=shop"]);
    start(&live, image, &["name=cart"]);
    assert_eq!(states(&live), "cart running, shop running");
    let json = live.run(&["-o", "json", "docker.ps"]).ok();
    let table = json.stdout.lines().find(|line| line.contains("\"table\""));
    let table: serde_json::Value = serde_json::from_str(table.unwrap()).unwrap();
    assert_eq!(table["rows"][1]["name"], "shop");
    assert_eq!(table["rows"][1]["image"], image);

    let on = |task: &str, options: &[&str]| {
        live.run(&[&["run", "-H", "web", task][..], options].concat())
    };
    on("docker.stop", &["shop,cart"]).ok();
    assert_eq!(states(&live), "cart exited, shop exited");
    assert_eq!(live.run(&["docker.ps"]).ok().rows().len(), 0);
    on("docker.start", &["shop"]).ok();
    on("docker.restart", &["cart", "timeout=1s"]).ok();
    assert_eq!(states(&live), "cart running, shop running");
    let wrong = on("docker.stop", &["shop", "timeout=soon"]);
    assert!(
        wrong.stderr.contains("timeout: invalid duration `soon`"),
        "{wrong}"
    );
    let dry = live
        .run(&["run", "--dry-run", "-H", "web", "docker.stop", "shop"])
        .ok();
    assert!(
        dry.stderr.contains("would stop container shop on web"),
        "{dry}"
    );

    on("docker.kill", &["cart", "rm=false"]).ok();
    assert_eq!(states(&live), "cart exited, shop running");
    on("docker.kill", &["cart"]).ok();
    let missing = on("docker.kill", &["shopp"]);
    assert_eq!(missing.status, 1);
    assert!(
        missing
            .stderr
            .contains("host `web`: container `shopp` not found")
            && missing.stderr.contains("did you mean `shop`?"),
        "{missing}"
    );

    // What another program started is left alone.
    exec(&live, &format!("docker run -d --name foreign {image}"));
    for task in [
        "docker.kill",
        "docker.stop",
        "docker.start",
        "docker.restart",
    ] {
        let refused = on(task, &["foreign"]);
        assert_eq!(refused.status, 1);
        let message = "host `web`: container `foreign` was not created by hitc";
        assert!(refused.stderr.contains(message), "{refused}");
    }
    on("docker.kill", &["foreign", "adopt=true"]).ok();
    assert_eq!(states(&live), "shop running");
}

#[test]
fn details_resources_and_pruning() {
    let (live, image) = servers(1);
    live.write("secret.env", "TOKEN=hunter2hunter2\n");
    let options = ["name=shop", "env_file=secret.env", "environment=PLAIN=1"];
    start(
        &live,
        image,
        &[&options[..], &["volumes=data:/data"]].concat(),
    );
    let on = |words: &[&str]| live.run(&[&["run", "-H", "web"][..], words].concat());
    exec(
        &live,
        "docker network create --label hitc.project=other other; docker volume create theirs",
    );
    let inspected = on(&["docker.inspect", "shop"]).ok();
    let json: serde_json::Value = serde_json::from_str(&inspected.stdout).unwrap();
    assert_eq!(json["Name"], "/shop");
    assert!(!inspected.stdout.contains("hunter2"), "{inspected}");
    let variables = json["Config"]["Env"].as_array().unwrap();
    assert!(variables.contains(&"TOKEN=***".into()) && variables.contains(&"PLAIN=1".into()));

    let top = on(&["docker.top", "shop"]).ok();
    assert!(top.stdout.lines().next().unwrap().contains("PID"), "{top}");
    assert!(top.stdout.contains("sleep 1"), "{top}");
    let stats = live.run(&["docker.stats"]).ok();
    let rows = stats.rows();
    assert_eq!(rows[0][..2], ["web", "shop"], "{stats}");
    assert!(
        rows[0][2].ends_with(" %") && rows[0][3].ends_with("iB"),
        "{stats}"
    );

    let rows = live.run(&["docker.volumes"]).ok().rows();
    assert_eq!(
        rows[0],
        [
            "data",
            "local",
            "/var/lib/docker/volumes/data/_data",
            "this project"
        ]
    );
    let networks = live.run(&["docker.networks"]).ok();
    let other = networks
        .rows()
        .into_iter()
        .find(|row| row[0] == "other")
        .unwrap();
    assert_eq!(other.last().unwrap(), "project other", "{networks}");
    let reported = live.run(&["docker.events", "since=10m", "until=1s"]).ok();
    assert!(
        reported.stdout.contains(" network other: create"),
        "{reported}"
    );
    assert!(
        reported.stdout.contains(" container shop: rename"),
        "{reported}"
    );

    // What is in use, and what others own, stays.
    let nothing = live.run(&["run", "--all", "docker.prune"]).ok();
    assert!(
        nothing.stderr.contains("there is nothing to remove"),
        "{nothing}"
    );
    exec(
        &live,
        "head -c 100000 /dev/zero >/var/lib/docker/volumes/data/_data/file",
    );
    on(&["docker.kill", "shop", "rm=false"]).ok();
    exec(&live, &format!("docker run --name theirs {image} true"));
    let dry = live
        .run(&["run", "--dry-run", "--all", "docker.prune"])
        .ok();
    assert!(
        dry.stderr.contains("would remove container shop on web"),
        "{dry}"
    );
    assert!(
        dry.stderr.contains("would remove volume data on web"),
        "{dry}"
    );
    let rows = dry.rows();
    let volume = rows.iter().find(|row| row[1..3] == ["volume", "data"]);
    assert_eq!(volume.unwrap_or_else(|| panic!("{dry}"))[3], "97.7 KiB");
    let unconfirmed = live.run(&["run", "--all", "docker.prune"]);
    assert_ne!(unconfirmed.status, 0, "{unconfirmed}");
    assert_eq!(states(&live), "shop exited, theirs exited");
    live.run(&["run", "--yes", "--all", "docker.prune"]).ok();
    assert_eq!(states(&live), "theirs exited");
    let volumes = live.run(&["docker.volumes"]).ok();
    let names: Vec<String> = volumes
        .rows()
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    assert_eq!(names, ["theirs"]);
    live.run(&["run", "--yes", "--all", "docker.prune", "all=true"])
        .ok();
    assert_eq!(states(&live), "");
    assert_eq!(live.run(&["docker.volumes"]).ok().rows().len(), 0);
}
