//! Bringing a manifest up, and saying what that would do.

use std::{path::Path, time::Instant};

use super::{Graph, Manifest, Observed, Plan, Request, apply::Apply, observe, reconcile};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::{Event, Outcome},
        value::{Invalid, Value},
    },
    ensemble::manifest::load,
    inventory::Inventory,
    provider::{Node, ServerChange},
};

/// A manifest, what is there, and what has to happen.
struct Prepared {
    manifest: Manifest,
    graph: Graph,
    observed: Observed,
    plan: Plan,
}

/// Says what bringing up the manifest at `path` would do.
pub async fn plan(inventory: &Inventory, path: &Path, request: &Request) -> Result<Plan, Failure> {
    Ok(prepare(inventory, path, request).await?.plan)
}

/// Brings up the manifest at `path`: shows the plan, asks, and makes it so.
pub async fn up(inventory: &Inventory, path: &Path, request: &Request) -> Result<(), Failure> {
    inventory.cache.flush();
    let started = Instant::now();
    let prepared = prepare(inventory, path, request).await?;
    let plan = &prepared.plan;
    inventory.context.events.emit(Event::Plan(plan.to_string()));
    if plan.is_empty() {
        let name = &plan.manifest;
        let seconds = started.elapsed().as_secs_f64();
        inventory
            .context
            .events
            .note(format!("`{name}` is up to date ({seconds:.1} s)"));
        return Ok(());
    }
    if !inventory.context.mode.is_real() {
        let what = format!("bring up `{}`: {}", plan.manifest, plan.summary());
        inventory.context.events.emit(Event::WouldDo(what));
        return Ok(());
    }
    let question = format!("Bring up `{}`: {}?", plan.manifest, plan.summary());
    inventory.context.events.confirm(&question, None)?;

    let scope = inventory.context.cancel.scope();
    let apply = Apply {
        inventory,
        manifest: &prepared.manifest,
        graph: &prepared.graph,
        observed: &prepared.observed,
        plan,
        request,
        differences: &|node, options| differences(inventory, node, options),
    };
    let lines = apply.run().await;
    drop(scope);
    let mut failures: Vec<Diagnostic> = lines
        .iter()
        .filter_map(|line| line.failure.clone())
        .collect();
    let skipped = lines.iter().any(|line| line.outcome == Outcome::Skipped);
    inventory.context.events.emit(Event::Recap {
        noun: "thing",
        lines,
    });
    if inventory.context.cancel.is_stopping() && skipped {
        failures.push(
            Diagnostic::new(Kind::Interrupted, "interrupted")
                .help("run it again: what is done stays done".to_owned()),
        );
    }
    if !failures.is_empty() {
        return Err(Failure(failures));
    }
    let seconds = started.elapsed().as_secs_f64();
    inventory
        .context
        .events
        .note(format!("`{}` is up ({seconds:.1} s)", plan.manifest));
    Ok(())
}

async fn prepare(
    inventory: &Inventory,
    path: &Path,
    request: &Request,
) -> Result<Prepared, Failure> {
    let manifest = load(path, &inventory.context.project.root, &inventory.providers)?;
    let graph = Graph::of(&manifest)?;
    let activity = inventory
        .context
        .events
        .start(&manifest.name, "looking at what is there");
    let observed = observe(inventory, &manifest).await?;
    drop(activity);
    let differences = |node: &Node, options: &Value| differences(inventory, node, options);
    let plan = reconcile(&manifest, &graph, &observed, request, &differences)?;
    let errors = uncreatable(inventory, &manifest, &observed);
    if !errors.is_empty() {
        return Err(Failure(errors));
    }
    Ok(Prepared {
        manifest,
        graph,
        observed,
        plan,
    })
}

/// Servers that are not there, of providers that create none.
fn uncreatable(inventory: &Inventory, manifest: &Manifest, observed: &Observed) -> Vec<Diagnostic> {
    let missing = manifest
        .servers
        .iter()
        .filter(|server| !observed.servers.contains_key(&server.name));
    missing
        .filter_map(|server| {
            let provider = inventory.providers.get(&server.provider).ok()?;
            let mut error = Diagnostic::from(provider.can_create().err()?);
            error.message = format!("server `{}` is not there: {error}", server.name);
            Some(match &server.span {
                Some(span) => error.at(&manifest.source, span.clone()),
                None => error,
            })
        })
        .collect()
}

fn differences(
    inventory: &Inventory,
    node: &Node,
    options: &Value,
) -> Result<Vec<ServerChange>, Invalid> {
    match inventory.providers.of(node) {
        Ok(provider) => provider.changes(node, options),
        // The node came from a provider, so there is one.
        Err(_) => Ok(Vec::new()),
    }
}
