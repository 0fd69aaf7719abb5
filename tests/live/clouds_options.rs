//! Options of servers at DigitalOcean and Hetzner.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    Run,
    cloud::Cloud,
    live::{Live, docker},
};

const CLOUD_CONFIG: &str = "#cloud-config\npackages: [jq]\n";

/// Runs `create` with these options.
fn create(live: &Live, provider: &str, options: &[&str]) -> Run {
    let provider = format!("provider={provider}");
    live.run(&[&["-y", "run", "create", &provider], options].concat())
}

/// Gives the server behind all servers another user with the same keys.
fn add_user(live: &Live) {
    let script = "useradd -m ops && cp -r /root/.ssh /home/ops/ && chown -R ops: /home/ops";
    docker(&["exec", &live.container("behind"), "sh", "-c", script]);
}

#[test]
fn of_a_droplet() {
    let (cloud, live) = Cloud::reachable_digitalocean();
    add_user(&live);
    let data = format!("user_data={CLOUD_CONFIG}");
    create(
        &live,
        "digitalocean",
        &["name=web", "user=ops", &data, "tags=team:web", "ipv6=true"],
    )
    .ok();
    let order = cloud.get("/_orders")[0].clone();
    assert_eq!(
        (&order["user_data"], &order["ipv6"]),
        (&json!(CLOUD_CONFIG), &json!(true))
    );
    assert!(
        order["tags"]
            .as_array()
            .unwrap()
            .contains(&json!("team:web"))
    );
    let exec = live.run(&["exec", "-H", "web", "--", "id -un"]).ok();
    assert_eq!(exec.stdout, "ops\n");
    let bad = create(&live, "digitalocean", &["name=x", "user=-oX"]);
    assert!(
        bad.status == 2 && bad.stderr.contains("invalid user `-oX`"),
        "{bad}"
    );
    assert_eq!(cloud.violations(), json!([]));
}

#[test]
fn of_a_server_at_hetzner() {
    let (cloud, live) = Cloud::reachable_hetzner();
    add_user(&live);
    let data = format!("user_data={CLOUD_CONFIG}");
    create(
        &live,
        "hetzner",
        &[
            "name=web",
            "user=ops",
            &data,
            "tags=team=web,canary",
            "ipv6=false",
        ],
    )
    .ok();
    let order = cloud.get("/_orders")[0].clone();
    assert_eq!(order["user_data"], CLOUD_CONFIG);
    assert_eq!(
        order["public_net"],
        json!({"enable_ipv4": true, "enable_ipv6": false})
    );
    let labels = &order["labels"];
    assert_eq!(
        (&labels["team"], &labels["canary"]),
        (&json!("web"), &json!(""))
    );
    let exec = live.run(&["exec", "-H", "web", "--", "id -un"]).ok();
    assert_eq!(exec.stdout, "ops\n");
    for (option, error) in [
        ("tags=hitc-x=1", "invalid tag `hitc-x=1`"),
        ("user=-oX", "invalid user `-oX`"),
    ] {
        let bad = create(&live, "hetzner", &["name=x", option]);
        assert!(bad.status == 2 && bad.stderr.contains(error), "{bad}");
    }
    let run = [
        "-y",
        "run",
        "create",
        "provider=hetzner",
        "name=x",
        "ipv4=false",
        "ipv6=false",
    ];
    let bad = live.run(&run);
    assert!(
        bad.status == 2 && bad.stderr.contains("needs a network"),
        "{bad}"
    );
    // Without the address, its price is not part of the cost.
    let dry = [
        "-n",
        "run",
        "create",
        "provider=hetzner",
        "name=x",
        "ipv4=false",
    ];
    let dry = live.run(&dry).ok();
    assert!(
        dry.stderr.contains("4.15 EUR a month (19 % VAT included)"),
        "{dry}"
    );
}

/// It outlives the server.
#[test]
fn a_stable_address_at_hetzner() {
    let (cloud, live) = Cloud::reachable_hetzner();
    let address = cloud.post("/_address", &json!("front"))["ip"].clone();
    let create = |options: &[&str]| {
        let words = ["-y", "run", "create", "provider=hetzner", "name=web"];
        live.run(&[&words[..], options].concat())
    };
    for (options, error) in [
        (vec!["address=fornt"], "address `fornt` not found"),
        (
            vec!["address=front", "region=nbg1"],
            "address front is in region fsn1",
        ),
        (
            vec!["address=front", "ipv4=false"],
            "address and ipv4=false exclude each other",
        ),
    ] {
        let run = create(&options);
        assert!(run.status == 2 && run.stderr.contains(error), "{run}");
    }
    assert!(!cloud.log().iter().any(|line| line.starts_with("POST")));
    for _ in 0..2 {
        create(&["address=front"]).ok();
        assert_eq!(json!(live.ip("web")), address);
        let used = live.run(&[
            "-n",
            "run",
            "create",
            "provider=hetzner",
            "name=x",
            "address=front",
        ]);
        assert!(
            used.status == 2 && used.stderr.contains("address front is in use"),
            "{used}"
        );
        live.run(&["-y", "run", "-H", "web", "terminate"]).ok();
    }
}

#[test]
fn a_stable_address_at_digitalocean() {
    let (cloud, live) = Cloud::reachable_digitalocean();
    cloud.post("/_address", &json!("45.55.96.47"));
    let create = |options: &[&str]| {
        let words = ["-y", "run", "create", "provider=digitalocean"];
        live.run(&[&words[..], options].concat())
    };
    for (options, error) in [
        (vec!["name=web", "address=front"], "invalid address `front`"),
        (
            vec!["name=web", "address=45.55.96.48"],
            "45.55.96.48 not found",
        ),
        (
            vec!["name=web", "address=45.55.96.47", "region=ams3"],
            "45.55.96.47 is in region nyc3",
        ),
        (
            vec!["name=web", "address=45.55.96.47", "count=2"],
            "`address` cannot be used with `count: 2`",
        ),
    ] {
        let run = create(&options);
        assert!(run.status == 2 && run.stderr.contains(error), "{run}");
    }
    create(&["name=web", "address=45.55.96.47"]).ok();
    let assigned = |log: &[String]| {
        log.iter()
            .filter(|line| line.starts_with("POST /v2/reserved_ips/45.55.96.47"))
            .count()
    };
    assert_eq!(assigned(&cloud.log()), 1);
    let run = create(&["name=x", "address=45.55.96.47"]);
    assert!(
        run.status == 2 && run.stderr.contains("45.55.96.47 is in use by `"),
        "{run}"
    );
    live.run(&["-y", "run", "-H", "web", "terminate"]).ok();
    create(&["name=x", "address=45.55.96.47"]).ok();
    assert_eq!(cloud.violations(), json!([]));
}

/// An address that somebody assigned to another droplet while the new one started.
#[test]
fn an_address_that_is_taken_meanwhile() {
    let (cloud, live) = Cloud::reachable_digitalocean();
    cloud.post("/_address", &json!("45.55.96.47"));
    cloud.post("/_droplets", &json!([["other", []]]));
    // The new droplet is not found for a while, so that there is time.
    cloud.set(&json!({"lag": 3}));
    let words = ["-y", "run", "create", "provider=digitalocean", "name=web"];
    let run = thread::scope(|scope| {
        let run = scope.spawn(|| live.run(&[&words[..], &["address=45.55.96.47"]].concat()));
        let end = Instant::now() + Duration::from_secs(30);
        while !cloud.log().iter().any(|line| line == "POST /v2/droplets") {
            assert!(Instant::now() < end, "no order");
            thread::sleep(Duration::from_millis(50));
        }
        cloud.post("/_assign", &json!(["45.55.96.47", "other"]));
        run.join().unwrap()
    });
    assert!(
        run.status == 2 && run.stderr.contains("45.55.96.47 is in use by `other`"),
        "{run}"
    );
    let assigned = |line: &String| line.starts_with("POST /v2/reserved_ips/");
    assert!(!cloud.log().iter().any(assigned));
}
