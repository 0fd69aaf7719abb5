//! Replicas that are replaced in batches, and containers that never become ready.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::support::live::Live;

/// Three replicas on as many servers.
fn manifest(container: &str) -> String {
    format!(
        "web:\n  provider: local\n  count: 3\n  containers:\n    page:\n      build: web\n      \
         ports: [80]\n{container}"
    )
}

fn answers(live: &Live) -> Vec<String> {
    ["web", "web-1", "web-2"]
        .map(|server| live.get(server, 80))
        .to_vec()
}

/// Whether the server on port 80 of this address answers a request, at the first attempt.
fn is_answered(ip: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect((ip, 80)) else {
        return false;
    };
    let limit = Some(Duration::from_secs(10));
    stream.set_read_timeout(limit).unwrap();
    let mut text = String::new();
    let asked = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
    asked.is_ok() && stream.read_to_string(&mut text).is_ok() && text.contains(" 200 ")
}

/// A release that never becomes ready takes one replica for a moment. The command in the summary goes on.
#[test]
fn a_failed_batch_leaves_the_rest_untouched() {
    let live = Live::new().web_server("web");
    let good =
        "      ready: {tcp: 80}\n      stop_timeout: 1s\n      environment: {ANSWER: good}\n";
    live.write("it.yml", &manifest(good));
    live.run(&["ensemble.up", "-y"]).ok();
    // It ignores SIGTERM: stopping it would take a minute.
    let bad = "      ready: {tcp: 81, timeout: 1s}\n      stop_timeout: 1m\n      environment: {ANSWER: bad}\n";
    live.write("it.yml", &manifest(bad));
    let shown = live.run(&["ensemble.plan", "it"]).ok();
    let note =
        "all 3 replicas of `web.page` are replaced at once; with --batch 1, one after the other";
    assert!(shown.stderr.contains(note), "{shown}");
    let shown = live.run(&["ensemble.plan", "it", "--batch", "1"]).ok();
    for line in [
        "batch 1 of 3\n",
        "batch 2 of 3, after web.page\n",
        "batch 3 of 3, after web-1.page\n",
    ] {
        assert!(shown.stdout.contains(line), "{shown}");
    }
    assert!(!shown.stderr.contains("at once"), "{shown}");
    let shown = live.run(&["ensemble.plan", "it", "-P", "1"]).ok();
    let third = "batch 3 of 3, after web-1.page\n";
    assert!(shown.stdout.contains(third), "{shown}");
    let started = Instant::now();
    let failed = live.run(&["ensemble.up", "it", "-y", "--batch", "1"]);
    assert!(started.elapsed() < Duration::from_secs(30), "{failed}");
    assert_eq!(failed.status, 1, "{failed}");
    for text in [
        "container `page` was not ready within 1 s: nothing accepts connections on its port 81",
        "the previous container runs again",
        "not changed: web-1.page, web-2.page; go on with `hitc ensemble.up it --batch 1`",
    ] {
        assert!(failed.stderr.contains(text), "{failed}");
    }
    assert_eq!(answers(&live), ["good"; 3]);
    let better =
        "      ready: {tcp: 80}\n      stop_timeout: 1s\n      environment: {ANSWER: better}\n";
    live.write("it.yml", &manifest(better));
    // At every moment, somebody answers.
    let addresses = ["web", "web-1", "web-2"].map(|server| live.ip(server));
    let mut up = live.spawn(&["ensemble.up", "it", "-y", "--serial"]);
    let status = loop {
        assert!(addresses.iter().any(|ip| is_answered(ip)));
        if let Some(status) = up.try_wait().unwrap() {
            break status;
        }
    };
    assert!(status.success());
    assert_eq!(answers(&live), ["better"; 3]);
    assert_eq!(live.run(&["ensemble.plan"]).ok().stdout, "no changes\n");
}

/// A container that ends again and again is found at once, also while its check waits for an answer.
#[test]
fn a_crash_loop_fails_at_once() {
    let live = Live::new().web_server("web");
    // It accepts a connection and answers nothing, and ends.
    let command = "sh -c \"echo tired; timeout 2 nc -l -p 80; exit 7\"";
    for ready in [
        "{http: /, timeout: 1m}",
        "{tcp: 81, timeout: 1m}",
        "{exec: \"false\", timeout: 1m}",
    ] {
        live.write(
            "it.yml",
            &format!(
                "web:\n  provider: local\n  containers:\n    page:\n      build: web\n      restart: always\n      \
                 ready: {ready}\n      command: {command:?}\n"
            ),
        );
        let started = Instant::now();
        let failed = live.run(&["ensemble.up", "it", "-y"]);
        assert_eq!(failed.status, 1, "{failed}");
        assert!(
            started.elapsed() < Duration::from_secs(40),
            "{ready}: {failed}"
        );
        assert!(
            failed.stderr.contains("container `page` ended"),
            "{ready}: {failed}"
        );
        assert!(failed.stderr.contains("tired"), "its last lines: {failed}");
    }
}

/// A task that replaces containers with what the manifest says does not fight the manifest.
#[test]
fn a_rolling_task_and_the_manifest_agree() {
    let task = "\
/// Deploy.
fn deploy(hosts) {
    hosts.serial(|host| {
        let options = ensemble::container(\"it\", `${host.name}.page`);
        docker::run(host, options);
    });
}
";
    let live = Live::new()
        .web_server("web")
        .file("app.env", "TOKEN=hunter22\n")
        .file("hitcfile.rhai", task);
    let with = |answer: &str| {
        manifest(&format!(
            "      ready: {{tcp: 80}}\n      stop_timeout: 1s\n      env_file: app.env\n      cpus: 0.50\n      \
             labels: {{a: b}}\n      environment: {{ANSWER: {answer}, VERSION: 1.10, IP: \"${{host.ip}}\"}}\n"
        ))
    };
    live.write("it.yml", &with("first"));
    live.run(&["ensemble.up", "-y"]).ok();
    live.write("it.yml", &with("second"));
    let deployed = live.run(&["deploy", "--all"]).ok();
    assert!(!deployed.stderr.contains("hunter22"), "{deployed}");
    assert_eq!(answers(&live), ["second"; 3]);
    assert_eq!(live.run(&["ensemble.plan"]).ok().stdout, "no changes\n");
}

/// Without a name, there must be one manifest.
#[test]
fn the_only_manifest_needs_no_name() {
    let live = Live::new()
        .file("production.yml", "web:\n  provider: local\n")
        .file("compose.yml", "services: {web: {image: x}}\n");
    let plan = live.run(&["ensemble.plan"]).ok();
    assert!(plan.stdout.contains("1 server to create"), "{plan}");
    // As data, and not as text in JSON.
    let json = live.run(&["ensemble.plan", "-o", "json"]).ok();
    let events = json.stdout.lines();
    let events = events.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let plans: Vec<_> = events.filter(|event| event["event"] == "plan").collect();
    assert_eq!(plans.len(), 1, "{json}");
    let operation = &plans[0]["plan"]["steps"][0]["operation"]["kind"];
    assert_eq!(operation, "create_server", "{json}");
    assert!(!json.stdout.contains("1 server to create"), "{json}");
    live.run(&["ensemble.up", "-y", "prune=true"]).ok();
    live.write("envs/staging.yml", "web:\n  provider: local\n");
    let two = live.run(&["ensemble.down", "-y"]);
    assert_eq!(two.status, 2, "{two}");
    let error = "error: which manifest? this project has 2 manifests\nhelp: name one: envs/staging, production\n";
    assert!(two.stderr.ends_with(error), "{two}");
    live.run(&["ensemble.down", "production", "-y"]).ok();
}

/// The state of each resource, and what a plan would do with it.
#[test]
fn the_status_of_a_manifest() {
    let live = Live::new().web_server("web");
    let page = "web:\n  provider: local\n  containers:\n    page: {build: web, ports: [80], ready: {tcp: 80}}\n";
    live.write("it.yml", page);
    let status = |live: &Live| -> Vec<String> {
        let run = live.run(&["ensemble.status", "it", "-o", "json"]);
        let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
        let rows = run.json_rows();
        rows.iter()
            .map(|row| {
                ["resource", "state", "plan"]
                    .map(|key| text(row, key))
                    .join(" | ")
            })
            .collect()
    };
    assert_eq!(
        status(&live),
        ["web | missing | create", "web.page | missing | create"]
    );
    live.run(&["-y", "ensemble.up", "it"]).ok();
    assert_eq!(status(&live), ["web | running | ", "web.page | running | "]);
    let shown = live.run(&["ensemble.status"]).ok().stdout;
    assert!(
        shown.starts_with("resource  state    ip") && shown.contains("web.page  running  172."),
        "{shown}"
    );
    let exec = |line: &str| live.run(&["exec", "-H", "web", "--", line]).ok();
    exec("docker stop page");
    assert_eq!(
        status(&live),
        ["web | running | ", "web.page | stopped | start"]
    );
    live.write("it.yml", &page.replace("[80]", "[80], environment: {A: b}"));
    assert_eq!(
        status(&live),
        ["web | running | ", "web.page | stopped | replace"]
    );
    live.write("it.yml", "web:\n  provider: local\n");
    assert_eq!(
        status(&live),
        ["web | running | ", "web.page | not in the manifest | "]
    );
    live.write("it.yml", page);
    exec("pkill -KILL -x dockerd");
    let run = live.run(&["ensemble.status", "it"]);
    assert!(
        run.status == 1
            && run.stdout.contains("web.page  unknown: ")
            && run.stderr.contains("error: "),
        "{run}"
    );
}
