//! Faults while servers are replaced, resized and terminated.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};

use super::{ALWAYS, Answers, Request, Row, fault, said};
use crate::support::{Run, cloud::Cloud, live::Live};

/// A task that changes a server.
#[derive(Clone, Copy, PartialEq)]
pub enum Task {
    Replace,
    Resize,
    Terminate,
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Task::Replace => "replace",
            Task::Resize => "resize",
            Task::Terminate => "terminate",
        }
    }
}

/// A cloud with one server, for one task. Its servers are all one real machine.
struct Place {
    provider: &'static str,
    task: Task,
    cloud: Cloud,
    live: Live,
    answers: Answers,
    requests: Requests,
}

/// The requests of a cloud at which faults are simulated.
struct Requests {
    list: Request,
    deletion: Request,
    order: Request,
    /// The request that changes the size, and how many of this method and path come before.
    resize: (Request, usize),
    /// The request that starts the server again, likewise.
    start: (Request, usize),
    /// The request for the status of an action.
    action: Option<Request>,
    /// The default size, and another one.
    sizes: [&'static str; 2],
}

fn requests(provider: &str) -> Requests {
    match provider {
        "digitalocean" => {
            let act = ("POST", "/v2/droplets/[0-9]+/actions");
            Requests {
                // Droplets with GPUs are listed by another request at the same time.
                list: ("GET", r"/v2/droplets\?tag_name=.*"),
                deletion: ("DELETE", "/v2/droplets/[0-9]+"),
                order: ("POST", "/v2/droplets"),
                // The first action stops the droplet.
                resize: (act, 1),
                start: (act, 2),
                action: Some(("GET", "/v2/droplets/[0-9]+/actions/[0-9]+")),
                sizes: ["s-1vcpu-1gb", "s-1vcpu-2gb"],
            }
        }
        "hetzner" => Requests {
            list: ("GET", "/v1/servers"),
            deletion: ("DELETE", "/v1/servers/[0-9]+"),
            order: ("POST", "/v1/servers"),
            resize: (("POST", ".*/change_type"), 0),
            start: (("POST", ".*/poweron"), 0),
            action: Some(("GET", "/v1/actions/[0-9]+")),
            sizes: ["cx23", "cx33"],
        },
        "gcp" => Requests {
            list: ("GET", "/aggregated/instances"),
            deletion: ("DELETE", "/zones/[a-z0-9-]+/instances/[a-z0-9-]+"),
            order: ("POST", "/zones/[a-z0-9-]+/instances"),
            resize: (("POST", ".*/setMachineType"), 0),
            start: (("POST", ".*/start"), 0),
            action: Some(("GET", "/zones/[a-z0-9-]+/operations/[a-z0-9-]+")),
            sizes: ["e2-small", "e2-medium"],
        },
        _ => Requests {
            list: ("POST", "DescribeInstances"),
            deletion: ("POST", "TerminateInstances"),
            order: ("POST", "RunInstances"),
            resize: (("POST", "ModifyInstanceAttribute"), 0),
            start: (("POST", "StartInstances"), 0),
            action: None,
            sizes: ["t3.micro", "t3.small"],
        },
    }
}

/// A server as hitc lists it.
#[derive(Clone, PartialEq)]
struct Server {
    id: String,
    ip: String,
    size: String,
    state: String,
}

/// All faults of a task at this cloud, with their outcomes.
pub fn outcomes(provider: &'static str, task: Task) -> Vec<Row> {
    let (cloud, live) = Cloud::reachable(provider);
    if provider != "ec2" {
        // The faults are counted in requests: no list lags.
        cloud.set(&json!({"lag": 0}));
    }
    let requests = requests(provider);
    let manifest = format!(
        "web:\n  provider: {provider}\n  size: {}\n",
        requests.sizes[0]
    );
    let place = Place {
        provider,
        task,
        cloud,
        live: live.file("it.yml", &manifest),
        answers: super::answers(provider),
        requests,
    };
    let mut rows = place.all();
    if task == Task::Resize {
        rows.extend(place.of_actions());
    }
    rows
}

impl Place {
    /// The request that makes the change, and how many like it come before.
    fn request(&self) -> (Request, usize) {
        match self.task {
            // After the deletion: the moment in which there is no server.
            Task::Replace => (self.requests.order, 0),
            Task::Resize => self.requests.resize,
            Task::Terminate => (self.requests.deletion, 0),
        }
    }

    /// Faults at the request that makes the change.
    fn all(&self) -> Vec<Row> {
        let at = |times: usize, what: &Json| {
            let (request, skip) = self.request();
            let mut fault = fault(request, times, what);
            fault["skip"] = skip.into();
            json!([fault])
        };
        let broken = json!({"status": 500, "body": "<html>Internal error</html>"});
        let mut rows = vec![
            self.row("too many requests, twice", &at(2, &self.answers.busy)),
            self.row("status 500, three times", &at(3, &broken)),
            self.row("status 500, always", &at(ALWAYS, &broken)),
            self.row(
                "an invalid response after the cloud received the request",
                &at(1, &json!({"kind": "garbage", "after": true})),
            ),
            self.row(
                "the connection breaks after the cloud received the request",
                &at(1, &json!({"kind": "cut", "after": true})),
            ),
            self.row(
                "no response for 30 s, once",
                &at(1, &json!({"kind": "hang"})),
            ),
            self.row("expired credentials", &at(ALWAYS, &self.answers.expired)),
            self.killed_row(
                "hitc is killed before the cloud receives the request",
                &at(1, &json!({"kind": "hang"})),
            ),
            self.killed_row(
                "hitc is killed after the cloud received the request",
                &at(1, &json!({"kind": "hang", "after": true})),
            ),
        ];
        // An order whose response was lost is looked for: at DigitalOcean, for a minute each time.
        rows.push(self.gone_row());
        match self.task {
            // EC2 has no locks.
            Task::Terminate if self.provider == "ec2" => {}
            Task::Terminate => rows.push(self.locked_row()),
            Task::Resize => {
                rows.push(self.row(
                    "the cloud refuses the size",
                    &at(1, &self.answers.refused_size),
                ));
                rows.push(self.locked_row());
            }
            Task::Replace => {
                rows.push(self.row("an exceeded quota", &at(1, &self.answers.quota)));
                let hang = json!({"kind": "hang", "after": true});
                rows.push(self.killed_row(
                    "hitc is killed after the cloud received the deletion",
                    &json!([fault(self.requests.deletion, 1, &hang)]),
                ));
            }
        }
        rows
    }

    /// Faults of the actions of a resize.
    fn of_actions(&self) -> Vec<Row> {
        let (start, skip) = self.requests.start;
        let full = &self.answers.no_capacity;
        let mut not_started = fault(start, ALWAYS, full);
        not_started["skip"] = skip.into();
        let mut rows = vec![self.row(
            "the cloud does not start the server again",
            &json!([not_started]),
        )];
        if let Some(action) = self.requests.action {
            let resize = match self.provider {
                "digitalocean" => "resize",
                "hetzner" => "change_type",
                _ => "setMachineType",
            };
            let broken = json!({"status": 503, "body": {}});
            self.cloud.set(&json!({"speed": 360, resize: 7200}));
            let what = "it takes two hours, and the cloud does not answer meanwhile";
            rows.push(self.row(what, &json!([fault(action, 7, &broken)])));
            self.cloud.set(&json!({"speed": 1, resize: 0}));
        }
        rows
    }

    /// Another action goes on at the server.
    fn locked_row(&self) -> Row {
        let what = "another action locks the server";
        if let Some(locked) = &self.answers.locked {
            let (request, skip) = self.request();
            let mut fault = fault(request, 3, locked);
            fault["skip"] = skip.into();
            return self.row(what, &json!([fault]));
        }
        self.prepare();
        self.cloud.set(&json!({"reboot": 2}));
        let full = self.live.container("web");
        self.cloud.post("/_act", &json!([full, "reboot"]));
        self.outcome(what, &json!([]))
    }

    /// The server is gone right after it was listed, and nothing answers at its address.
    fn gone_row(&self) -> Row {
        self.prepare();
        let before = self.server();
        // Else the cached list is used.
        self.live.run(&["run", "uncache"]).ok();
        let gone = json!([fault(self.requests.list, 1, &json!({"kind": "shift"}))]);
        // All servers are one machine: without this, it would answer for the server that is gone.
        let path = self.live.home().join(".ssh/config");
        let config = fs::read_to_string(&path).unwrap();
        let address = &before.as_ref().unwrap().ip;
        let closed = format!("Host {address}\n HostName 127.0.0.1\n Port 1\n{config}");
        fs::write(&path, closed).unwrap();
        let row = self.outcome_of(
            "the cloud terminates the server meanwhile",
            &gone,
            before.as_ref(),
        );
        fs::write(&path, config).unwrap();
        row
    }

    fn row(&self, what: &'static str, faults: &Json) -> Row {
        self.prepare();
        self.outcome(what, faults)
    }

    /// Runs the task with faults and describes the outcome, then runs it again if it failed.
    fn outcome(&self, what: &'static str, faults: &Json) -> Row {
        let before = self.server();
        self.outcome_of(what, faults, before.as_ref())
    }

    fn outcome_of(&self, what: &'static str, faults: &Json, before: Option<&Server>) -> Row {
        let words = self.words(before);
        self.cloud.faults(faults);
        let run = self.run(&words);
        self.cloud.faults(&json!([]));
        let mut text = self.described(&run, before);
        if run.status != 0 {
            let again = self.run(&words);
            text += &format!("; next run: {}", self.described(&again, before));
        }
        (self.task.name(), what, text)
    }

    /// Runs the task, and kills it when it met the fault. Then runs it again.
    fn killed_row(&self, what: &'static str, faults: &Json) -> Row {
        self.prepare();
        let before = self.server();
        let words = self.words(before.as_ref());
        let met = self.cloud.get("/_hanging");
        self.cloud.faults(faults);
        let mut hitc = self
            .live
            .spawn(&words.iter().map(String::as_str).collect::<Vec<_>>());
        while self.cloud.get("/_hanging") == met {
            assert!(hitc.try_wait().unwrap().is_none(), "{what}: not met");
            thread::sleep(Duration::from_millis(20));
        }
        hitc.kill().unwrap();
        hitc.wait().unwrap();
        self.cloud.faults(&json!([]));
        // DigitalOcean does not say that a droplet is being deleted: until it is gone, it looks alive.
        while self.cloud.get("/_ending") != json!(0) {
            thread::sleep(Duration::from_millis(20));
        }
        let left = self.state(before.as_ref());
        let again = self.run(&words);
        (
            self.task.name(),
            what,
            format!(
                "{left}; next run: {}",
                self.described(&again, before.as_ref())
            ),
        )
    }

    /// Makes sure that one server runs, which is of the manifest.
    fn prepare(&self) {
        self.cloud.faults(&json!([]));
        match self.server() {
            Some(server) if server.state == "running" => {}
            Some(_) => drop(self.live.run(&["-y", "run", "-H", "web", "reboot"]).ok()),
            None => drop(self.live.run(&["-y", "run", "ensemble.up", "it"]).ok()),
        }
    }

    /// The words of the task, for this server.
    fn words(&self, server: Option<&Server>) -> Vec<String> {
        let words = match self.task {
            Task::Replace => vec!["-y", "run", "ensemble.up", "it", "replace=web"],
            Task::Resize => vec!["-y", "run", "-H", "web", "resize"],
            Task::Terminate => vec!["-y", "run", "-H", "web", "terminate"],
        };
        let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        if self.task == Task::Resize {
            words.push(format!("size={}", self.other_size(server)));
        }
        words
    }

    fn other_size(&self, server: Option<&Server>) -> &'static str {
        let [size, other] = self.requests.sizes;
        if server.is_some_and(|server| server.size == size) {
            other
        } else {
            size
        }
    }

    fn run(&self, words: &[String]) -> Run {
        self.live
            .run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The server that is listed, when the list has as many servers as cost money.
    fn server(&self) -> Option<Server> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let listed = self.live.run(&["nodes", "-o", "json", "--any-owner"]);
            let mut listed: Vec<Server> = listed
                .ok()
                .json_rows()
                .iter()
                .filter(|node| node["provider"] == self.provider)
                .map(|node| {
                    let text = |key: &str| node[key].as_str().unwrap().to_owned();
                    Server {
                        id: text("id"),
                        ip: text("ip"),
                        size: text("size"),
                        state: text("state"),
                    }
                })
                .collect();
            if self.cloud.get("/_count") == json!(listed.len()) {
                assert!(listed.len() < 2, "{} servers", listed.len());
                return listed.pop();
            }
            assert!(Instant::now() < end, "{} servers are listed", listed.len());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What there is, compared with what there was.
    fn state(&self, before: Option<&Server>) -> String {
        let Some(now) = self.server() else {
            return "no server".to_owned();
        };
        let is_same = before.is_some_and(|before| before.id == now.id);
        let which = if is_same {
            "the server"
        } else {
            "a new server"
        };
        let size = match self.task {
            Task::Resize if before.is_some_and(|before| before.size == now.size) => {
                ", with its old size"
            }
            Task::Resize => ", with its new size",
            _ => "",
        };
        format!("{which} is {}{size}", now.state)
    }

    fn described(&self, run: &Run, before: Option<&Server>) -> String {
        let done = match self.task {
            Task::Replace => "replaced",
            Task::Resize => "resized",
            Task::Terminate => "terminated",
        };
        let said = match run.status {
            0 => done.to_owned(),
            status => format!("{} (exit {status})", said(run)),
        };
        format!("{said}; {}", self.state(before))
    }
}
