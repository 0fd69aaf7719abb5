//! Replicas that are changed in batches: how many at the same time, and after failures.

use super::{
    bring_up, load, plan, run,
    world::{Simulated, State},
};
use crate::{
    core::diagnostic::Failure,
    docker::State as Condition,
    ensemble::{Manifest, Request},
    fleet::Rollout,
};

fn manifest(image: &str) -> Manifest {
    let text = format!(
        "s:
  provider: local
  count: 4
  containers:
    db: {{image: \"db:{image}\"}}
    app: {{image: \"app:{image}\", environment: {{DB: \"${{host.containers.db.ip}}\"}}}}
"
    );
    load(&text).unwrap()
}

fn request(batches: &[&str], max_fail: Option<&str>) -> Request {
    Request {
        rollout: Rollout {
            batches: batches.iter().map(|size| size.parse().unwrap()).collect(),
            max_fail: max_fail.map(|most| most.parse().unwrap()),
            fail_fast: false,
        },
        ..Request::default()
    }
}

fn before() -> Simulated {
    let world = Simulated::new(State::default());
    run(bring_up(&world, &manifest("1"), &Request::default())).unwrap();
    world
}

const SERVERS: [&str; 4] = ["s", "s-1", "s-2", "s-3"];

/// Whether a container serves.
fn serves(state: &State, server: &str, name: &str) -> bool {
    let mut state = state.clone();
    let containers = &state.engine(server).containers;
    containers
        .iter()
        .any(|one| one.name == name && one.state == Condition::Running)
}

/// The image of a container on each server.
fn images(world: &Simulated, name: &str) -> Vec<String> {
    let mut state = world.state();
    SERVERS
        .iter()
        .map(|server| state.container(server, name).image.clone())
        .collect()
}

/// How many servers lack their database or their app, at most, at any time.
#[test]
fn as_many_as_a_batch_are_down_at_the_same_time() {
    for (batches, forks, most) in [
        (&["1"][..], None, 1),
        (&["50%"], None, 2),
        (&["1", "100%"], Some(2), 2),
        (&[], Some(1), 1),
    ] {
        let world = before().interleaved(7).recording();
        let request = Request {
            forks,
            ..request(batches, None)
        };
        run(bring_up(&world, &manifest("2"), &request)).unwrap();
        let history = world.history();
        let down = history.iter().map(|state| {
            let is_down =
                |server: &&&str| !serves(state, server, "db") || !serves(state, server, "app");
            SERVERS.iter().filter(is_down).count()
        });
        assert_eq!(down.max(), Some(most), "{batches:?} {forks:?}");
        assert_eq!(images(&world, "app"), ["app:2"; 4]);
        let rest = run(plan(&world, &manifest("2"), &request)).unwrap();
        assert!(rest.is_empty());
    }
}

/// Makes an image fail on some servers, and brings it up.
fn failing(world: &Simulated, broken: &[&str], request: &Request) -> Result<(), Failure> {
    let text = "\
s:
  provider: local
  count: 4
  containers:
    db: {image: \"db:1\"}
    app: {image: \"missing:2\", environment: {DB: \"${host.containers.db.ip}\"}}
";
    world.happen(|state| {
        for server in SERVERS.iter().filter(|server| !broken.contains(server)) {
            let images = &mut state.engine(server).images;
            images.insert("missing:2".to_owned(), "sha256:2".to_owned());
        }
    });
    run(bring_up(world, &load(text).unwrap(), request))
}

#[test]
fn after_a_failure_the_rest_stays_as_it_is() {
    for (batches, max_fail, broken, shown) in [
        (&["1"][..], None, &["s"][..], "1111"),
        (&["1"], None, &["s-2"], "2211"),
        (&["50%"], None, &["s-1"], "2111"),
        // As many may fail as the user says, in all batches together.
        (&["1"], Some("1"), &["s"], "1222"),
        (&["1"], Some("1"), &["s", "s-2"], "1211"),
        (&["1"], Some("50%"), &["s", "s-2"], "1212"),
        (&["1"], Some("50%"), &["s", "s-1", "s-2"], "1111"),
    ] {
        let world = before();
        let failure = failing(&world, broken, &request(batches, max_fail)).unwrap_err();
        assert!(
            failure
                .0
                .iter()
                .all(|error| error.message.contains("missing:2"))
        );
        let images: String = images(&world, "app")
            .iter()
            .map(|image| image.chars().last().unwrap())
            .collect();
        assert_eq!(images, shown, "{batches:?} {max_fail:?} {broken:?}");
    }
}

/// A server that fails does not stop what others need, unless the user says so.
#[test]
fn after_a_failure_nothing_more_begins_with_fail_fast() {
    let after = "\
s: {provider: local, containers: {app: {image: \"missing:1\"}, late: {image: \"app:2\", depends_on: [fine]}, fine: {image: \"app:1\"}}}
";
    for (fail_fast, exists) in [(false, true), (true, false)] {
        let world = Simulated::new(State::default());
        let request = Request {
            rollout: Rollout {
                fail_fast,
                ..Rollout::default()
            },
            ..Request::default()
        };
        run(bring_up(&world, &load(after).unwrap(), &request)).unwrap_err();
        let mut state = world.state();
        let containers = &state.engine("s").containers;
        let found = containers.iter().any(|one| one.name == "late");
        assert_eq!(found, exists);
    }
}
