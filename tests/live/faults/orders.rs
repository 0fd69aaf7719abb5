//! Faults while servers are listed, created and rebooted.

use std::{
    io::{BufRead, BufReader},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};

use super::{Answers, Row, answers, fault, said};
use crate::support::{Run, cloud::Cloud, live::Live};

/// A provider, and the requests at which faults are simulated.
struct Place {
    name: &'static str,
    cloud: Cloud,
    live: Live,
    /// The request that lists servers, and the one that orders one: method and path.
    list: (&'static str, &'static str),
    order: (&'static str, &'static str),
    /// The request after which the new server is known, and how many of these requests come before.
    until_seen: ((&'static str, &'static str), usize),
    /// The path of an action's status, and the response for a failed action.
    wrong: Option<(&'static str, Json)>,
    answers: Answers,
}

fn digitalocean() -> Place {
    let (cloud, live) = Cloud::digitalocean(Live::new(), true);
    // The faults are counted in requests: no list lags.
    cloud.set(&json!({"lag": 0}));
    Place {
        name: "digitalocean",
        cloud,
        live,
        // Droplets with GPUs are listed by another request at the same time.
        list: ("GET", r"/v2/droplets\?tag_name=.*"),
        order: ("POST", "/v2/droplets"),
        until_seen: (("GET", r"/v2/droplets\?tag_name=.*"), 2),
        wrong: Some((
            "/v2/droplets/[0-9]+/actions/[0-9]+",
            json!({"action": {"id": 1, "status": "errored"}}),
        )),
        answers: answers("digitalocean"),
    }
}

fn hetzner() -> Place {
    let (cloud, live) = Cloud::hetzner(Live::new(), true);
    cloud.set(&json!({"lag": 0}));
    Place {
        name: "hetzner",
        cloud,
        live,
        list: ("GET", "/v1/servers"),
        order: ("POST", "/v1/servers"),
        until_seen: (("GET", r"/v1/servers\?label_selector=.*"), 1),
        wrong: Some((
            "/v1/actions/[0-9]+",
            json!({"action": {"id": 1, "command": "reboot_server", "status": "error",
                "error": {"code": "action_failed", "message": "Action failed"}}}),
        )),
        answers: answers("hetzner"),
    }
}

fn ec2() -> Place {
    let (cloud, live) = Cloud::reachable_ec2();
    Place {
        name: "ec2",
        cloud,
        live,
        list: ("POST", "DescribeInstances"),
        order: ("POST", "RunInstances"),
        until_seen: (("POST", "RunInstances"), 0),
        wrong: None,
        answers: answers("ec2"),
    }
}

fn gcp() -> Place {
    let (cloud, live) = Cloud::gcp(Live::new(), true);
    Place {
        name: "gcp",
        cloud,
        live,
        list: ("GET", "/aggregated/instances"),
        order: ("POST", "/zones/europe-west1-b/instances"),
        until_seen: (("GET", "/aggregated/instances"), 2),
        wrong: Some((
            "/zones/[a-z0-9-]+/operations/[a-z0-9-]+",
            json!({"name": "operation-1", "operationType": "reset", "status": "DONE",
                "zone": "zones/europe-west1-b", "targetLink": "instances/web",
                "error": {"errors": [{"code": "INTERNAL_ERROR", "message": "Internal error."}]}}),
        )),
        answers: answers("gcp"),
    }
}

/// All faults of these tasks at this cloud, with their outcomes.
pub fn outcomes(provider: &str) -> Vec<Row> {
    match provider {
        "digitalocean" => digitalocean(),
        "hetzner" => hetzner(),
        "gcp" => gcp(),
        _ => ec2(),
    }
    .all()
}

impl Place {
    fn create(&self) -> Run {
        let provider = format!("provider={}", self.name);
        self.live
            .run(&["-y", "run", "create", &provider, "name=web"])
    }

    /// The number of servers that exist, without faults.
    fn count(&self) -> usize {
        self.cloud.faults(&json!([]));
        let rows = self.live.run(&["nodes", "--any-owner"]).ok().rows();
        rows.iter().filter(|row| row[0] == self.name).count()
    }

    /// The number of servers that are listed, when it is the number of those that cost money: a list lags
    /// behind for a moment.
    fn count_settled(&self) -> usize {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let listed = self.count();
            if self.cloud.get("/_count") == json!(listed) {
                return listed;
            }
            assert!(Instant::now() < end, "{listed} servers are listed");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Describes the outcome of an order. Terminates the servers.
    fn ordered(&self, run: &Run) -> String {
        let count = self.count();
        if count > 0 {
            self.live.run(&["-y", "run", "-H", "web", "terminate"]).ok();
        }
        let said = match run.status {
            0 => "created".to_owned(),
            status => format!("{} (exit {status})", said(run)),
        };
        format!("{said}; {}", plural(count))
    }

    /// Describes the outcome of listing.
    fn listed(&self, faults: &Json) -> String {
        self.cloud.faults(faults);
        let run = self.live.run(&["nodes", "--any-owner"]);
        match (run.status, run.stderr.is_empty()) {
            (0, true) => "listed".to_owned(),
            (0, false) => said(&run),
            (status, _) => format!("{} (exit {status})", said(&run)),
        }
    }

    /// Kills hitc when it shows `marker` during an order, and once the cloud received the request `at`, which
    /// is not answered. Describes what is left, and the next run.
    fn killed_at(&self, marker: &str, at: Option<((&str, &str), Json)>) -> String {
        let (request, faults) = match at {
            Some((request, what)) => (
                Some(format!("{} {}", request.0, request.1)),
                json!([fault(request, 1, &what)]),
            ),
            None => (None, json!([])),
        };
        self.cloud.faults(&faults);
        let before = self.cloud.log().len();
        let provider = format!("provider={}", self.name);
        let words = ["-y", "run", "create", &provider, "name=web"];
        let mut hitc = self.live.spawn(&words);
        let mut stderr = BufReader::new(hitc.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains(marker) {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "no {marker}");
        }
        if let Some(request) = request {
            let is_it = |line: &String| line.starts_with(&request);
            while !self.cloud.log()[before..].iter().any(is_it) {
                thread::yield_now();
            }
        }
        hitc.kill().unwrap();
        hitc.wait().unwrap();
        let between = self.count_settled();
        let again = self.create();
        format!(
            "{} left; next run: {}",
            plural(between),
            self.ordered(&again)
        )
    }

    /// All faults, with their outcomes.
    fn all(&self) -> Vec<Row> {
        let (list, order) = (self.list, self.order);
        let mut rows = Vec::new();
        let mut patient = self.answers.busy.clone();
        patient["headers"] = json!({"Retry-After": "4"});
        // While other tests run, a list takes seconds by itself.
        self.listed(&json!([]));
        let begun = Instant::now();
        let answer = self.listed(&json!([fault(list, 1, &patient)]));
        let waited = if begun.elapsed().as_secs() >= 4 {
            ", after the requested pause"
        } else {
            ""
        };
        rows.push((
            "nodes",
            "too many requests, with Retry-After",
            answer + waited,
        ));
        rows.push((
            "nodes",
            "too many requests, twice",
            self.listed(&json!([fault(list, 2, &self.answers.busy)])),
        ));
        self.cloud
            .faults(&json!([fault(order, 1, &self.answers.busy)]));
        rows.push((
            "create",
            "too many requests, at the order",
            self.ordered(&self.create()),
        ));
        let broken = json!({"status": 500, "body": "<html>Internal error</html>"});
        rows.push((
            "nodes",
            "status 500, three times",
            self.listed(&json!([fault(list, 3, &broken)])),
        ));
        rows.push((
            "nodes",
            "status 500, always",
            self.listed(&json!([fault(list, 99, &broken)])),
        ));
        let garbage = json!({"kind": "garbage"});
        rows.push((
            "nodes",
            "an invalid response, once",
            self.listed(&json!([fault(list, 1, &garbage)])),
        ));
        let cut = json!({"kind": "cut", "after": true});
        self.cloud.faults(&json!([fault(order, 1, &cut)]));
        rows.push((
            "create",
            "the connection breaks after the cloud received the order",
            self.ordered(&self.create()),
        ));
        let hang = json!({"kind": "hang"});
        rows.push((
            "nodes",
            "no response for 30 s, once",
            self.listed(&json!([fault(list, 1, &hang)])),
        ));
        rows.push((
            "nodes",
            "expired credentials",
            self.listed(&json!([fault(list, 99, &self.answers.expired)])),
        ));
        self.cloud
            .faults(&json!([fault(order, 1, &self.answers.quota)]));
        rows.push(("create", "an exceeded quota", self.ordered(&self.create())));
        let shift = json!({"kind": "shift", "skip": self.until_seen.1});
        self.cloud
            .faults(&json!([fault(self.until_seen.0, 1, &shift)]));
        rows.push((
            "create",
            "the cloud terminates the server while it is starting",
            self.ordered(&self.create()),
        ));
        rows.extend(self.deaths_and_changes());
        rows
    }

    /// hitc is killed, actions fail, and the list changes.
    fn deaths_and_changes(&self) -> Vec<Row> {
        let (list, order) = (self.list, self.order);
        let mut rows = Vec::new();
        // A request that hitc sends shortly before the order.
        let earlier = match self.name {
            "digitalocean" => Some(("GET", "/v2/account/keys")),
            "hetzner" => Some(("GET", "/v1/ssh_keys")),
            _ => None,
        };
        let hang = json!({"kind": "hang"});
        rows.push((
            "create",
            "hitc is killed before the order",
            self.killed_at("creating", earlier.map(|request| (request, hang))),
        ));
        let deaf = json!({"kind": "hang", "after": true});
        rows.push((
            "create",
            "hitc is killed after the cloud received the order, before its response",
            self.killed_at("ordering", Some((order, deaf))),
        ));
        rows.push((
            "create",
            "hitc is killed while it waits until the server runs",
            self.killed_at("waiting until it runs", None),
        ));
        rows.push((
            "create",
            "hitc is killed while it waits for SSH",
            self.killed_at("waiting for SSH", None),
        ));
        if let Some((path, body)) = &self.wrong {
            self.create().ok();
            let wrong = json!({"kind": "answer", "status": 200, "body": body});
            self.cloud.faults(&json!([fault(("GET", path), 1, &wrong)]));
            let run = self.live.run(&["-y", "run", "-H", "web", "reboot"]);
            let said = format!("{} (exit {})", said(&run), run.status);
            rows.push(("reboot", "the cloud fails to reboot a server", said));
            self.live.run(&["-y", "run", "-H", "web", "terminate"]).ok();
        }
        if self.name != "ec2" {
            rows.extend(self.locks_and_limits());
            let (path, tags) = match self.name {
                "digitalocean" => ("/_droplets", json!(["hitc"])),
                _ => ("/_servers", json!({"hitc": "1"})),
            };
            let name = |n| json!([self.live.container(&format!("n-{n}")), tags]);
            let many: Vec<Json> = (0..250).map(name).collect();
            self.cloud.post(path, &json!(many));
            let answer = self.listed(&json!([fault(list, 1, &json!({"kind": "shift"}))]));
            let whole = if self.count() == 249 {
                " completely"
            } else {
                " in part"
            };
            rows.push((
                "nodes",
                "a server is terminated between two pages of the list",
                answer + whole,
            ));
        }
        rows
    }
}

impl Place {
    /// Deletions that take a while, and used-up limits.
    fn locks_and_limits(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        self.cloud.faults(&json!([]));
        self.create().ok();
        self.cloud.set(&json!({"deletion": 3}));
        let mut hitc = self.live.spawn(&["-y", "run", "-H", "web", "terminate"]);
        let is_deletion = |line: &String| line.starts_with("DELETE") && !line.contains("tags");
        let deletions = || {
            self.cloud
                .log()
                .iter()
                .filter(|line| is_deletion(line))
                .count()
        };
        let before = deletions();
        while deletions() == before {
            assert!(hitc.try_wait().unwrap().is_none(), "no deletion");
            thread::sleep(Duration::from_millis(20));
        }
        hitc.kill().unwrap();
        hitc.wait().unwrap();
        let mut again = self.create();
        while again.stderr.contains("`web` already exists") {
            again = self.create();
        }
        self.cloud.set(&json!({"deletion": 0}));
        rows.push((
            "create",
            "hitc is killed after the cloud received a deletion",
            format!("next order: {}", self.ordered(&again)),
        ));
        // Retry-After at DigitalOcean, RateLimit-Reset at Hetzner.
        let limit = if self.name == "hetzner" { 0 } else { 5 };
        self.cloud.set(&json!({"requests": limit, "speed": 10}));
        let run = self.create();
        self.cloud.set(&json!({"requests": 250, "speed": 1}));
        rows.push(("create", "the rate limit is used up", self.ordered(&run)));
        rows
    }
}

fn plural(count: usize) -> String {
    match count {
        0 => "no server".to_owned(),
        1 => "one server".to_owned(),
        count => format!("{count} servers"),
    }
}
