//! Runs that are cut after any operation, and runs that go on at the same time.

use std::collections::{BTreeMap, HashMap};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::{
    bring_up,
    generate::{text, up_to},
    load, owner, plan, run, take_down, text_of,
    world::{Engine, Server, Simulated, State},
};
use crate::{
    core::owner::{Owner, Ownership},
    docker::{Container, State as Condition, labels},
    ensemble::{
        Execution, Manifest, Request, apply,
        converge::{Converging, Goal},
    },
    provider::NodeState,
};

/// How many cuts are made in all, by both threads.
const CUTS: usize = 100_000;

/// Two manifests and the world in which the first was brought up, with things of others in it.
struct Scene {
    before: Manifest,
    after: Manifest,
    shown: String,
    state: State,
}

impl Scene {
    fn generate(runner: &mut TestRunner, random: &mut fastrand::Rng) -> Self {
        // Most are small: a cut of a small one is as good as one of a large one, and cheaper.
        let (servers, containers) = if random.u8(0..40) == 0 {
            (4, 4)
        } else {
            (2, 2)
        };
        let mut draw = || {
            let drawn = up_to(servers, containers).new_tree(runner);
            drawn.unwrap().current()
        };
        let first = draw();
        let is_other = random.bool();
        let mut second = if is_other { draw() } else { first.clone() };
        for containers in &mut second {
            for container in containers.iter_mut() {
                if random.u8(0..3) == 0 {
                    container.push(format!("hostname: edited-{}", random.u8(0..3)));
                }
            }
            if random.u8(0..4) == 0 {
                containers.pop();
            }
        }
        let shown = format!("{}---\n{}", text(&first, false), text(&second, false));
        let before = load(&text(&first, false)).unwrap();
        let after = load(&text(&second, random.bool())).unwrap();
        let world = Simulated::new(State::default());
        run(bring_up(&world, &before, &Request::default())).unwrap();
        world.happen(|state| {
            // Which containers of a stopped server hold ports is not known: others cannot take
            // them in the same run.
            if !is_other && random.u8(0..3) == 0 {
                stop_a_server(state, &after, random);
            }
            add_strangers(state, random);
        });
        Scene {
            before,
            after,
            shown,
            state: world.state(),
        }
    }
}

/// Stops a server as its owner would at the provider: its containers end. Not one with containers
/// that are pruned: these are seen, and can be pruned, only once it runs again.
fn stop_a_server(state: &mut State, after: &Manifest, random: &mut fastrand::Rng) {
    let is_kept = |server: &&mut Server| {
        let name = &server.node.name;
        let mut containers = server.engine.iter().flat_map(|engine| &engine.containers);
        containers.all(|container| after.container(name, &container.name).is_some())
    };
    let mut candidates: Vec<_> = state.servers.values_mut().filter(is_kept).collect();
    if candidates.is_empty() {
        return;
    }
    let at = random.usize(0..candidates.len());
    let server = &mut *candidates[at];
    server.node.state = NodeState::Stopped;
    let containers = server.engine.iter_mut().flat_map(|e| &mut e.containers);
    for container in containers.filter(|container| container.state.holds_processes()) {
        container.state = Condition::Exited;
        container.ip = None;
    }
}

/// Adds servers and containers of others, under names that look like ours.
fn add_strangers(state: &mut State, random: &mut fastrand::Rng) {
    let other = Owner {
        project: "fedcba9876543210fedcba9876543210".to_owned(),
        ..owner()
    };
    let mut servers = Vec::new();
    for (index, server) in state.servers.values_mut().enumerate() {
        let mut stranger = server.clone();
        stranger.node.id = format!("stranger{index}");
        stranger.node.name = format!("other{index}");
        stranger.node.owner = Ownership::Owner(other.clone());
        servers.push(stranger);
        let engine = server.engine.get_or_insert_default();
        let Some(model) = engine.containers.first().cloned() else {
            continue;
        };
        for (at, name) in ["kept", "c9.old", "c9.new"].iter().enumerate() {
            if random.bool() {
                continue;
            }
            let mut stranger: Container = model.clone();
            stranger.id = format!("{:0>64x}", 0xabc_0000 + index * 16 + at);
            (*name).clone_into(&mut stranger.name);
            stranger.options.unset("ports");
            // So that it does not start together with its server.
            stranger.options.set_text("restart", "no");
            stranger.anonymous.clear();
            if random.bool() {
                stranger.labels.clear();
            } else {
                stranger
                    .labels
                    .insert(labels::PROJECT.to_owned(), other.project.clone());
            }
            engine.containers.push(stranger);
        }
    }
    for server in servers {
        state.add(server);
    }
}

/// What must be the same however often a run was cut: everything but ids and addresses.
fn essence(state: &State) -> Vec<String> {
    let mut lines = Vec::new();
    for server in state.servers.values() {
        let node = &server.node;
        lines.push(format!(
            "{} {} {:?} {:?}",
            node.name, node.size, node.state, node.owner
        ));
        // The addresses in its rules differ.
        let ports = server.firewall.iter().flat_map(|firewall| {
            let rules = firewall.rules.as_ref().unwrap();
            rules.ports().collect::<Vec<_>>()
        });
        lines.extend(ports.map(|ports| format!("{} {ports}", node.name)));
        for container in server.engine.iter().flat_map(|engine| &engine.containers) {
            let labels: BTreeMap<&String, &String> = container
                .labels
                .iter()
                .filter(|(key, _)| ![labels::SPEC, labels::REPLACES].contains(&key.as_str()))
                .collect();
            let mut options = serde_json::to_value(&container.options).unwrap();
            // Some values contain addresses, and so the digest in the labels differs.
            options.as_object_mut().unwrap().remove("labels");
            options["environment"] = container.options.environment().keys().cloned().collect();
            lines.push(format!(
                "{}.{} {:?} {} {options} {labels:?}",
                node.name, container.name, container.state, container.image,
            ));
        }
    }
    lines.sort();
    lines
}

/// Fails with the lines that differ.
fn assert_same(found: &[String], wanted: &[String], scene: &Scene, at: &str) {
    let only = |some: &[String], others: &[String]| -> String {
        let lines = some.iter().filter(|line| !others.contains(line));
        lines.map(|line| format!("{line}\n")).collect()
    };
    assert!(
        found == wanted,
        "{at}\nfound:\n{}wanted:\n{}{}",
        only(found, wanted),
        only(wanted, found),
        scene.shown
    );
}

/// Everything of others, as it is.
fn strangers(state: &State) -> Vec<String> {
    let mut lines = Vec::new();
    for server in state.servers.values() {
        if !server.node.owner.is(&owner()) {
            lines.push(format!("{:?}", server.node));
        }
        let containers = server.engine.iter().flat_map(|engine| &engine.containers);
        let foreign = containers.filter(|container| !container.ownership().is(&owner()));
        lines.extend(foreign.map(|container| format!("{container:?}")));
    }
    lines.sort();
    lines
}

/// Everything of others that a run must leave as it was: all of it, except what was on a server of
/// ours that was terminated.
fn surviving_strangers(before: &State, after: &State) -> Vec<String> {
    let mut left = before.clone();
    left.servers
        .retain(|key, server| !server.node.owner.is(&owner()) || after.servers.contains_key(key));
    strangers(&left)
}

/// What was written to the anonymous volumes of each container.
fn data(state: &State) -> BTreeMap<String, Vec<String>> {
    let mut data = BTreeMap::new();
    for server in state.servers.values() {
        let Some(Engine {
            containers,
            volumes,
            ..
        }) = &server.engine
        else {
            continue;
        };
        for container in containers.iter().filter(|c| c.ownership().is(&owner())) {
            let written = container.anonymous.iter();
            let written = written.filter_map(|volume| volumes.get(&volume.host).cloned());
            data.insert(
                format!("{}.{}", server.node.name, container.name),
                written.collect::<Vec<_>>(),
            );
        }
    }
    data
}

fn request() -> Request {
    Request {
        prune: true,
        ..Request::default()
    }
}

/// Whether everything that was written before is still there, for what is still in the manifest.
fn assert_nothing_lost(scene: &Scene, before: &State, after: &State) {
    let now = data(after);
    for (name, written) in data(before) {
        let (server, container) = name.split_once('.').unwrap();
        if scene.after.container(server, container).is_some() {
            for volume in written {
                assert!(
                    now[&name].contains(&volume),
                    "{name} lost its data\n{}",
                    scene.shown
                );
            }
        }
    }
}

/// What a run that is not interrupted reaches.
struct Reached {
    ours: Vec<String>,
    others: Vec<String>,
    /// The state after each of its changes.
    history: Vec<State>,
}

impl Reached {
    fn by(scene: &Scene, seed: u64) -> Self {
        let world = Simulated::new(scene.state.clone())
            .interleaved(seed)
            .recording();
        run(bring_up(&world, &scene.after, &request()))
            .unwrap_or_else(|failure| panic!("{failure:?}\n{}", scene.shown));
        let state = world.state();
        let others = surviving_strangers(&scene.state, &state);
        assert_same(&strangers(&state), &others, scene, "not cut");
        Reached {
            ours: essence(&state),
            others,
            history: world.history(),
        }
    }

    /// Fails unless another run reached the same, lost nothing, and left nothing to do.
    fn assert_reached_by(&self, world: &Simulated, scene: &Scene, at: &str) {
        let state = world.state();
        assert_same(&essence(&state), &self.ours, scene, at);
        assert_same(&strangers(&state), &self.others, scene, at);
        assert_nothing_lost(scene, &scene.state, &state);
        let again = run(plan(world, &scene.after, &request())).unwrap();
        assert!(
            again.is_empty(),
            "{at}\n{}\n{}",
            text_of(&again),
            scene.shown
        );
    }
}

/// Cuts a run after every change that it makes, and brings the same manifest up again from there.
/// Returns how many cuts were made.
fn cut_everywhere(scene: &Scene, reached: &Reached, seed: u64) -> usize {
    for (at, state) in reached.history.iter().enumerate() {
        let world = Simulated::new(state.clone()).interleaved(seed + at as u64);
        run(bring_up(&world, &scene.after, &request()))
            .unwrap_or_else(|failure| panic!("cut {at}: {failure:?}\n{}", scene.shown));
        reached.assert_reached_by(&world, scene, &format!("cut {at}"));
    }
    reached.history.len()
}

/// Kills a run after a few changes, and every run that continues it, until one has nothing left
/// to do. Returns how many were killed.
fn cut_again_and_again(scene: &Scene, reached: &Reached, random: &mut fastrand::Rng) -> usize {
    let world = Simulated::new(scene.state.clone()).interleaved(random.u64(..));
    let mut cuts = 0;
    loop {
        let request = request();
        let attempt = bring_up(&world, &scene.after, &request);
        match run(world.killed_after(random.u64(1..6), attempt)) {
            None => cuts += 1,
            Some(Ok(())) => break,
            Some(Err(failure)) => panic!("after {cuts} cuts: {failure:?}\n{}", scene.shown),
        }
        // The longest run makes about sixty changes.
        assert!(cuts < 300, "no end\n{}", scene.shown);
    }
    reached.assert_reached_by(&world, scene, &format!("after {cuts} cuts"));
    cuts
}

fn runner(seed: u8) -> TestRunner {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    TestRunner::new_with_rng(Config::default(), rng)
}

/// Whatever a run had done when it was killed, the next one finishes it: with the same result, no
/// duplicate, nothing lost, nothing of others touched, and nothing left to do.
#[test]
fn a_run_that_is_cut_anywhere_is_finished_by_the_next() {
    let half = |seed: u8| {
        let mut runner = runner(seed);
        let mut random = fastrand::Rng::with_seed(seed.into());
        let (mut cuts, mut scenes) = (0, 0);
        while cuts < CUTS / 2 {
            let scene = Scene::generate(&mut runner, &mut random);
            let reached = Reached::by(&scene, random.u64(..));
            cuts += cut_everywhere(&scene, &reached, random.u64(..));
            for _ in 0..10 {
                cuts += cut_again_and_again(&scene, &reached, &mut random);
            }
            scenes += 1;
        }

        assert!(scenes > 500);
    };
    std::thread::scope(|scope| {
        for seed in [1, 2] {
            scope.spawn(move || half(seed));
        }
    });
}

/// A run that fails anywhere stops cleanly, and the next one goes on.
#[test]
fn a_run_that_fails_anywhere_is_finished_by_the_next() {
    let mut runner = runner(3);
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..200 {
        let scene = Scene::generate(&mut runner, &mut random);
        let whole = Simulated::new(scene.state.clone());
        run(bring_up(&whole, &scene.after, &request())).unwrap();
        let changes = whole.state().changes - scene.state.changes;
        if changes == 0 {
            continue;
        }
        let world = Simulated::new(scene.state.clone()).failing_in(random.u64(0..changes));
        // The removal of what has been replaced may fail after everything else.
        let _ = run(bring_up(&world, &scene.after, &request()));
        run(bring_up(&world, &scene.after, &request())).unwrap();
        let state = world.state();
        let mut reached = essence(&state);
        // What failed is kept for inspection.
        reached.retain(|line| !line.contains(".failed "));
        assert_same(
            &reached,
            &essence(&whole.state()),
            &scene,
            "after a failure",
        );
        assert_nothing_lost(&scene, &scene.state, &state);
    }
}

/// Two runs at the same time: the simulated engine refuses every change that is not made under the
/// lock, so the two never change the same server. A run that fails says why, and the next run finishes.
#[test]
fn two_runs_at_once_do_not_mix() {
    let mut runner = runner(4);
    let mut random = fastrand::Rng::with_seed(4);
    let (mut both, mut one) = (0, 0);
    for _ in 0..2_000 {
        let scene = Scene::generate(&mut runner, &mut random);
        let world = Simulated::new(scene.state.clone()).interleaved(random.u64(..));
        let second = world.for_another_run();
        let other = if random.bool() {
            &scene.after
        } else {
            &scene.before
        };
        let (asked, asked_too) = (request(), request());
        let results = run(async {
            tokio::join!(
                bring_up(&world, &scene.after, &asked),
                bring_up(&second, other, &asked_too),
            )
        });
        let failures: Vec<_> = [results.0, results.1]
            .into_iter()
            .filter_map(Result::err)
            .collect();
        match failures.len() {
            0 => both += 1,
            1 => one += 1,
            _ => {}
        }
        for failure in failures {
            let message = &failure.0[0].message;
            let is_clean = [
                "another run is changing it",
                "already exists",
                "no longer exists",
                "meanwhile",
                "gone",
            ];
            assert!(
                is_clean.iter().any(|text| message.contains(text)),
                "{message}"
            );
        }
        run(bring_up(&world, &scene.after, &request())).unwrap();
        let alone = Simulated::new(scene.state.clone());
        run(bring_up(&alone, &scene.after, &request())).unwrap();
        assert_same(
            &essence(&world.state()),
            &essence(&alone.state()),
            &scene,
            "after two runs",
        );
        assert_same(
            &strangers(&world.state()),
            &surviving_strangers(&scene.state, &world.state()),
            &scene,
            "after two runs",
        );
    }
    assert!(both > 0 && one > 0);
}

/// Taking down is cut anywhere, too.
#[test]
fn taking_down_is_finished_by_the_next_run() {
    let mut runner = runner(5);
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..100 {
        let scene = Scene::generate(&mut runner, &mut random);
        let whole = Simulated::new(scene.state.clone()).recording();
        run(take_down(&whole, &scene.before)).unwrap();
        for state in whole.history() {
            let world = Simulated::new(state);
            run(take_down(&world, &scene.before)).unwrap();
            let left = world.state();
            assert!(
                left.servers
                    .values()
                    .all(|server| !server.node.owner.is(&owner()))
            );
            assert_eq!(strangers(&left), surviving_strangers(&scene.state, &left));
        }
    }
}

/// A plan finishes the server that it names, and not another one of the same name.
#[test]
fn only_the_planned_server_is_finished() {
    let manifest = load("web:\n  provider: local\n").unwrap();
    let world = Simulated::new(State::default());
    run(bring_up(&world, &manifest, &request())).unwrap();
    world.happen(|state| state.server("web").node.state = NodeState::Creating);
    let request = request();
    let converging = Converging::new(&world, Goal::Up, &manifest, owner(), &request).unwrap();
    let look = run(converging.look()).unwrap();
    assert!(text_of(&look.made.plan).contains("finish"));
    world.happen(|state| {
        let (_, mut server) = state.servers.pop_first().unwrap();
        "another".clone_into(&mut server.node.id);
        state.add(server);
    });
    let owner = owner();
    let execution = Execution::new(
        &world,
        &manifest,
        &owner,
        &request,
        &look.observed,
        look.made.facts,
        HashMap::new(),
    );
    let lines = run(apply(&look.made.plan, &execution));
    let failure = lines[0].failure.clone().unwrap();
    assert!(
        failure.message.contains("not found at local"),
        "{failure:?}"
    );
    assert_eq!(world.state().server("web").node.state, NodeState::Creating);
    assert_eq!(world.state().servers.len(), 1);
}
