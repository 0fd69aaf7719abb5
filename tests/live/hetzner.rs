//! Hetzner Cloud, by the provider in `stdlib/`, and other providers that are scripts.

use serde_json::json;

use crate::support::{cloud::Cloud, live::Live};

/// Hetzner's own client finds it faithful.
#[test]
fn the_test_server_is_faithful() {
    let cloud = Cloud::start("hetzner", None, &[]);
    assert_eq!(cloud.drive("hetzner_client.py"), "faithful\n");
}

#[test]
fn an_order() {
    let (cloud, live) = Cloud::hetzner(Live::new(), true);
    let create = ["run", "create", "provider=hetzner", "name=web", "count=2"];
    let run = live.run(&create);
    assert!(
        run.status == 2
            && run
                .stderr
                .contains("2 servers at hetzner: 0.0152 EUR an hour, 9.50 EUR a month (server 8.31, IPv4 address 1.19, 19 % VAT included)"),
        "{run}"
    );
    assert!(!cloud.log().iter().any(|line| line == "POST /v1/servers"));
    live.run(&[&["-y"], &create[..]].concat()).ok();
    // They have no inner address.
    let rows = live.run(&["nodes"]).ok().rows();
    let states: Vec<(&str, &str)> = rows
        .iter()
        .map(|r| (r[1].as_str(), r[4].as_str()))
        .collect();
    assert_eq!(states, [("web", "running"), ("web-1", "running")]);
    let exec = live.run(&["exec", "-R", "web", "--", "id -un"]).ok();
    assert_eq!(exec.stdout.matches("] root\n").count(), 2, "{exec}");
    live.run(&["-y", "run", "-R", "web", "terminate"]).ok();
    assert!(live.run(&["nodes"]).ok().rows().is_empty());
}

#[test]
fn what_is_ours_and_what_it_costs() {
    let (cloud, live) = Cloud::hetzner(Live::new(), false);
    let prefix = live.container("");
    let mut servers = vec![
        json!([format!("{prefix}safe"), {"hitc": "1", "hitc-protect": "1"}]),
        json!(["OTHER-web", {"hitc": "1"}]),
        json!([format!("{prefix}untagged"), {}]),
    ];
    for n in 0..120 {
        servers.push(json!([format!("{prefix}n-{n}"), {"hitc": "1", "hitc-manifest": "a_2fb"}]));
    }
    cloud.post("/_servers", &json!(servers));
    // They carry no project, as those of versions without project ids.
    let rows = live.run(&["nodes", "--any-owner"]).ok().rows();
    assert_eq!(rows.len(), 121);
    let all = live.run(&["nodes", "-o", "json", "--any-owner"]);
    let all = all.ok().json_rows();
    assert_eq!(all[0]["manifest"], "a/b");
    assert_eq!(
        (&all[0]["name"], &all[0]["region"]),
        (&json!("n-0"), &json!("fsn1"))
    );
    let run = live.run(&["-y", "run", "-H", "safe", "--any-owner", "terminate"]);
    assert!(
        run.status == 2 && run.stderr.contains("protected: safe"),
        "{run}"
    );
    let run = live
        .run(&["run", "pricing", "provider=hetzner", "filter=cx"])
        .ok();
    assert_eq!(
        run.stdout,
        "size  memory  cores  disk  cost\ncx23  4.0     2      40    0.007616\ncx33  8.0     4      80    0.011424\n"
    );
    assert_eq!(
        run.stderr,
        "hetzner: EUR an hour, including IPv4 address and 19 % VAT\n"
    );
}

/// Before anything is created.
#[test]
fn what_cannot_be_is_said() {
    let (cloud, live) = Cloud::hetzner(Live::new(), false);
    for (option, error, help) in [
        ("size=cx32", "size `cx32` not found", "did you mean `cx"),
        (
            "region=fns1",
            "region `fns1` not found",
            "did you mean `fsn1`?",
        ),
        (
            "image=debain 13",
            "image `debain-13` not found",
            "did you mean `debian-13`?",
        ),
        (
            "protect=perhaps",
            "protect must be true or false, not `perhaps`",
            "",
        ),
        (
            "szie=cx23",
            "provider `hetzner`: unknown option `szie`",
            "did you mean `size`?",
        ),
    ] {
        let run = live.run(&["-y", "run", "create", "provider=hetzner", "name=x", option]);
        assert_eq!(run.status, 2, "{run}");
        assert!(
            run.stderr.contains(error) && run.stderr.contains(help),
            "{run}"
        );
    }
    assert!(!cloud.log().iter().any(|line| line.starts_with("POST")));
    let live = live.env("HCLOUD_TOKEN", "wrong");
    let run = live.run(&["nodes"]);
    assert!(
        run.stderr
            .contains("the token is not valid (status 401, `unauthorized`)"),
        "{run}"
    );
    assert!(!run.stderr.contains("wrong"), "{run}");
    let live = live.env("HCLOUD_TOKEN", "");
    let run = live.run(&["-y", "run", "create", "provider=hetzner", "name=x"]);
    assert!(
        run.status == 2
            && run.stderr.contains("not configured: no token")
            && run.stderr.contains("HCLOUD_TOKEN"),
        "{run}"
    );
}

/// The provider of the tutorial: a file of the project.
#[test]
fn a_provider_of_ones_own() {
    let live = Live::new().file(
        "providers/shelf.rhai",
        "fn options() { #{ size: \"small\" } }\nfn missing() {}\n\
         fn list() { [#{ id: \"1\", name: \"HITC-box\", size: \"small\", ip: \"192.0.2.1\", state: \"running\" }] }\n",
    );
    let live = live.env("HITC_NAME_PREFIX", "HITC-");
    // Its script notes no owners.
    let rows = live.run(&["nodes", "--any-owner"]).ok().rows();
    let row = rows.iter().find(|row| row[0] == "shelf").unwrap();
    assert_eq!(
        (&*row[1], &*row[2], &*row[3]),
        ("box", "small", "192.0.2.1")
    );
    let run = live.run(&["-y", "run", "-H", "box", "--any-owner", "terminate"]);
    assert!(
        run.status == 2
            && run
                .stderr
                .contains("provider `shelf`: `providers/shelf.rhai` has no `terminate`"),
        "{run}"
    );
    live.write("providers/shelf.rhai", "fn options() { 1 +\n");
    let run = live.run(&["run", "create", "provider=shelf", "name=x"]);
    assert!(
        run.status == 2
            && run
                .stderr
                .contains("providers/shelf.rhai:2: script is incomplete"),
        "{run}"
    );
}

/// None answers before all are asked.
#[test]
fn all_at_once() {
    let (hetzner, live) = Cloud::hetzner(Live::new(), false);
    let (digitalocean, live) = Cloud::digitalocean(live, false);
    let (ec2, live) = Cloud::ec2(live);
    let folder = live.root().join("met");
    std::fs::create_dir(&folder).unwrap();
    for (cloud, path) in [
        (&hetzner, "/v1/servers"),
        (&digitalocean, "/v2/droplets"),
        (&ec2, "DescribeInstances"),
    ] {
        cloud.faults(&json!([{
            "path": path, "times": 1, "kind": "meet", "folder": folder, "count": 3
        }]));
    }
    let run = live.run(&["nodes"]).ok();
    assert_eq!(run.stderr, "");
    assert_eq!(std::fs::read_dir(folder.join("done")).unwrap().count(), 3);
    // Who waited in vain was asked again.
    let asked = || [&hetzner, &digitalocean, &ec2].map(|cloud| cloud.log().len());
    // DigitalOcean lists droplets with GPUs separately.
    assert_eq!(asked(), [1, 2, 1]);
    // What only looks at scripts asks nobody.
    live.run(&["tasks"]).ok();
    assert_eq!(asked(), [1, 2, 1]);
}

/// A server that lost the labels by which hitc recognizes it exists, and still costs money.
#[test]
fn a_server_without_labels_is_not_gone() {
    let (cloud, live) = Cloud::hetzner(Live::new(), false);
    let (name, project) = (live.container("web"), live.project_id());
    cloud.post(
        "/_servers",
        &json!([[name, {"hitc": "1", "hitc-project": project}]]),
    );
    for (left, cause) in [
        (
            json!({"hitc-project": project}),
            "exists, but its label `hitc` is missing",
        ),
        (json!({"hitc": "1"}), "the tag that names its owner"),
        (
            json!({"hitc": "1", "hitc-project": project, "hitc-prefix": "x"}),
            "exists, but its tag for the prefix says `x`",
        ),
    ] {
        cloud.post(
            "/_labels",
            &json!([[name, {"hitc": "1", "hitc-project": project}]]),
        );
        // Keeps the list.
        assert_eq!(live.run(&["nodes"]).ok().rows().len(), 1);
        cloud.post("/_labels", &json!([[name, left]]));
        let run = live.run(&["-y", "run", "-H", "web", "terminate"]);
        assert!(
            run.status == 1
                && run.stderr.contains(cause)
                && run.stderr.contains("nothing was done to it"),
            "{run}"
        );
    }
    assert!(!cloud.log().iter().any(|line| line.starts_with("DELETE")));
    // One that is gone is.
    cloud.post(
        "/_labels",
        &json!([[name, {"hitc": "1", "hitc-project": project}]]),
    );
    live.write(
        "hitcfile.rhai",
        "/// T.\nfn twice(host) { provider::terminate([host]); provider::terminate([host]); }\n",
    );
    live.run(&["-y", "run", "-H", "web", "twice"]).ok();
    assert!(live.run(&["nodes"]).ok().rows().is_empty());
}

/// Nor is one whose script can only list.
#[test]
fn a_listed_server_of_another_prefix_is_not_gone() {
    let live = Live::new();
    let (name, project) = (live.container("box"), live.project_id());
    live.write("name", &name);
    live.write(
        "providers/shelf.rhai",
        &format!(
            "fn options() {{ #{{}} }}\nfn missing() {{}}\nfn terminate(node) {{ throw \"terminated\"; }}\n\
             fn list() {{ let name = fs::read(\"name\"); name.trim(); \
             [#{{ id: \"1\", name: name, state: \"running\", project: \"{project}\" }}] }}\n"
        ),
    );
    live.write(
        "hitcfile.rhai",
        "/// T.\nfn end(host) { local::run(\"echo OTHER-box >name\"); provider::terminate([host]); }\n",
    );
    let run = live.run(&["-y", "run", "-H", "box", "end"]);
    assert!(
        run.status == 1
            && run
                .stderr
                .contains("exists, but its name `OTHER-box` does not begin with the prefix "),
        "{run}"
    );
}

/// A firewall of the project is not changed. It does not filter private networks.
#[test]
fn rules_that_a_firewall_lacks() {
    let (cloud, live) = Cloud::hetzner(Live::new(), true);
    live.run(&["-y", "run", "create", "provider=hetzner", "name=web"])
        .ok();
    let rule = |port: &str| {
        json!({
            "direction": "in", "protocol": "tcp", "port": port, "source_ips": ["0.0.0.0/0", "::/0"]
        })
    };
    let ping = json!({
        "direction": "in", "protocol": "icmp", "port": null, "source_ips": ["0.0.0.0/0"]
    });
    let rules = [rule("22"), rule("8000-8100"), ping];
    cloud.post("/_firewall", &json!({ "name": "edge", "rules": rules }));
    let apply = [
        "run",
        "-H",
        "web",
        "iptables.apply",
        "8080=*",
        "443=*",
        "5432=10.0.0.0/8",
    ];
    let run = live.run(&apply).ok();
    let warning = "warning: server `web`: firewall `edge` at hetzner does not admit 443/tcp from *: add the \
                   rule there\n";
    assert!(run.stderr.contains(warning), "{run}");
    assert_eq!(run.stderr.matches("does not admit").count(), 1, "{run}");

    // The token may not allow to read it.
    let body = json!({ "error": { "code": "forbidden", "message": "no permission" } });
    let fault = json!([{ "method": "GET", "path": "/v1/firewalls", "times": 9, "status": 403, "body": body }]);
    cloud.faults(&fault);
    let open = ["run", "-H", "web", "iptables.open", "8081", "*"];
    let run = live.run(&open).ok();
    let warning =
        "warning: server `web`: whether a firewall at hetzner is in front of it is unknown: ";
    assert!(run.stderr.contains(warning), "{run}");
}
