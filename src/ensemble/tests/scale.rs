//! Many resources: the executor follows the longest chain of dependencies, and a benchmark.

use std::{
    fmt::Write,
    fs,
    time::{Duration, Instant},
};

use super::{
    bring_up, load, plan, run,
    world::{Simulated, State},
};
use crate::ensemble::Request;

/// Servers whose containers refer to the server before.
fn manifest(servers: usize, containers: usize) -> String {
    let mut text = String::new();
    for server in 0..servers {
        let _ = writeln!(text, "s{server}:\n  provider: local\n  containers:");
        for container in 0..containers {
            let _ = writeln!(text, "    c{container}:\n      image: app:1");
            if server > 0 {
                let before = server - 1;
                let _ = writeln!(text, "      environment: {{BEFORE: \"${{s{before}.ip}}\"}}");
            }
        }
    }
    text
}

/// With a latency for each change, everything at once takes as long as its longest chain: a server
/// (two changes) and a container on it (image, create, start, rename).
#[test]
fn independent_resources_are_changed_at_once() {
    let latency = Duration::from_millis(100);
    let manifest = load(&manifest(50, 4)).unwrap();
    let world = Simulated::new(State::default()).with_latency(latency);
    let started = Instant::now();
    run(bring_up(&world, &manifest, &Request::default())).unwrap();
    // One after the other, the 900 changes would take 150 times as long.
    assert!(started.elapsed() < latency * 6 * 10);
    assert_eq!(world.state().servers.len(), 50);
}

/// Measures the planner and the executor in the simulated world, and prints a line of JSON. `SERVERS`
/// in the environment is the number of servers, each with five containers; `LATENCY` is what each
/// change takes, in milliseconds. Times are in seconds.
#[test]
#[ignore = "a benchmark: `hitc run bench.plan` runs it in release mode"]
#[expect(clippy::print_stdout, reason = "the benchmark reads it")]
fn measure() {
    let number = |name: &str, default: usize| match std::env::var(name) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => default,
    };
    let servers = number("SERVERS", 100);
    let latency = Duration::from_millis(number("LATENCY", 0) as u64);
    let text = manifest(servers, 5);
    let request = Request::default();
    let seconds = |started: Instant| (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;

    let started = Instant::now();
    let manifest = load(&text).unwrap();
    let loaded = seconds(started);
    let world = Simulated::new(State::default()).with_latency(latency);
    let started = Instant::now();
    let first = run(plan(&world, &manifest, &request)).unwrap();
    let planned = seconds(started);
    assert_eq!(first.steps.len(), servers * 6);
    drop(first);
    // The peak of this process, with the manifest, the observed state and the plan.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak.unwrap().trim_end_matches("kB").trim().parse().unwrap();
    let started = Instant::now();
    run(bring_up(&world, &manifest, &request)).unwrap();
    let applied = seconds(started);
    let started = Instant::now();
    let again = run(plan(&world, &manifest, &request)).unwrap();
    let compared = seconds(started);
    assert!(again.is_empty());
    let line = serde_json::json!({
        "servers": servers,
        "resources": servers * 6,
        "changes": world.state().changes,
        "load": loaded,
        "plan": planned,
        "memory": peak / 1024,
        "up": applied,
        "unchanged": compared,
    });
    println!("{line}");
}
