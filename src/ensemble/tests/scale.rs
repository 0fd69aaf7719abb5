//! Many resources: the executor follows the longest chain of dependencies.

use std::{fmt::Write, time::Duration};

use super::{
    bring_up, load, run,
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
    let started = std::time::Instant::now();
    run(bring_up(&world, &manifest, &Request::default())).unwrap();
    // One after the other, the 900 changes would take 150 times as long.
    assert!(started.elapsed() < latency * 6 * 10);
    assert_eq!(world.state().servers.len(), 50);
}
