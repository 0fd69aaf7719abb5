//! `ensemble::`: brings up and takes down the servers and containers of a manifest.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use rhai::{ImmutableString, Map};

use super::{
    Api,
    call::{Answer, Call},
    namespace::Namespace,
    value::to_options,
};
use crate::{
    core::{
        diagnostic::Diagnostic,
        event::Event,
        value::{Fields, Invalid, Value},
    },
    ensemble::{self, Invocation, Request},
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut ensemble = Namespace::new(
        api,
        "ensemble",
        "Servers and containers that a manifest describes.",
    );
    ensemble.change(
        "up(manifest: string, options: map)",
        "Brings up the servers and containers of a manifest: shows the plan, asks for confirmation,
         and executes it. `prune` removes what was created for the manifest and is no longer in it;
         `replace` names servers to replace; `adopt` names servers (`web`) and containers
         (`web.shop`) to take over from other owners, or is `all`.",
        |call: &Call, manifest: ImmutableString, options: Map| {
            let request = request(call, &options)?;
            call.try_wait(ensemble::up(
                &invocation(call),
                &path(call, &manifest),
                &request,
            ))
        },
    );
    ensemble.function(
        "plan(manifest: string, options: map)",
        "Shows the plan that `up` would execute. The options are those of `up`.",
        |call: &Call, manifest: ImmutableString, options: Map| {
            let request = request(call, &options)?;
            let path = path(call, &manifest);
            let plan = call.try_wait(ensemble::plan(&invocation(call), &path, &request))?;
            let events = &call.context.events;
            plan.show(events, true);
            if !call.is_real() && !plan.is_empty() {
                let what = format!("bring up `{}`: {}", plan.manifest, plan.summary());
                events.emit(Event::WouldDo(what));
            }
            Ok(())
        },
    );
    ensemble.change(
        "down(manifest: string)",
        "Terminates the servers of a manifest, with all data on them, and removes its containers
         from servers that it does not own.",
        |call: &Call, manifest: ImmutableString| {
            let request = request(call, &Map::new())?;
            call.try_wait(ensemble::down(
                &invocation(call),
                &path(call, &manifest),
                &request,
            ))
        },
    );
    ensemble
}

fn invocation<'a>(call: &'a Call) -> Invocation<'a> {
    Invocation {
        world: call.inventory.as_ref(),
        project: &call.context.project,
        dry_run: !call.is_real(),
        yes: call.context.settings.yes,
    }
}

/// The path of a manifest: relative to the current folder, as a user on the command line means it,
/// or to the project's folder, as a task means it.
fn path(call: &Call, manifest: &str) -> PathBuf {
    let relative = PathBuf::from(manifest);
    match ensemble::find(&relative) {
        Ok(found) => found,
        Err(_) => match ensemble::find(&call.context.project.root.join(manifest)) {
            Ok(found) => found,
            Err(_) => relative,
        },
    }
}

fn request(call: &Call, options: &Map) -> Answer<Request> {
    let decode = || -> Result<Request, Invalid> {
        let options = to_options(options);
        let mut fields = Fields::new(&options, "ensemble")?;
        let prune = fields.decode("prune", Value::to_bool)?.unwrap_or(false);
        let mut names = |key: &'static str| -> Result<BTreeSet<String>, Invalid> {
            let list = fields.decode(key, Value::to_list)?.unwrap_or_default();
            list.iter().map(|name| name.to_text(key)).collect()
        };
        let (replace, adopt) = (names("replace")?, names("adopt")?);
        fields.finish()?;
        Ok(Request {
            prune,
            replace,
            adopt,
            rollout: call.context.settings.rollout.clone(),
            forks: call.context.settings.named_forks,
            wait_lock: call.context.settings.wait_lock,
        })
    };
    call.check(decode().map_err(Diagnostic::from))
}
