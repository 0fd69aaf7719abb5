//! What is decided, from data files (`tests/cases/ensemble/`).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    assert_matches_schema, bring_up, load, plan,
    world::{Simulated, State},
};
use crate::{
    core::{
        diagnostic::Failure,
        owner::{Owner, Ownership},
    },
    docker::{State as Condition, labels},
    ensemble::{Plan, Request},
    fleet::Rollout,
    provider::NodeState,
    ui::render,
};

/// A data file: what was brought up, what happened to it, what there should be, and what is
/// decided.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    before: Option<String>,
    /// `VERB RESOURCE`, one a line.
    #[serde(default)]
    meanwhile: Vec<String>,
    after: String,
    #[serde(default)]
    prune: bool,
    #[serde(default)]
    replace: BTreeSet<String>,
    #[serde(default)]
    adopt: BTreeSet<String>,
    #[serde(default)]
    only: BTreeSet<String>,
    /// As `--batch`.
    #[serde(default)]
    batch: Vec<String>,
    /// As `-P`.
    forks: Option<usize>,
    plan: String,
}

/// Does to the world what a line of a case says.
fn happen(state: &mut State, line: &str) {
    let (verb, resource) = line.split_once(' ').unwrap();
    let (server, name) = resource.split_once('.').unwrap_or((resource, ""));
    if name.is_empty() {
        match verb {
            "stop" => state.server(server).node.state = NodeState::Stopped,
            "half-make" => state.server(server).node.state = NodeState::Creating,
            "lose-docker" => state.server(server).engine = None,
            "cut-off" => {
                let id = state.server(server).node.id.clone();
                state.unreachable.push(id);
            }
            "terminate" => state.servers.retain(|(name, _), _| name != server),
            "protect" => state.server(server).node.is_protected = true,
            "leave-to-tasks" => {
                let project = super::owner().project;
                state.server(server).node.owner = Ownership::Owner(Owner {
                    project,
                    manifest: None,
                });
            }
            "give-firewall-away" => {
                let firewall = &mut state.server(server).firewall;
                firewall.as_mut().unwrap().owner = another_project();
            }
            "break-firewall" => {
                let firewall = &mut state.server(server).firewall;
                firewall.as_mut().unwrap().rules = Err("it was changed".to_owned());
            }
            "give-away" => state.server(server).node.owner = another_project(),
            "make-legacy" => {
                state.server(server).node.owner = Ownership::Legacy(Some("it".to_owned()));
            }
            other => panic!("{other}"),
        }
        return;
    }
    let found = state.container(server, name);
    match verb {
        "stop" => found.state = Condition::Exited,
        "remove" => state
            .engine(server)
            .containers
            .retain(|container| container.name != name),
        "disown" => found.labels.clear(),
        "make-legacy" => {
            found.labels.remove(labels::PROJECT);
        }
        "rename" => found.name.push_str(".old"),
        // As `docker commit` and `docker run` leave it: the image hands its labels on.
        "copy" => {
            let mut copy = found.clone();
            copy.id = format!("{:0>64}", "c0de");
            "rescue".clone_into(&mut copy.name);
            copy.options.unset("ports");
            state.engine(server).containers.push(copy);
        }
        "unpublish" => found.options.unset("ports"),
        "move-tag" => {
            let image = found.image.clone();
            let images = &mut state.engine(server).images;
            images.insert(image, "sha256:ffffffffffffffff".to_owned());
        }
        // Someone pushes another image of this name to the registry.
        "publish" => {
            let image = found.image.clone();
            state
                .published
                .insert(image, format!("sha256:{:0<64}", "beef"));
        }
        // As a replacement leaves it that was killed while the new container became ready.
        "half-replace" => {
            let mut old = found.clone();
            old.id = format!("{:0>64}", "feed");
            old.name.push_str(".old");
            old.state = Condition::Exited;
            found.name.push_str(".new");
            found
                .labels
                .insert(labels::REPLACES.to_owned(), old.id.clone());
            state.engine(server).containers.push(old);
        }
        // As one leaves it that was killed when the new container had the name.
        "forget-old" => {
            let mut old = found.clone();
            old.id = format!("{:0>64}", "feed");
            old.name.push_str(".old");
            old.state = Condition::Exited;
            found
                .labels
                .insert(labels::REPLACES.to_owned(), old.id.clone());
            state.engine(server).containers.push(old);
        }
        // As creating one leaves it that was killed before it was ready.
        "half-make" => found.name.push_str(".new"),
        other => panic!("{other}"),
    }
}

fn another_project() -> Ownership {
    Ownership::Owner(Owner {
        project: "another".to_owned(),
        manifest: Some("it".to_owned()),
    })
}

/// With `BLESS` in the environment, what is decided is written into the files instead.
#[tokio::test]
async fn cases() {
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
        let shown = decide(&case).await;
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

async fn decide(case: &Case) -> String {
    let world = Simulated::new(State::default());
    if let Some(before) = &case.before {
        bring_up(&world, &load(before).unwrap(), &Request::default())
            .await
            .unwrap();
    }
    for line in &case.meanwhile {
        world.happen(|state| happen(state, line));
    }
    let request = Request {
        prune: case.prune,
        replace: case.replace.clone(),
        adopt: case.adopt.clone(),
        only: case.only.clone(),
        rollout: Rollout {
            batches: case
                .batch
                .iter()
                .map(|size| size.parse().unwrap())
                .collect(),
            ..Rollout::default()
        },
        forks: case.forks,
        ..Request::default()
    };
    let decided: Result<Plan, Failure> = match load(&case.after) {
        Ok(manifest) => plan(&world, &manifest, &request).await,
        Err(failure) => Err(failure),
    };
    match decided {
        Ok(plan) => {
            assert_matches_schema(&plan);
            let lines = plan.lines();
            lines.iter().map(|line| format!("{line}\n")).collect()
        }
        Err(failure) => {
            let errors = failure.0.iter();
            errors
                .map(|error| format!("{}\n", render(error, false)))
                .collect()
        }
    }
}
