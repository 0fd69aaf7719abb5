//! What is decided about manifests, from data files (`tests/cases/ensemble/`) and from random
//! manifests.
//!
//! The world is made up: what a provider and an engine would show after a manifest was brought up.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use proptest::prelude::*;
use serde::Deserialize;

use super::{
    Action, EngineState, Graph, Manifest, Observed, Request, ServerState, Thing,
    manifest::Facts,
    reconcile::{decode, reconcile},
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind, Source},
        owner::{Owner, Ownership},
        value::Value,
    },
    docker::{State, as_made, labels},
    ensemble::manifest::read,
    inventory::Providers,
    provider::{Address, Local, Node, NodeState, Provider, Unmanaged},
    ui::render,
};

fn providers() -> Providers {
    Providers::new(vec![
        Arc::new(Local::new("X-", PathBuf::from("/nowhere"))),
        Arc::new(Unmanaged::new("/nowhere".into())),
    ])
}

fn load(text: &str) -> Result<Manifest, Failure> {
    read(
        "it",
        Source::new("it.yml", text),
        PathBuf::from("."),
        &providers(),
    )
}

fn differences(
    node: &Node,
    options: &Value,
) -> Result<Vec<crate::provider::ServerChange>, crate::core::value::Invalid> {
    Local::new("X-", PathBuf::from("/nowhere")).changes(node, options)
}

fn plan(
    manifest: &Manifest,
    observed: &Observed,
    request: &Request,
) -> Result<super::Plan, Failure> {
    let graph = Graph::of(manifest)?;
    reconcile(manifest, &graph, observed, request, &differences)
}

/// The world after a manifest was brought up.
fn world(manifest: &Manifest) -> Observed {
    let mut observed = Observed::default();
    let mut facts = Facts::of(manifest);
    let labels = BTreeMap::from([(labels::MANIFEST.to_owned(), manifest.id.clone())]);
    let graph = Graph::of(manifest).unwrap();
    for (index, thing) in graph.things().enumerate() {
        match thing {
            Thing::Server(name) => {
                let server = manifest.server(name).unwrap();
                let options = server.options.resolve(&|v| facts.value(name, v)).unwrap();
                let option = |key: &str, default: &str| {
                    let entries = options.to_map("options").unwrap();
                    let found = entries.iter().find(|entry| entry.key == key);
                    found.map_or(default.to_owned(), |entry| entry.value.scalar().unwrap())
                };
                let node = Node {
                    provider: "local".to_owned(),
                    name: name.clone(),
                    id: format!("id-{name}"),
                    size: option("size", "unlimited"),
                    image: option("image", "debian-13"),
                    ip: Address::parse_ip(&format!("10.0.{}.{}", index / 256, index % 256)),
                    internal_ip: Address::parse_ip(&format!(
                        "10.1.{}.{}",
                        index / 256,
                        index % 256
                    )),
                    state: NodeState::Running,
                    created: None,
                    owner: Ownership::Owner(Owner {
                        project: "test".to_owned(),
                        manifest: Some(manifest.id.clone()),
                    }),
                    user: None,
                    region: String::new(),
                    is_protected: false,
                };
                facts.server(&node);
                let engine = EngineState::Running {
                    containers: Vec::new(),
                    images: BTreeMap::new(),
                };
                observed
                    .servers
                    .insert(name.clone(), ServerState { node, engine });
            }
            Thing::Container(server, name) => {
                let container = manifest.container(server, name).unwrap();
                let body = container.body.resolve(&|v| facts.value(server, v)).unwrap();
                let spec = decode(manifest, container, &body).unwrap();
                let made = as_made(&spec, &labels, &format!("172.17.0.{index}"));
                facts.container(server, &made);
                let state = observed.servers.get_mut(server).unwrap();
                let EngineState::Running { containers, images } = &mut state.engine else {
                    panic!("the engine runs");
                };
                images.insert(spec.image.name().to_owned(), made.image_id.clone());
                containers.push(made);
            }
        }
    }
    observed
}

/// A data file: what there was, what happened to it, what there should be, and what is decided.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    before: Option<String>,
    /// `VERB THING`, one a line.
    #[serde(default)]
    meanwhile: Vec<String>,
    after: String,
    #[serde(default)]
    prune: bool,
    #[serde(default)]
    replace: BTreeSet<String>,
    plan: String,
}

/// Does to the world what a line of a case says.
fn happen(observed: &mut Observed, line: &str) {
    let (verb, thing) = line.split_once(' ').unwrap();
    let (server, name) = thing.split_once('.').unwrap_or((thing, ""));
    if name.is_empty() {
        let state = observed.servers.get_mut(server).unwrap();
        match verb {
            "stop" => {
                state.node.state = NodeState::Stopped;
                state.engine = EngineState::Off;
            }
            "half-make" => {
                state.node.state = NodeState::Creating;
                state.engine = EngineState::Off;
            }
            "lose-docker" => state.engine = EngineState::Missing,
            "cut-off" => {
                let error = format!("host `{server}`: connection refused (10.0.0.0:22)");
                state.engine = EngineState::Unreachable(Diagnostic::new(Kind::Unreachable, error));
            }
            "terminate" => drop(observed.servers.remove(server)),
            other => panic!("{other}"),
        }
        return;
    }
    let state = observed.servers.get_mut(server).unwrap();
    let EngineState::Running { containers, images } = &mut state.engine else {
        panic!("the engine runs");
    };
    let at = containers
        .iter()
        .position(|container| container.name == name)
        .unwrap();
    match verb {
        "stop" => containers[at].state = State::Exited,
        "remove" => drop(containers.remove(at)),
        "disown" => containers[at].labels.clear(),
        "unpublish" => containers[at].options.unset("ports"),
        "move-tag" => {
            let image = containers[at].image.clone();
            images.insert(image, "sha256:ffffffffffffffff".to_owned());
        }
        // As a replacement leaves it that was killed while the new one became ready.
        "half-replace" => {
            let mut old = containers[at].clone();
            old.name.push_str(".old");
            old.state = State::Exited;
            containers[at].name.push_str(".new");
            containers.push(old);
        }
        // As one leaves it that was killed when the new one had the name.
        "forget-old" => {
            let mut old = containers[at].clone();
            old.name.push_str(".old");
            old.state = State::Exited;
            containers.push(old);
        }
        // As making one leaves it that was killed before it was ready.
        "half-make" => containers[at].name.push_str(".new"),
        other => panic!("{other}"),
    }
}

/// With `BLESS` in the environment, what is decided is written into the files instead.
#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/ensemble");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 10);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let case: Case = serde_saphyr::from_str(&text).unwrap();
        let shown = decide(&case);
        if std::env::var_os("BLESS").is_some() {
            let (above, _) = text.split_once("plan: |2\n").unwrap();
            let lines = shown
                .lines()
                .map(|line| format!("  {line}").trim_end().to_owned() + "\n");
            fs::write(
                &file,
                format!("{above}plan: |2\n{}", lines.collect::<String>()),
            )
            .unwrap();
        } else {
            assert_eq!(shown, case.plan, "{}", file.display());
        }
    }
}

fn decide(case: &Case) -> String {
    let before = case.before.as_deref().unwrap_or_default();
    let mut observed = world(&load(before).unwrap());
    for line in &case.meanwhile {
        happen(&mut observed, line);
    }
    let request = Request {
        prune: case.prune,
        replace: case.replace.clone(),
    };
    let decided = load(&case.after).and_then(|manifest| {
        // As it would be found: what is not in the manifest is beside it.
        let (found, extra) = observed
            .servers
            .into_iter()
            .partition(|(name, _)| manifest.server(name).is_some());
        let extra: BTreeMap<String, ServerState> = extra;
        let observed = Observed {
            servers: found,
            extra: extra.into_values().map(|state| state.node).collect(),
            ..Observed::default()
        };
        plan(&manifest, &observed, &request)
    });
    match decided {
        Ok(plan) => format!("{plan}\n"),
        Err(failure) => {
            let errors = failure.0.iter();
            errors
                .map(|error| format!("{}\n", render(error, false)))
                .collect()
        }
    }
}

/// The body of a container: lines of YAML, in an order that does not matter.
fn container(index: usize, earlier: Vec<String>) -> impl Strategy<Value = Vec<String>> {
    let reference = match earlier.len() {
        0 => Just("plain".to_owned()).boxed(),
        _ => proptest::sample::select(earlier).boxed(),
    };
    let environment = proptest::collection::btree_map("[A-C]", reference, 0..3);
    // A port of a server is published once.
    let first = u16::try_from(index * 10 + 1).unwrap();
    let ports = proptest::collection::btree_set(first..first + 4, 0..3);
    (
        "[ab]:[12]",
        environment,
        ports,
        proptest::option::of(1_u32..4),
        proptest::option::of("[a-z]{2,4}"),
        proptest::option::of(prop_oneof![Just("no"), Just("always")]),
        any::<bool>(),
    )
        .prop_map(
            |(image, environment, ports, memory, command, restart, volume)| {
                let mut lines = vec![format!("image: \"{image}\"")];
                let pairs = environment
                    .iter()
                    .map(|(key, value)| format!("{key}: \"{value}\""));
                lines.push(format!(
                    "environment: {{{}}}",
                    pairs.collect::<Vec<_>>().join(", ")
                ));
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                lines.push(format!("ports: [{}]", ports.join(", ")));
                lines.extend(memory.map(|memory| format!("max_memory: {memory}m")));
                lines.extend(command.map(|command| format!("command: {command}")));
                lines.extend(restart.map(|restart| format!("restart: \"{restart}\"")));
                lines.extend(volume.then(|| "volumes: {data: /data, /srv/: /srv}".to_owned()));
                lines
            },
        )
}

/// Servers, each with the bodies of its containers. What comes later may refer to what comes
/// earlier.
fn servers() -> impl Strategy<Value = Vec<Vec<Vec<String>>>> {
    let references = |server: usize, index: usize| {
        let mut earlier = vec!["plain".to_owned(), "${host.ip}".to_owned()];
        for other in 0..server {
            earlier.push(format!("${{s{other}.ip}}"));
        }
        for other in 0..index {
            earlier.push(format!("${{s{server}.containers.c{other}.ip}}"));
        }
        earlier
    };
    let server = move |server: usize| {
        (0..4_usize).prop_flat_map(move |count| {
            let bodies: Vec<_> = (0..count)
                .map(|index| container(index, references(server, index)))
                .collect();
            bodies
        })
    };
    (1..4_usize).prop_flat_map(move |count| (0..count).map(server).collect::<Vec<_>>())
}

/// The text of a manifest. With `backwards`, everything stands in the opposite order.
fn text(servers: &[Vec<Vec<String>>], backwards: bool) -> String {
    let order = |count: usize| -> Vec<usize> {
        if backwards {
            (0..count).rev().collect()
        } else {
            (0..count).collect()
        }
    };
    let mut text = String::new();
    for server in order(servers.len()) {
        text.push_str(&format!("s{server}:\n  provider: local\n"));
        let containers = &servers[server];
        if !containers.is_empty() {
            text.push_str("  containers:\n");
        }
        for index in order(containers.len()) {
            text.push_str(&format!("    c{index}:\n"));
            for line in order(containers[index].len()) {
                text.push_str(&format!("      {}\n", containers[index][line]));
            }
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// `plan(apply(x))` is empty, and the order of things makes no difference.
    #[test]
    fn what_was_brought_up_is_up_to_date(servers in servers()) {
        let manifest = load(&text(&servers, false)).unwrap();
        let observed = world(&manifest);
        let shown = plan(&manifest, &observed, &Request::default()).unwrap();
        prop_assert!(shown.is_empty(), "{}", shown);
        let backwards = load(&text(&servers, true)).unwrap();
        let shown = plan(&backwards, &observed, &Request::default()).unwrap();
        prop_assert!(shown.is_empty(), "{}", shown);
    }

    /// From nothing, everything is created.
    #[test]
    fn what_is_not_there_is_created(servers in servers()) {
        let manifest = load(&text(&servers, false)).unwrap();
        let plan = plan(&manifest, &Observed::default(), &Request::default()).unwrap();
        prop_assert!(plan.steps.iter().all(|step| step.action == Action::Create), "{}", plan);
    }

    /// One edited field is one changed container; others at most may change because of it.
    #[test]
    fn an_edit_changes_what_it_names(
        servers in servers(),
        pick in any::<proptest::sample::Index>(),
    ) {
        let places: Vec<(usize, usize)> = servers
            .iter()
            .enumerate()
            .flat_map(|(server, containers)| (0..containers.len()).map(move |c| (server, c)))
            .collect();
        prop_assume!(!places.is_empty());
        let (server, index) = places[pick.index(places.len())];
        let observed = world(&load(&text(&servers, false)).unwrap());
        let mut edited = servers.clone();
        edited[server][index].push("hostname: edited".to_owned());
        let manifest = load(&text(&edited, false)).unwrap();
        let plan = plan(&manifest, &observed, &Request::default()).unwrap();
        let named = Thing::Container(format!("s{server}"), format!("c{index}"));
        for step in &plan.steps {
            match &step.action {
                Action::Replace(changes) => {
                    prop_assert_eq!(&step.thing, &named);
                    prop_assert_eq!(changes.len(), 1);
                    prop_assert_eq!(&changes[0].field, "hostname");
                }
                Action::Unknown(_) => prop_assert!(!step.waits_for.is_empty(), "{}", plan),
                other => {
                    prop_assert_ne!(&step.thing, &named);
                    prop_assert_eq!(other, &Action::None);
                }
            }
        }
    }

    /// No text makes loading panic.
    #[test]
    fn no_manifest_panics(text in "[a-z:\\- \n{}\\[\\]\"$.&*]{0,80}") {
        let _ = load(&text);
    }
}
