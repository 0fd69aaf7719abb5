//! Taking a manifest down.

use std::{path::Path, time::Instant};

use futures_util::future::join_all;

use super::{Graph, Manifest, ServerState, Thing, load, observe, observe::LABEL_MANIFEST};
use crate::{
    diagnostic::{Diagnostic, Failure},
    event::{Event, Outcome, RecapLine},
    session::Session,
};

/// Takes down the manifest at `path`: ends its servers, with everything on them, and its
/// containers on servers that cannot be ended. Shows what goes, and asks.
pub async fn down(session: &Session, path: &Path) -> Result<(), Failure> {
    let manifest = load(path, &session.providers)?;
    Graph::of(&manifest)?;
    let activity = session
        .events
        .start(&manifest.name, "looking at what is there");
    let observed = observe(session, &manifest).await?;
    drop(activity);

    let mut doomed = Vec::new();
    for state in observed.servers.values() {
        doomed.extend(doom(&manifest, state));
    }
    if doomed.is_empty() {
        session
            .events
            .note(format!("nothing of `{}` is there", manifest.name));
        return Ok(());
    }
    let lines = doomed.iter().map(|(thing, _)| format!("- {thing}"));
    session
        .events
        .emit(Event::Plan(lines.collect::<Vec<_>>().join("\n")));
    let count = crate::diagnostic::plural(doomed.len(), "thing");
    if session.settings.dry_run {
        session
            .events
            .emit(Event::WouldDo(format!("remove {count}")));
        return Ok(());
    }
    let name = &manifest.name;
    let question = format!("Take down `{name}`: remove {count}, with all data? Type its name:");
    session.events.confirm(&question, Some(name))?;

    let scope = session.cancel.scope();
    let lines = join_all(
        doomed
            .iter()
            .map(|(thing, state)| remove(session, thing, state)),
    )
    .await;
    drop(scope);
    let failures: Vec<Diagnostic> = lines.iter().filter_map(|l| l.failure.clone()).collect();
    session.events.emit(Event::Recap {
        noun: "thing",
        lines,
    });
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Failure(failures))
    }
}

/// What of a server goes: itself, or where it cannot, its containers.
fn doom<'a>(manifest: &Manifest, state: &'a ServerState) -> Vec<(Thing, &'a ServerState)> {
    let node = &state.node;
    if node.provider != "unmanaged" {
        return vec![(Thing::Server(node.name.clone()), state)];
    }
    let containers = state.engine.containers().iter();
    containers
        .filter(|container| container.labels.get(LABEL_MANIFEST) == Some(&manifest.name))
        .map(|container| {
            let thing = Thing::Container(node.name.clone(), container.name.clone());
            (thing, state)
        })
        .collect()
}

async fn remove(session: &Session, thing: &Thing, state: &ServerState) -> RecapLine {
    let started = Instant::now();
    let activity = session.events.start(thing.to_string(), "removing");
    let node = &state.node;
    let removed = async {
        match thing {
            Thing::Server(_) => {
                session.providers.of(node)?.terminate(node).await?;
                session.forget(node);
            }
            Thing::Container(_, name) => session.engine(node).await?.remove(name).await?,
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
