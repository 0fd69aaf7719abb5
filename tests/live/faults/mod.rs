//! Simulates faults of clouds, and writes their outcomes to `docs/faults.md`.

use std::{
    fs,
    io::{BufRead, BufReader},
    thread,
    time::{Duration, Instant},
};

use regex::Regex;
use serde_json::{Value as Json, json};

use crate::support::{Run, cloud::Cloud, live::Live, sources};

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
    /// Error responses of this cloud.
    quota: Json,
    expired: Json,
    busy: Json,
}

fn digitalocean() -> Place {
    let (cloud, live) = Cloud::digitalocean(Live::new(), true);
    // The faults are counted in requests: no list lags.
    cloud.set(&json!({"lag": 0}));
    let error =
        |id: &str, message: &str| json!({"id": id, "message": message, "request_id": "r-1"});
    Place {
        name: "digitalocean",
        cloud,
        live,
        list: ("GET", "/v2/droplets"),
        order: ("POST", "/v2/droplets"),
        until_seen: (("GET", r"/v2/droplets\?tag_name=.*"), 2),
        wrong: Some((
            "/v2/droplets/[0-9]+/actions/[0-9]+",
            json!({"action": {"id": 1, "status": "errored"}}),
        )),
        quota: json!({"status": 422, "body": error("unprocessable_entity",
            "creating this/these droplet(s) will exceed your droplet limit")}),
        expired: json!({"status": 401, "body": error("unauthorized", "Unable to authenticate you")}),
        busy: json!({"status": 429, "body": error("too_many_requests", "API Rate limit exceeded.")}),
    }
}

fn hetzner() -> Place {
    let (cloud, live) = Cloud::hetzner(Live::new(), true);
    cloud.set(&json!({"lag": 0}));
    let error = |code: &str, message: &str| json!({"error": {"code": code, "message": message}});
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
        quota: json!({"status": 403, "headers": {"X-Correlation-Id": "r-1"},
            "body": error("resource_limit_exceeded", "server limit exceeded")}),
        expired: json!({"status": 401, "headers": {"X-Correlation-Id": "r-1"},
            "body": error("unauthorized", "the token is not valid")}),
        busy: json!({"status": 429, "body": error("rate_limit_exceeded", "limit of 3600 requests an hour reached")}),
    }
}

fn ec2() -> Place {
    let (cloud, live) = Cloud::reachable_ec2();
    let error = |code: &str, message: &str| {
        format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error>\
             </Errors><RequestID>r-1</RequestID></Response>"
        )
    };
    Place {
        name: "ec2",
        cloud,
        live,
        list: ("POST", "DescribeInstances"),
        order: ("POST", "RunInstances"),
        until_seen: (("POST", "RunInstances"), 0),
        wrong: None,
        quota: json!({"status": 400, "body": error("VcpuLimitExceeded",
            "You have requested more vCPU capacity than your current vCPU limit of 32 allows.")}),
        expired: json!({"status": 400, "headers": {"x-amzn-requestid": "r-1"}, "body": error("RequestExpired", "Request has expired.")}),
        busy: json!({"status": 503, "body": error("RequestLimitExceeded", "Request limit exceeded.")}),
    }
}

fn gcp() -> Place {
    let (cloud, live) = Cloud::gcp(Live::new(), true);
    let error = |status: u16, reason: &str, message: &str| {
        json!({"status": status, "body": {"error": {"code": status, "message": message,
            "errors": [{"message": message, "domain": "usageLimits", "reason": reason}]}}})
    };
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
        quota: error(
            403,
            "quotaExceeded",
            "Quota 'CPUS' exceeded. Limit: 8.0 in region europe-west1.",
        ),
        expired: error(
            401,
            "authError",
            "Request had invalid authentication credentials.",
        ),
        busy: error(403, "rateLimitExceeded", "Rate Limit Exceeded"),
    }
}

/// A fault that happens to the next `times` requests of this kind.
fn fault((method, path): (&str, &str), times: usize, what: &Json) -> Json {
    let mut fault = what.clone();
    fault["method"] = method.into();
    fault["path"] = path.into();
    fault["times"] = times.into();
    fault
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
    fn all(&self) -> Vec<(&'static str, String)> {
        let (list, order) = (self.list, self.order);
        let mut rows = Vec::new();
        let mut patient = self.busy.clone();
        patient["headers"] = json!({"Retry-After": "2"});
        // The first request to a cloud that has just started may take that long by itself.
        self.listed(&json!([]));
        let begun = Instant::now();
        let answer = self.listed(&json!([fault(list, 1, &patient)]));
        let waited = if begun.elapsed().as_secs() >= 2 {
            ", after the requested pause"
        } else {
            ""
        };
        rows.push(("too many requests, with Retry-After", answer + waited));
        rows.push((
            "too many requests, twice",
            self.listed(&json!([fault(list, 2, &self.busy)])),
        ));
        self.cloud.faults(&json!([fault(order, 1, &self.busy)]));
        rows.push((
            "too many requests, at the order",
            self.ordered(&self.create()),
        ));
        let broken = json!({"status": 500, "body": "<html>Internal error</html>"});
        rows.push((
            "status 500, three times",
            self.listed(&json!([fault(list, 3, &broken)])),
        ));
        rows.push((
            "status 500, always",
            self.listed(&json!([fault(list, 99, &broken)])),
        ));
        let garbage = json!({"kind": "garbage"});
        rows.push((
            "an invalid response, once",
            self.listed(&json!([fault(list, 1, &garbage)])),
        ));
        let cut = json!({"kind": "cut", "after": true});
        self.cloud.faults(&json!([fault(order, 1, &cut)]));
        rows.push((
            "the connection breaks after the cloud received the order",
            self.ordered(&self.create()),
        ));
        let hang = json!({"kind": "hang"});
        rows.push((
            "no response for 30 s, once",
            self.listed(&json!([fault(list, 1, &hang)])),
        ));
        rows.push((
            "expired credentials",
            self.listed(&json!([fault(list, 99, &self.expired)])),
        ));
        self.cloud.faults(&json!([fault(order, 1, &self.quota)]));
        rows.push(("an exceeded quota", self.ordered(&self.create())));
        let shift = json!({"kind": "shift", "skip": self.until_seen.1});
        self.cloud
            .faults(&json!([fault(self.until_seen.0, 1, &shift)]));
        rows.push((
            "the cloud terminates the server while it is starting",
            self.ordered(&self.create()),
        ));
        rows.extend(self.deaths_and_changes());
        rows
    }

    /// hitc is killed, actions fail, and the list changes.
    fn deaths_and_changes(&self) -> Vec<(&'static str, String)> {
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
            "hitc is killed before the order",
            self.killed_at("creating", earlier.map(|request| (request, hang))),
        ));
        let deaf = json!({"kind": "hang", "after": true});
        rows.push((
            "hitc is killed after the cloud received the order, before its response",
            self.killed_at("ordering", Some((order, deaf))),
        ));
        rows.push((
            "hitc is killed while it waits until the server runs",
            self.killed_at("waiting until it runs", None),
        ));
        rows.push((
            "hitc is killed while it waits for SSH",
            self.killed_at("waiting for SSH", None),
        ));
        if let Some((path, body)) = &self.wrong {
            self.create().ok();
            let wrong = json!({"kind": "answer", "status": 200, "body": body});
            self.cloud.faults(&json!([fault(("GET", path), 1, &wrong)]));
            let run = self.live.run(&["-y", "run", "-H", "web", "reboot"]);
            let said = format!("{} (exit {})", said(&run), run.status);
            rows.push(("the cloud fails to reboot a server", said));
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
                "a server is terminated between two pages of the list",
                answer + whole,
            ));
        }
        rows
    }
}

impl Place {
    /// Locks, limits and slow actions.
    fn locks_and_limits(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        let (resize, small, large) = match self.name {
            "digitalocean" => ("resize", "s-1vcpu-1gb", "s-2vcpu-4gb"),
            _ => ("change_type", "cx23", "cx33"),
        };
        let resized = |size: &str| {
            let size = format!("size={size}");
            let run = self.live.run(&["-y", "run", "-H", "web", "resize", &size]);
            let nodes = self.live.run(&["nodes"]).ok().rows();
            let row = nodes.iter().find(|row| row[0] == self.name).unwrap();
            let state = row
                .iter()
                .find(|cell| ["running", "stopped"].contains(&cell.as_str()));
            let state = state.map_or("in another state", |state| state);
            match run.status {
                0 => format!("resized; the server is {state}"),
                status => {
                    // The server's id differs from run to run.
                    let said = said(&run);
                    let words = said.split('/').map(|word| match word.parse::<u32>() {
                        Ok(_) => "ID",
                        Err(_) => word,
                    });
                    let said = words.collect::<Vec<_>>().join("/");
                    format!("{said} (exit {status}); the server is {state}")
                }
            }
        };
        self.cloud.faults(&json!([]));
        self.create().ok();
        self.cloud.set(&json!({"reboot": 2}));
        let full = self.live.container("web");
        self.cloud.post("/_act", &json!([full, "reboot"]));
        rows.push((
            "another action locks the server, at a resize",
            resized(large),
        ));
        let broken = json!({"status": 503, "body": {}});
        let path = self.wrong.as_ref().map_or("", |(path, _)| path);
        self.cloud.set(&json!({"speed": 360, resize: 7200}));
        self.cloud
            .faults(&json!([fault(("GET", path), 7, &broken)]));
        rows.push((
            "a resize takes two hours, and the cloud does not answer meanwhile",
            resized(small),
        ));
        self.cloud.set(&json!({"speed": 1, resize: 0}));
        let error = json!({"message": "no capacity", "error": {"message": "no capacity"}});
        let mut full = fault(
            ("POST", ".*/change_type"),
            1,
            &json!({"status": 412, "body": error}),
        );
        if self.name == "digitalocean" {
            // The first action stops the droplet.
            full["path"] = "/v2/droplets/[0-9]+/actions".into();
            full["skip"] = 1.into();
        }
        self.cloud.faults(&json!([full]));
        rows.push(("the cloud has no capacity for a resize", resized(large)));

        self.cloud.set(&json!({"deletion": 3}));
        self.cloud.faults(&json!([]));
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
            thread::yield_now();
        }
        hitc.kill().unwrap();
        hitc.wait().unwrap();
        let mut again = self.create();
        while again.stderr.contains("`web` already exists") {
            again = self.create();
        }
        self.cloud.set(&json!({"deletion": 0}));
        rows.push((
            "hitc is killed after the cloud received a deletion",
            format!("next order: {}", self.ordered(&again)),
        ));
        // Retry-After at DigitalOcean, RateLimit-Reset at Hetzner.
        let limit = if self.name == "hetzner" { 0 } else { 5 };
        self.cloud.set(&json!({"requests": limit, "speed": 10}));
        let run = self.create();
        self.cloud.set(&json!({"requests": 250, "speed": 1}));
        rows.push(("the rate limit is used up", self.ordered(&run)));
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

/// The first line of the error, and its help.
fn said(run: &Run) -> String {
    let line = |word: &str| run.stderr.lines().find(|line| line.starts_with(word));
    let error = line("error: ").or(line("warning: ")).unwrap_or("nothing");
    let help = run.stderr.lines().map(str::trim);
    let help = help.clone().find(|line| line.starts_with("help: "));
    let help = help.map_or(String::new(), |line| format!("; {line}"));
    let text = format!("{error}{help}");
    // Ids of requests and servers differ each time.
    let text = Regex::new("requestId=[0-9a-f-]+")
        .unwrap()
        .replace(&text, "requestId=…")
        .into_owned();
    let text = Regex::new(r"\bi-[0-9a-f]{17}\b")
        .unwrap()
        .replace_all(&text, "i-…")
        .into_owned();
    Regex::new(r"\.[0-9]{16,}")
        .unwrap()
        .replace(&text, ".…")
        .into_owned()
}

#[test]
fn the_table() {
    let places = thread::scope(|scope| {
        let places = [digitalocean, ec2, gcp, hetzner].map(|place| {
            scope.spawn(move || {
                let place = place();
                (place.name, place.all())
            })
        });
        places.map(|place| place.join().unwrap())
    });
    let mut text = "# Faults of clouds, and how hitc handles them\n\n\
                    Generated by the test `faults`, which simulates each fault while `hitc nodes` lists \
                    servers, or while `hitc create`\norders one.\n"
        .to_owned();
    for (name, rows) in &places {
        text.push_str(&format!("\n## {name}\n\n| fault | outcome |\n|---|---|\n"));
        for (fault, outcome) in rows {
            let outcome = outcome.replace('|', "\\|");
            text.push_str(&format!("| {fault} | {outcome} |\n"));
        }
    }
    let path = sources().join("docs/faults.md");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default());
}
