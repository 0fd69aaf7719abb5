//! Taking a manifest down.

use std::{path::Path, time::Instant};

use futures_util::future::{join_all, try_join_all};

use super::{EngineState, Manifest, Observed, ServerState, Thing, apply::end_server, observe};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, plural},
        event::{Event, Outcome, RecapLine},
    },
    docker::{Containers, labels},
    ensemble::manifest::load,
    inventory::Inventory,
    machine::Lock,
    provider::Node,
};

/// Takes down the manifest at `path`: ends the servers that were made for it, also those that are
/// no longer in it, with everything on them, and its containers on the other servers. Shows what
/// goes, and asks.
pub async fn down(inventory: &Inventory, path: &Path) -> Result<(), Failure> {
    let manifest = load(path, &inventory.context.project.root, &inventory.providers)?;
    let activity = inventory
        .context
        .events
        .start(&manifest.name, "looking at what is there");
    let observed = observe(inventory, &manifest).await?;
    drop(activity);

    let doomed = doom(&manifest, &observed)?;
    if doomed.is_empty() {
        inventory
            .context
            .events
            .note(format!("nothing of `{}` is there", manifest.name));
        return Ok(());
    }
    let lines = doomed.iter().map(|(thing, _)| format!("- {thing}"));
    inventory
        .context
        .events
        .emit(Event::Plan(lines.collect::<Vec<_>>().join("\n")));
    let count = plural(doomed.len(), "thing");
    let name = &manifest.name;
    if !inventory.context.mode.is_real() {
        let what = format!("take down `{name}`: remove {count}");
        inventory.context.events.emit(Event::WouldDo(what));
        return Ok(());
    }
    let question = format!("Take down `{name}`: remove {count}, with all data? Type its name:");
    inventory.context.events.confirm(&question, Some(name))?;

    let scope = inventory.context.cancel.scope();
    let mut kept: Vec<&Node> = doomed
        .iter()
        .filter(|(thing, _)| matches!(thing, Thing::Container(..)))
        .map(|(_, node)| *node)
        .collect();
    kept.dedup_by(|a, b| a.id == b.id);
    let locks = kept.into_iter().map(async |node| {
        let connection = inventory.connect(node).await?;
        Lock::take(&connection, name).await
    });
    let _locks = try_join_all(locks).await?;
    let removing = doomed
        .iter()
        .map(|(thing, node)| remove(inventory, name, thing, node));
    let lines = join_all(removing).await;
    drop(scope);
    let failures: Vec<Diagnostic> = lines.iter().filter_map(|l| l.failure.clone()).collect();
    inventory.context.events.emit(Event::Recap {
        noun: "thing",
        lines,
    });
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Failure(failures))
    }
}

/// What goes, and where it is. A server that did not answer where we had to look is an error.
fn doom<'a>(
    manifest: &Manifest,
    observed: &'a Observed,
) -> Result<Vec<(Thing, &'a Node)>, Failure> {
    let (mut doomed, mut errors) = (Vec::new(), Vec::new());
    let made = |node: &Node| node.manifest.as_ref() == Some(&manifest.id);
    for ServerState { node, engine } in observed.servers.values() {
        if made(node) {
            doomed.push((Thing::Server(node.name.clone()), node));
            continue;
        }
        if let EngineState::Unreachable(error) = engine {
            errors.push(error.clone());
        }
        let ours = engine
            .containers()
            .iter()
            .filter(|container| container.labels.get(labels::MANIFEST) == Some(&manifest.id));
        doomed.extend(ours.map(|container| {
            let thing = Thing::Container(node.name.clone(), container.name.clone());
            (thing, node)
        }));
    }
    let extra = observed.extra.iter();
    doomed.extend(extra.map(|node| (Thing::Server(node.name.clone()), node)));
    if errors.is_empty() {
        Ok(doomed)
    } else {
        Err(Failure(errors))
    }
}

async fn remove(inventory: &Inventory, manifest: &str, thing: &Thing, node: &Node) -> RecapLine {
    let started = Instant::now();
    let activity = inventory
        .context
        .events
        .start(thing.to_string(), "removing");
    let removed = async {
        match thing {
            Thing::Server(_) => end_server(inventory, manifest, node).await?,
            Thing::Container(_, name) => {
                let engine = inventory.engine(node).await?;
                if let Some(found) = engine.find(name).await? {
                    engine.remove(&found.id).await?;
                }
            }
        }
        Ok::<_, Diagnostic>(())
    };
    let removed = removed.await;
    if removed.is_ok() {
        activity.done("removed");
    }
    RecapLine {
        name: thing.to_string(),
        outcome: match removed {
            Ok(()) => Outcome::Changed,
            Err(_) => Outcome::Failed,
        },
        seconds: started.elapsed().as_secs_f64(),
        failure: removed.err(),
    }
}
