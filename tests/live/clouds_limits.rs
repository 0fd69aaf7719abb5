//! DigitalOcean and Hetzner as they are: with limits, locks, lists that lag, and actions that take hours.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};

use crate::support::{Run, cloud::Cloud, live::Live};

/// A cloud whose servers are one local server, and what its parts are called.
struct Place {
    name: &'static str,
    cloud: Cloud,
    live: Live,
    /// A larger size, and the request that shows an action.
    large: &'static str,
    action: &'static str,
    /// Two names of actions.
    reboot: &'static str,
    resize: &'static str,
}

fn digitalocean() -> Place {
    let (cloud, live) = Cloud::reachable_digitalocean();
    Place {
        name: "digitalocean",
        cloud,
        live,
        large: "s-2vcpu-4gb",
        action: "/v2/droplets/[0-9]+/actions/[0-9]+",
        reboot: "reboot",
        resize: "resize",
    }
}

fn hetzner() -> Place {
    let (cloud, live) = Cloud::reachable_hetzner();
    Place {
        name: "hetzner",
        cloud,
        live,
        large: "cx33",
        action: "/v1/actions/[0-9]+",
        reboot: "reboot",
        resize: "change_type",
    }
}

impl Place {
    fn create(&self, options: &[&str]) -> Run {
        let provider = format!("provider={}", self.name);
        let words = ["-y", "run", "create", &provider, "name=web"];
        self.live.run(&[&words[..], options].concat())
    }

    /// The servers at the cloud, as `nodes` has them.
    fn nodes(&self) -> Vec<Json> {
        let mut nodes = self.live.run(&["nodes", "-o", "json"]).ok().json_rows();
        nodes.retain(|node| node["provider"] == self.name);
        nodes
    }

    fn terminate(&self) -> Run {
        self.live.run(&["-y", "run", "-H", "web", "terminate"])
    }

    /// How many requests were sent that begin with this.
    fn count(&self, start: &str) -> usize {
        let log = self.cloud.log();
        log.iter().filter(|line| line.starts_with(start)).count()
    }

    /// Waits until a request was received.
    fn wait_for(&self, start: &str) {
        while self.count(start) == 0 {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Runs a test for both clouds at the same time.
fn at_both(test: impl Fn(Place) + Copy + Send + Sync) {
    thread::scope(|scope| {
        scope.spawn(move || test(digitalocean()));
        scope.spawn(move || test(hetzner()));
    });
}

/// DigitalOcean lists them separately (review of the providers, 2).
#[test]
fn droplets_with_gpus() {
    let Place { cloud, live, .. } = digitalocean();
    let words = ["-y", "run", "create", "provider=digitalocean", "name=web"];
    let create = [&words[..], &["size=gpu-h100x1-80gb"]].concat();
    live.run(&create).ok();
    let again = live.run(&create);
    assert!(
        again.stderr.contains("server `web` already exists"),
        "{again}"
    );
    let listed = || live.run(&["nodes"]).ok().rows();
    assert_eq!(
        listed()
            .iter()
            .filter(|row| row[0] == "digitalocean")
            .count(),
        1
    );
    live.run(&["-y", "run", "-H", "web", "terminate"]).ok();
    assert!(!listed().iter().any(|row| row[0] == "digitalocean"));
    assert_eq!(cloud.violations(), json!([]));
}

/// DigitalOcean allows ten requests for keys in 60 s (3).
#[test]
fn orders_ask_for_the_key_once() {
    let place = digitalocean();
    place.create(&["count=20"]).ok();
    assert_eq!(place.nodes().len(), 20);
    assert_eq!(place.count("GET /v2/account/keys"), 1);
    assert!(place.count("GET /v2/droplets?tag_name") < 15);
    // An hour later.
    place.cloud.set(&json!({"speed": 3600}));
    assert_eq!(place.cloud.violations(), json!([]));
    let place = hetzner();
    place.create(&["count=20"]).ok();
    assert_eq!(place.count("POST /v1/servers"), 20);
    assert_eq!(place.count("POST /v1/ssh_keys"), 1);
    assert_eq!(place.count("GET /v1/ssh_keys"), 1);
}

/// Deletion takes a while, in which the server and the list look as before (4).
#[test]
fn a_dying_server_is_not_adopted() {
    at_both(|place| {
        let manifest = format!("web:\n  provider: {}\n", place.name);
        place.live.write("it.yml", &manifest);
        let up = ["-y", "run", "ensemble.up", "it"];
        place.live.run(&up).ok();
        let before = place.nodes()[0]["id"].clone();
        place.cloud.set(&json!({"deletion": 3, "lag": 2}));
        place
            .live
            .write("it.yml", &format!("{manifest}  image: debian 12\n"));
        place.live.run(&[&up[..], &["replace=web"]].concat()).ok();
        let nodes = place.nodes();
        assert!(nodes.len() == 1 && nodes[0]["id"] != before, "{nodes:?}");
        assert_eq!(nodes[0]["state"], "running");

        // A run that ended it was killed: the next one waits, and creates another one.
        place.terminate().ok();
        place.create(&[]).ok();
        let before = place.nodes()[0]["id"].clone();
        let mut hitc = place.live.spawn(&["-y", "run", "-H", "web", "terminate"]);
        let path = match place.name {
            "hetzner" => format!("DELETE /v1/servers/{}", before.as_str().unwrap()),
            _ => format!("DELETE /v2/droplets/{}", before.as_str().unwrap()),
        };
        place.wait_for(&path);
        hitc.kill().unwrap();
        hitc.wait().unwrap();
        let mut run = place.create(&[]);
        while run.stderr.contains("`web` already exists") {
            run = place.create(&[]);
        }
        run.ok();
        let nodes = place.nodes();
        assert!(nodes.len() == 1 && nodes[0]["id"] != before, "{nodes:?}");
    });
}

/// The API is out of order for a while, and the action takes longer than that (5).
#[test]
fn a_resize_is_waited_for_and_the_server_started_again() {
    at_both(|place| {
        place.create(&[]).ok();
        place.cloud.set(&json!({"speed": 360, place.resize: 7200}));
        let broken = json!([{
            "method": "GET", "path": place.action, "skip": 1, "times": 7, "status": 503, "body": {}
        }]);
        place.cloud.faults(&broken);
        let size = format!("size={}", place.large);
        place
            .live
            .run(&["-y", "run", "-H", "web", "resize", &size])
            .ok();
        let node = place.nodes().remove(0);
        assert_eq!(
            (&node["size"], &node["state"]),
            (&json!(place.large), &json!("running"))
        );
    });
}

/// A resize that fails leaves the server running, with the size that it had.
#[test]
fn a_server_whose_resize_fails_is_started_again() {
    at_both(|place| {
        place.create(&[]).ok();
        let path = match place.name {
            "hetzner" => "/v1/servers/[0-9]+/actions/change_type",
            _ => "/v2/droplets/[0-9]+/actions",
        };
        // The second action of a droplet: the first one stops it.
        let skip = usize::from(place.name == "digitalocean");
        let body = json!({"message": "no capacity", "error": {"code": "resource_unavailable", "message": "no capacity"}});
        place.cloud.faults(&json!([{
            "method": "POST", "path": path, "skip": skip, "status": 412, "body": body
        }]));
        let size = format!("size={}", place.large);
        let run = place.live.run(&["-y", "run", "-H", "web", "resize", &size]);
        assert!(
            run.status == 1 && run.stderr.contains("no capacity"),
            "{run}"
        );
        let node = place.nodes().remove(0);
        assert!(
            node["size"] != place.large && node["state"] == "running",
            "{node}"
        );
    });
}

/// Another action runs: 423 at Hetzner, and 422 "pending event" at DigitalOcean (13).
#[test]
fn a_locked_server_is_waited_for() {
    at_both(|place| {
        place.create(&[]).ok();
        let full = place.live.container("web");
        place.cloud.set(&json!({ place.reboot: 3 }));
        place.cloud.post("/_act", &json!([full, place.reboot]));
        let size = format!("size={}", place.large);
        place
            .live
            .run(&["-y", "run", "-H", "web", "resize", &size])
            .ok();
        place.cloud.post("/_act", &json!([full, place.reboot]));
        place.terminate().ok();
        assert!(place.nodes().is_empty());
    });
}

/// Hetzner's 409 `conflict` says that the request should be sent again; its other 409 do not.
#[test]
fn conflicts() {
    let place = hetzner();
    let error = json!({"error": {"code": "conflict", "message": "the resource has changed"}});
    let fault = |method: &str| {
        json!({
            "method": method, "path": "/v1/servers.*", "times": 2, "status": 409, "body": error
        })
    };
    place.cloud.faults(&json!([fault("POST"), fault("PUT")]));
    place.create(&[]).ok();
    assert_eq!(place.count("POST /v1/servers"), 3);
    let taken = json!({"error": {"code": "uniqueness_error", "message": "name is already used"}});
    place.cloud.faults(&json!([{
        "method": "PUT", "path": "/v1/servers.*", "times": 9, "status": 409, "body": taken
    }]));
    let run = place.live.run(&["-y", "run", "-H", "web", "rename", "db"]);
    assert!(
        run.status == 1 && run.stderr.contains("name is already used"),
        "{run}"
    );
}

/// Hetzner's bucket is empty, and refilled by one request a second; it sends no `Retry-After` (13).
#[test]
fn an_empty_bucket() {
    let place = hetzner();
    place.cloud.set(&json!({"requests": 0, "speed": 2}));
    let run = place.create(&["count=8"]).ok();
    let note = "Hetzner: rate limit reached; waiting ";
    assert!(
        run.stderr.contains(note) && run.stderr.contains(" s, and up to 15 minutes in all"),
        "{run}"
    );
    place.cloud.set(&json!({"requests": 3600}));
    assert_eq!(place.nodes().len(), 8);
}

/// Sizes that are sold out or no longer offered are not quoted (13).
#[test]
fn what_hetzner_cannot_sell() {
    let (cloud, live) = Cloud::hetzner(Live::new(), false);
    for (region, cause) in [
        ("fsn1", " at the moment: it is sold out there"),
        ("nbg1", ": Hetzner no longer offers it there"),
    ] {
        let region = format!("region={region}");
        let words = [
            "-y",
            "run",
            "create",
            "provider=hetzner",
            "name=x",
            "size=cpx11",
            &region,
        ];
        let run = live.run(&words);
        assert!(run.status == 2 && run.stderr.contains(cause), "{run}");
        assert!(run.stderr.contains("help: it is available in ash"), "{run}");
    }
    assert!(!cloud.log().iter().any(|line| line.starts_with("POST")));
    let run = live
        .run(&["run", "pricing", "provider=hetzner", "filter=cpx"])
        .ok();
    assert!(!run.stdout.contains("cpx11"), "{run}");
}

/// Hetzner may not say how long a list is (18).
#[test]
fn lists_without_totals() {
    let (cloud, live) = Cloud::hetzner(Live::new(), false);
    cloud.set(&json!({"totals": []}));
    let server = |n| json!([live.container(&format!("n-{n}")), {"hitc": "1"}]);
    let servers: Vec<Json> = (0..120).map(server).collect();
    cloud.post("/_servers", &json!(servers));
    let shift = json!([{"method": "GET", "path": "/v1/servers", "kind": "shift"}]);
    cloud.faults(&shift);
    let rows = live.run(&["nodes", "--any-owner"]).ok().rows();
    assert_eq!(rows.len(), 119);
}

/// Hetzner's labels have 63 characters (18).
#[test]
fn long_labels() {
    let place = hetzner();
    let name = format!("{}-", "a_long_name-".repeat(8));
    place
        .live
        .write(&format!("{name}.yml"), "web:\n  provider: hetzner\n");
    place.live.run(&["-y", "run", "ensemble.up", &name]).ok();
    assert_eq!(place.nodes()[0]["manifest"], name.as_str());
    let plan = place.live.run(&["run", "ensemble.plan", &name]).ok();
    assert_eq!(plan.stdout, "no changes\n");
    place.live.write("short.yml", "web:\n  provider: hetzner\n");
    place
        .live
        .run(&["-y", "run", "ensemble.up", "short", "adopt=web"])
        .ok();
    assert_eq!(place.nodes()[0]["manifest"], "short");
}

/// A hundred servers within the limits: each once, looked up together, and not much slower than the limits
/// dictate.
#[test]
fn a_hundred_servers() {
    at_both(|place| {
        // A minute passes in 3 s, and neither limit has room for all requests.
        place.cloud.set(&json!({"speed": 20, "requests": 100}));
        let begun = Instant::now();
        place.create(&["count=100"]).ok();
        let took = begun.elapsed().as_secs_f64();
        let nodes = place.nodes();
        assert_eq!(nodes.len(), 100);
        assert!(nodes.iter().all(|node| node["state"] == "running"));
        // Those that a limit refused are not counted.
        let requests = place.cloud.get("/_served").as_f64().unwrap();
        assert!(requests < 500.0, "{requests} requests");
        let dictated = match place.name {
            "hetzner" => (requests - 100.0) / 20.0,
            _ => (requests / 100.0).floor() * 3.0,
        };
        // Without limits it takes some seconds, and more while other tests run.
        let most = 1.2 * dictated + 60.0;
        assert!(took < most, "{took} s, not {dictated} s");
        if place.name == "digitalocean" {
            assert_eq!(place.cloud.violations(), json!([]));
        }
    });
}

/// The cloud is asked once for all servers, and not again while the list is remembered.
#[test]
fn three_hundred_servers_are_listed_once() {
    let (cloud, live) = Cloud::reachable_digitalocean();
    let prefix = live.container("");
    let project = format!("hitc:project:{}", live.project_id());
    let droplets: Vec<Json> = (0..300)
        .map(|n| json!([format!("{prefix}n-{n}"), ["hitc", project]]))
        .collect();
    cloud.post("/_droplets", &json!(droplets));
    let lists = || {
        let log = cloud.log();
        log.iter().filter(|line| line.starts_with("GET ")).count()
    };
    let words = [
        "exec",
        "--all",
        "-x",
        "behind",
        "-P",
        "8",
        "-o",
        "raw",
        "--",
        "echo here",
    ];
    let run = live.run(&words).ok();
    assert_eq!(run.stdout.matches("here\n").count(), 300);
    // Two pages of droplets, and the ones with GPUs.
    assert_eq!(lists(), 3, "{:?}", cloud.log());
    live.run(&["exec", "-H", "n-0", "--", "true"]).ok();
    assert_eq!(lists(), 3);
}

/// The same at Google, whose limits are for reading, listing and changing, each for itself.
#[test]
fn a_hundred_servers_at_google() {
    let (cloud, live) = Cloud::reachable_gcp();
    // A minute passes in 3 s.
    cloud.set(&json!({"speed": 20, "requests": 300}));
    let begun = Instant::now();
    let words = [
        "-y",
        "run",
        "create",
        "provider=gcp",
        "name=web",
        "count=100",
    ];
    live.run(&words).ok();
    let took = begun.elapsed().as_secs_f64();
    assert_eq!(cloud.get("/_count"), json!(100));
    let rows = live.run(&["nodes"]).ok().rows();
    let running = rows
        .iter()
        .filter(|row| row[0] == "gcp" && row.contains(&"running".to_owned()));
    assert_eq!(running.count(), 100);
    let requests = cloud.get("/_served").as_f64().unwrap();
    let dictated = (requests / 300.0).floor() * 3.0;
    assert!(requests < 1500.0, "{requests} requests, {took} s");
    assert!(took < 1.2 * dictated + 60.0, "{took} s, not {dictated} s");
}
