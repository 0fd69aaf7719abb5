//! What the functions of `docker::` share: the engine of a server, and changes of its containers.

use std::future::Future;

use crate::{
    api::{
        Host,
        call::{Answer, Call},
    },
    core::{diagnostic::Diagnostic, event::Activity, owner::Owner},
    docker::{self, Engine},
    inventory::Inventory,
    provider::Node,
    provision::keep_open,
};

/// The engine of a server. Docker is set up if it is not installed.
pub(in crate::api) async fn ensure_engine(
    inventory: &Inventory,
    node: &Node,
    activity: &Activity,
) -> Result<Engine, Diagnostic> {
    let status = inventory.engine_status(node).await?;
    let machine = inventory.machine(node).await?;
    let progress = |text| activity.update(text);
    let engine = docker::ensure_engine(status, &machine, &progress).await?;
    Ok(engine.with_registries(inventory.registries()))
}

/// Runs `change`, which changes containers of a server, while no other run changes the server.
pub(super) fn locked<'a, T: 'a>(
    call: &'a Call<'_>,
    node: &'a Node,
    change: impl Future<Output = Result<T, Diagnostic>> + 'a,
) -> impl Future<Output = Result<T, Diagnostic>> + 'a {
    let purpose = "its containers are being changed";
    // The futures are large.
    let change = Box::pin(change);
    Box::pin(async move {
        let inventory = &call.inventory;
        let wait = inventory.wait_in_task();
        // The engine is connected to at the same time, so that the first change on a server takes no
        // longer.
        let (status, lock) = tokio::join!(
            inventory.engine_status(node),
            inventory.lock(node, purpose, wait)
        );
        // It says more about a server that cannot be reached.
        status?;
        lock?.hold_for_call(&node.name, change).await
    })
}

/// Changes something about the container `name` of a server. `verbs` are the change as it is
/// planned, in progress and done: "kill", "killing", "killed".
pub(in crate::api) fn change_container<R: Future<Output = Result<(), docker::Error>>>(
    call: &Call,
    host: &Host,
    name: &str,
    verbs: [&str; 3],
    change: impl FnOnce(Engine, Owner) -> R,
) -> Answer<()> {
    let [verb, doing, done] = verbs;
    let server = &host.0.name;
    let what = || format!("{verb} container {name} on {server}");
    let changed = call.change(what, async {
        let activity = call.context.events.start(server, format!("{doing} {name}"));
        locked(call, &host.0, async {
            let engine = call.inventory.engine(&host.0).await?;
            change(engine, project_owner(call)?).await?;
            keep_open(&call.inventory, &host.0).await?;
            Ok(())
        })
        .await?;
        activity.done(format!("{name} {done}"));
        Ok::<_, Diagnostic>(())
    });
    changed.map(drop)
}

/// The project as an owner. Without an id, nothing that exists can belong to the project.
pub(in crate::api) fn project_owner(call: &Call) -> Result<Owner, Diagnostic> {
    let id = call.context.project.id()?;
    Ok(Owner {
        project: id.map(|id| id.to_string()).unwrap_or_default(),
        manifest: None,
    })
}
