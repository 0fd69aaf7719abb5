//! `hitc run costs` and `hitc run provider.check`.

use std::{collections::BTreeSet, fs};

use regex::Regex;
use serde_json::{Value as Json, json};

use crate::support::{Run, cloud::Cloud, live::Live, sources};

/// Runs `create` at a provider.
fn create(live: &Live, provider: &str, options: &[&str]) {
    let provider = format!("provider={provider}");
    live.run(&[&["-y", "run", "create", &provider], options].concat())
        .ok();
}

/// The table that a task prints, without the spaces that align its columns.
fn table(run: Run) -> Vec<String> {
    let text = run.ok().stdout;
    text.lines()
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
        })
        .map(|cells| cells.collect::<Vec<&str>>().join(" | "))
        .collect()
}

#[test]
fn of_droplets_and_local_servers() {
    let (cloud, live) = Cloud::reachable_digitalocean();
    create(&live, "digitalocean", &["name=web", "count=2"]);
    create(&live, "digitalocean", &["name=db", "size=s-2vcpu-4gb"]);
    create(&live, "local", &["name=web-7"]);
    // Of another project.
    cloud.post(
        "/_droplets",
        &json!([["HITC-x", ["hitc", "hitc:project:other"]]]),
    );
    assert_eq!(
        table(live.run(&["run", "costs"])),
        [
            "provider | role | servers | month | currency | includes | unknown",
            "digitalocean | db | 1 | 24.00 | USD",
            "digitalocean | web | 2 | 12.00 | USD",
            "local | behind | 1 | 0.00",
            "local | web | 1 | 0.00",
            "total | 36.00 | USD",
        ]
    );
}

#[test]
fn of_servers_at_hetzner() {
    let (_cloud, live) = Cloud::reachable_hetzner();
    create(&live, "hetzner", &["name=web", "count=2"]);
    create(&live, "hetzner", &["name=db", "size=cx33"]);
    assert_eq!(
        table(live.run(&["run", "costs", "--servers"])),
        [
            "provider | name | month | currency | includes | unknown",
            "hetzner | db | 7.13 | EUR | IPv4 address 0.60, server 6.53, 19 % VAT",
            "hetzner | web | 4.75 | EUR | IPv4 address 0.60, server 4.15, 19 % VAT",
            "hetzner | web-1 | 4.75 | EUR | IPv4 address 0.60, server 4.15, 19 % VAT",
            "local | behind | 0.00",
            "total | 16.62 | EUR",
        ]
    );
}

#[test]
fn of_instances() {
    let (cloud, live) = Cloud::reachable_ec2();
    create(&live, "ec2", &["name=web"]);
    assert_eq!(
        table(live.run(&["run", "costs"])),
        [
            "provider | role | servers | month | currency | includes | unknown",
            "ec2 | web | 1 | 12.04 | USD | IPv4 address 3.65, disks 0.80, instance 7.59",
            "local | behind | 1 | 0.00",
            "total | 12.04 | USD",
        ]
    );
    let costs = live.run(&["costs", "-o", "json"]).ok().json_rows();
    assert_eq!(
        costs[0],
        json!({
            "provider": "ec2", "role": "web", "name": "web", "servers": 1, "known": true,
            "currency": "USD", "amount": 12.042, "month": "12.04", "tax": "",
            "includes": "IPv4 address 3.65, disks 0.80, instance 7.59",
            "parts": {"instance": 7.592, "IPv4 address": 3.65, "disks": 0.8},
            "unknown": "", "unknown_parts": [],
        })
    );
    cloud.boto(
        "i = ec2.describe_instances()['Reservations'][0]['Instances'][0]['InstanceId']\n\
         ec2.stop_instances(InstanceIds=[i])",
    );
    assert_eq!(
        table(live.run(&["run", "costs"])),
        [
            "provider | role | servers | month | currency | includes | unknown",
            "ec2 | web | 1 | 0.80 | USD | disks 0.80",
            "local | behind | 1 | 0.00",
            "total | 0.80 | USD",
        ]
    );
}

/// The lines of `provider.check`: what, result and detail.
fn checked(live: &Live, provider: &str) -> (i32, Vec<Vec<String>>, String) {
    let run = live.run(&["run", "provider.check", provider, "-o", "json"]);
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let line = |line: &Json| {
        ["what", "result", "detail"]
            .map(|key| text(&line[key]))
            .to_vec()
    };
    let lines = run.json_rows().iter().map(line).collect();
    (run.status, lines, format!("{}{}", run.stdout, run.stderr))
}

/// The lines whose result is not `ok`.
fn not_ok(lines: &[Vec<String>]) -> Vec<&[String]> {
    let bad = lines.iter().filter(|line| line[1] != "ok");
    bad.map(Vec::as_slice).collect()
}

#[test]
fn a_token_of_digitalocean_that_lacks_scopes() {
    let (cloud, live) = Cloud::reachable_digitalocean();
    let (status, lines, said) = checked(&live, "digitalocean");
    assert_eq!((status, not_ok(&lines)), (0, vec![]), "{said}");
    assert_eq!(
        lines[..3],
        [
            ["account", "ok", "active"],
            [
                "room for droplets",
                "ok",
                "0 with hitc's tag, of at most 25 in all"
            ],
            ["regions:read", "ok", ""],
        ]
    );
    cloud.set(&json!({"scopes": [
        "account:read", "regions:read", "sizes:read", "image:read", "actions:read", "droplet:read",
        "droplet:create", "ssh_key:read", "ssh_key:create", "tag:read", "tag:create", "firewall:read",
        "reserved_ip:read"
    ]}));
    let (status, lines, said) = checked(&live, "digitalocean");
    let scope = "create a token with this scope";
    assert_eq!(
        not_ok(&lines),
        [
            ["droplet:update", "missing", scope],
            ["droplet:delete", "missing", scope],
            ["tag:delete", "missing", scope],
        ]
    );
    assert_eq!(status, 1);
    assert!(
        said.contains(
            "provider `digitalocean`: missing: droplet:update, droplet:delete, tag:delete"
        ),
        "{said}"
    );
    // Nothing came of it.
    cloud.set(&json!({"scopes": null}));
    assert_eq!(cloud.get("/_count"), json!(0));
    assert_eq!(cloud.violations(), json!([]));
}

#[test]
fn a_token_of_hetzner_that_may_only_read() {
    let (cloud, live) = Cloud::reachable_hetzner();
    let limits = "see Limits of the project at https://console.hetzner.cloud";
    let (status, lines, said) = checked(&live, "hetzner");
    assert_eq!(status, 0, "{said}");
    assert_eq!(
        lines,
        [
            ["read", "ok", ""],
            ["write", "ok", ""],
            ["limits", "unknown", limits],
        ]
    );
    cloud.set(&json!({"scopes": ["read"]}));
    let (status, lines, _) = checked(&live, "hetzner");
    assert_eq!(
        (status, lines[1].join(" ").as_str()),
        (
            1,
            "write missing create a token with the permission Read & Write"
        )
    );
    assert_eq!(cloud.get("/_count"), json!(0));
}

#[test]
fn credentials_of_aws_that_lack_an_action() {
    let (cloud, live) = Cloud::reachable_ec2();
    let (status, lines, said) = checked(&live, "ec2");
    assert_eq!(status, 0, "{said}");
    let quotas = "see `aws service-quotas list-service-quotas --service-code ec2`";
    assert_eq!(not_ok(&lines), [["quotas", "unknown", quotas]]);
    let error = |code: &str| {
        format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>You are not authorized.</Message></Error></Errors></Response>"
        )
    };
    let fault = |path: &str, code: &str| json!({"path": path, "times": 9, "status": 403, "body": error(code)});
    cloud.faults(&json!([
        fault("RunInstances", "UnauthorizedOperation"),
        fault("CreateTags", "AuthFailure"),
    ]));
    let (status, lines, _) = checked(&live, "ec2");
    assert_eq!(
        not_ok(&lines),
        [
            [
                "ec2:RunInstances",
                "missing",
                "add it to the policy: docs/ec2.md"
            ],
            ["ec2:CreateTags", "unknown", "You are not authorized."],
            ["quotas", "unknown", quotas],
        ]
    );
    assert_eq!(status, 1);
    assert_eq!(cloud.get("/_count"), json!(0));
}

#[test]
fn a_role_of_google_that_lacks_permissions() {
    let (cloud, live) = Cloud::gcp(Live::new(), false);
    let (status, lines, said) = checked(&live, "gcp");
    assert_eq!((status, not_ok(&lines)), (0, vec![]), "{said}");
    let quotas = lines.iter().filter(|line| line[0].starts_with("quota"));
    let quotas: Vec<Vec<String>> = quotas.cloned().collect();
    assert_eq!(
        quotas,
        [
            ["quota CPUS", "ok", "0.0 of 24.0 in europe-west1"],
            ["quota INSTANCES", "ok", "0.0 of 24.0 in europe-west1"],
            ["quota IN_USE_ADDRESSES", "ok", "0.0 of 4.0 in europe-west1"],
        ]
    );
    cloud.set(&json!({"scopes": ["compute.instances.list"]}));
    let (status, lines, _) = checked(&live, "gcp");
    assert_eq!(status, 1);
    let missing = [
        "compute.instances.create",
        "missing",
        "add it to the role: docs/gcp.md",
    ];
    assert!(not_ok(&lines).contains(&missing.map(str::to_owned).as_slice()));
}

/// What the page of a cloud says that hitc needs is what is tried.
#[test]
fn the_permissions_of_the_pages_are_tried() {
    let named = |page: &str, pattern: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(sources().join("docs").join(page)).unwrap();
        let found = Regex::new(pattern).unwrap();
        let found = found.captures_iter(&text);
        found.map(|found| found[1].to_owned()).collect()
    };
    let tried = |live: &Live, provider: &str, prefix: &str| -> BTreeSet<String> {
        let (_, lines, _) = checked(live, provider);
        let whats = lines.into_iter().map(|mut line| line.swap_remove(0));
        whats.filter(|what| what.starts_with(prefix)).collect()
    };
    let (_cloud, live) = Cloud::reachable_ec2();
    assert_eq!(
        tried(&live, "ec2", "ec2:"),
        named("ec2.md", "\"(ec2:[A-Za-z]+)\"")
    );
    let (_cloud, live) = Cloud::gcp(Live::new(), false);
    let permission = r"(compute\.[a-zA-Z]+\.[a-zA-Z]+)[,\\\n]";
    assert_eq!(tried(&live, "gcp", "compute."), named("gcp.md", permission));
    // The account and the droplets are read first, and some scopes have no request without effect.
    let (_cloud, live) = Cloud::reachable_digitalocean();
    let scopes = named(
        "digitalocean.md",
        "`([a-z_]+:(?:read|create|update|delete))`",
    );
    let untried: Vec<String> = scopes
        .difference(&tried(&live, "digitalocean", ""))
        .cloned()
        .collect();
    let list = [
        "account:read",
        "block_storage:create",
        "block_storage_action:create",
        "droplet:read",
        "image:create",
        "image:update",
        "reserved_ip:update",
        "vpc:read",
    ];
    assert_eq!(untried, list);
}

#[test]
fn the_account_of_a_provider_without_credentials() {
    let live = Live::new();
    let run = live.run(&["run", "provider.check", "digitalocean"]);
    assert!(
        run.status == 2
            && run
                .stderr
                .contains("provider `digitalocean` is not configured"),
        "{run}"
    );
    let run = live.run(&["run", "provider.check", "local"]).ok();
    assert_eq!(table(run), ["what | result | detail", "list servers | ok"]);
}
