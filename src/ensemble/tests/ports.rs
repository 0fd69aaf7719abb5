//! Containers that take ports from each other.

use super::{
    bring_up, load, plan, run, text_of,
    world::{Simulated, State},
};
use crate::{
    core::diagnostic::Failure,
    docker::State as Condition,
    ensemble::{Manifest, Request},
};

/// `api` and `web`, which depends on it, each with its image and the port that it publishes.
fn manifest(api: (&str, u16), web: (&str, u16)) -> Manifest {
    let text = format!(
        "s1:
  provider: local
  containers:
    api: {{image: \"{}\", ports: [{}]}}
    web: {{image: \"{}\", ports: [{}], environment: {{API: \"${{s1.containers.api.ip}}\"}}}}
",
        api.0, api.1, web.0, web.1
    );
    load(&text).unwrap()
}

fn up(world: &Simulated, manifest: &Manifest) -> Result<(), Failure> {
    run(bring_up(world, manifest, &Request::default()))
}

/// A world in which `api` publishes 80 and `web` 81.
fn before() -> Simulated {
    let world = Simulated::new(State::default());
    up(&world, &manifest(("app:1", 80), ("app:1", 81))).unwrap();
    world
}

/// The ports that each container publishes; those of stopped ones in brackets.
fn ports(world: &Simulated) -> Vec<String> {
    let mut state = world.state();
    let containers = &state.engine("s1").containers;
    let shown = containers.iter().map(|container| {
        let ports: Vec<u16> = container.ports().iter().map(|port| port.public).collect();
        match container.state {
            Condition::Running => format!("{} {ports:?}", container.name),
            _ => format!("({} {ports:?})", container.name),
        }
    });
    let mut shown: Vec<String> = shown.collect();
    shown.sort();
    shown
}

/// `web` depends on `api`, which takes its port: `web` is stopped before it is known whether it has to
/// be replaced.
#[test]
fn a_port_is_taken_from_a_container_that_depends_on_the_taker() {
    let world = before();
    let after = manifest(("app:1", 81), ("app:1", 80));
    up(&world, &after).unwrap();
    assert_eq!(ports(&world), ["api [81]", "web [80]"]);
    let again = run(plan(&world, &after, &Request::default())).unwrap();
    assert!(again.is_empty(), "{}", text_of(&again));
}

/// Nothing is stopped for a container whose image does not exist, nor if the image of its own
/// successor does not exist.
#[test]
fn the_images_are_there_before_the_holder_of_a_port_is_stopped() {
    let world = before();
    for (api, web) in [("missing:1", "app:1"), ("app:1", "missing:1")] {
        let failure = up(&world, &manifest((api, 81), (web, 80))).unwrap_err();
        assert!(failure.0[0].message.contains("missing:1"), "{failure:?}");
        assert_eq!(ports(&world), ["api [80]", "web [81]"]);
    }
}

/// Both containers run again as they were if the one that takes the port does not become ready.
#[test]
fn the_holder_of_a_port_runs_again_if_the_taker_fails() {
    let world = before();
    up(&world, &manifest(("broken:1", 81), ("app:1", 80))).unwrap_err();
    assert_eq!(ports(&world), ["(api.failed [81])", "api [80]", "web [81]"]);
}

/// If the port is taken when the replacement of its holder fails, the holder cannot run again: both
/// causes are shown.
#[test]
fn a_holder_that_cannot_run_again() {
    let world = before();
    let failure = up(&world, &manifest(("app:1", 81), ("broken:1", 80))).unwrap_err();
    assert_eq!(
        ports(&world),
        ["(web [81])", "(web.failed [80])", "api [81]"]
    );
    let [failure] = failure.0.as_slice() else {
        panic!("{failure:?}");
    };
    assert!(
        failure.message.contains("ended with status 1"),
        "{failure:?}"
    );
    let notes = failure.notes.join("\n");
    assert!(notes.contains("port 81"), "{failure:?}");
}
