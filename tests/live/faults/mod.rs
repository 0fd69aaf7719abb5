//! Simulates faults of clouds, and writes their outcomes to `docs/faults.md`.

mod changes;
mod orders;

use std::{fs, thread};

use regex::Regex;
use serde_json::{Value as Json, json};

use self::changes::Task;
use crate::support::{Run, sources};

/// A kind of request: method and path.
type Request = (&'static str, &'static str);

/// A task, a fault and its outcome.
type Row = (&'static str, &'static str, String);

/// Error responses of a cloud.
struct Answers {
    quota: Json,
    expired: Json,
    busy: Json,
    /// The cloud does not give a server this size, or does not start it.
    refused_size: Json,
    no_capacity: Json,
    /// Another action goes on, if the test cloud does not do that itself.
    locked: Option<Json>,
}

fn answers(provider: &str) -> Answers {
    match provider {
        "digitalocean" => digitalocean(),
        "hetzner" => hetzner(),
        "gcp" => gcp(),
        _ => ec2(),
    }
}

fn digitalocean() -> Answers {
    let error = |status: u16, id: &str, message: &str| {
        json!({"status": status,
            "body": {"id": id, "message": message, "request_id": "r-1"}})
    };
    let unprocessable = |message: &str| error(422, "unprocessable_entity", message);
    Answers {
        quota: unprocessable("creating this/these droplet(s) will exceed your droplet limit"),
        expired: error(401, "unauthorized", "Unable to authenticate you"),
        busy: error(429, "too_many_requests", "API Rate limit exceeded."),
        refused_size: unprocessable("This size is not available in this region."),
        no_capacity: unprocessable("There is no capacity to power on this Droplet."),
        locked: None,
    }
}

fn hetzner() -> Answers {
    let error = |status: u16, code: &str, message: &str| {
        json!({"status": status, "headers": {"X-Correlation-Id": "r-1"},
            "body": {"error": {"code": code, "message": message}}})
    };
    Answers {
        quota: error(403, "resource_limit_exceeded", "server limit exceeded"),
        expired: error(401, "unauthorized", "the token is not valid"),
        busy: error(
            429,
            "rate_limit_exceeded",
            "limit of 3600 requests an hour reached",
        ),
        refused_size: error(412, "resource_unavailable", "no capacity"),
        no_capacity: error(412, "resource_unavailable", "no capacity"),
        locked: None,
    }
}

fn ec2() -> Answers {
    let error = |status: u16, code: &str, message: &str| {
        json!({"status": status, "headers": {"x-amzn-requestid": "r-1"}, "body": format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error>\
             </Errors><RequestID>r-1</RequestID></Response>"
        )})
    };
    Answers {
        quota: error(
            400,
            "VcpuLimitExceeded",
            "You have requested more vCPU capacity than your current vCPU limit of 32 allows.",
        ),
        expired: error(400, "RequestExpired", "Request has expired."),
        busy: error(503, "RequestLimitExceeded", "Request limit exceeded."),
        refused_size: error(
            400,
            "Unsupported",
            "The requested configuration is currently not supported.",
        ),
        no_capacity: error(
            500,
            "InsufficientInstanceCapacity",
            "We currently do not have sufficient capacity.",
        ),
        locked: Some(error(
            400,
            "IncorrectInstanceState",
            "The instance is not in a state from which it can be modified.",
        )),
    }
}

fn gcp() -> Answers {
    let error = |status: u16, reason: &str, message: &str| {
        json!({"status": status, "body": {"error": {"code": status, "message": message,
            "errors": [{"message": message, "domain": "global", "reason": reason}]}}})
    };
    Answers {
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
        refused_size: error(
            400,
            "badRequest",
            "The machine type does not support the disks of the instance.",
        ),
        // The request is accepted, and its operation fails.
        no_capacity: json!({"status": 200, "body": {"name": "operation-1", "operationType": "start",
            "status": "DONE", "zone": "zones/europe-west1-b", "targetLink": "instances/web",
            "error": {"errors": [{"code": "ZONE_RESOURCE_POOL_EXHAUSTED",
                "message": "The zone does not have enough resources available."}]}}}),
        locked: Some(error(
            400,
            "resourceNotReady",
            "The resource 'instances/web' is not ready",
        )),
    }
}

/// More requests than any task makes until it gives up.
const ALWAYS: usize = 9999;

/// A fault that happens to the next `times` requests of this kind.
fn fault((method, path): (&str, &str), times: usize, what: &Json) -> Json {
    let mut fault = what.clone();
    fault["method"] = method.into();
    fault["path"] = path.into();
    fault["times"] = times.into();
    fault
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
    let masks = [
        ("requestId=[0-9a-f-]+", "requestId=…"),
        (r"\bi-[0-9a-f]{17}\b", "i-…"),
        (r"\.[0-9]{16,}", ".…"),
        (
            r"\b(actions/|droplets/|instances/|servers/|server )[0-9]{4,}",
            "${1}ID",
        ),
    ];
    masks.iter().fold(text, |text, (pattern, mask)| {
        let pattern = Regex::new(pattern).unwrap();
        pattern.replace_all(&text, *mask).into_owned()
    })
}

const PROVIDERS: [&str; 4] = ["digitalocean", "ec2", "gcp", "hetzner"];
const TASKS: [&str; 6] = [
    "nodes",
    "create",
    "reboot",
    "replace",
    "resize",
    "terminate",
];

/// The rows of all tasks at a cloud, which are tried at the same time.
fn rows(provider: &'static str) -> Vec<Row> {
    thread::scope(|scope| {
        let orders = scope.spawn(move || orders::outcomes(provider));
        let tasks = [Task::Replace, Task::Resize, Task::Terminate];
        let changes = tasks.map(|task| scope.spawn(move || changes::outcomes(provider, task)));
        let mut rows = orders.join().unwrap();
        for change in changes {
            rows.extend(change.join().unwrap());
        }
        rows
    })
}

#[test]
fn the_table() {
    let clouds = thread::scope(|scope| {
        let clouds = PROVIDERS.map(|provider| scope.spawn(move || rows(provider)));
        clouds.map(|cloud| cloud.join().unwrap())
    });
    let mut text = "# Faults of clouds, and how hitc handles them\n\n\
                    Generated by the test `faults`, which simulates each fault while a task runs: \
                    `replace` is\n`ensemble.up` with `replace=web`. After a failure the same command runs \
                    again, without the fault.\n"
        .to_owned();
    for (provider, rows) in PROVIDERS.iter().zip(&clouds) {
        text.push_str(&format!("\n## {provider}\n"));
        for task in TASKS {
            let mut rows = rows.iter().filter(|row| row.0 == task).peekable();
            if rows.peek().is_none() {
                continue;
            }
            text.push_str(&format!("\n### {task}\n\n| fault | outcome |\n|---|---|\n"));
            for (_, fault, outcome) in rows {
                let outcome = outcome.replace('|', "\\|");
                text.push_str(&format!("| {fault} | {outcome} |\n"));
            }
        }
    }
    let path = sources().join("docs/faults.md");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default());
}
