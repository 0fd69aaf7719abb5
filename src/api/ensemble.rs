//! `ensemble::`: whole environments of servers and containers.

use std::{path::PathBuf, sync::Arc};

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
    ensemble::{self, Request},
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut ensemble = Namespace::new(api, "ensemble", "Whole environments, from a manifest.");
    ensemble.change(
        "up(manifest: string, options: map)",
        "Brings up the servers and containers of a manifest: shows what that changes, asks, and
         makes it so. `prune` removes what was made for the manifest and is no longer in it;
         `replace` names servers that are made anew.",
        |call: &Call, manifest: ImmutableString, options: Map| {
            let request = request(call, &options)?;
            call.try_wait(ensemble::up(
                &call.inventory,
                &path(call, &manifest),
                &request,
            ))
        },
    );
    ensemble.function(
        "plan(manifest: string, options: map)",
        "Shows what `up` would change.",
        |call: &Call, manifest: ImmutableString, options: Map| {
            let request = request(call, &options)?;
            let path = path(call, &manifest);
            let plan = call.try_wait(ensemble::plan(&call.inventory, &path, &request))?;
            call.context.events.emit(Event::Data(format!("{plan}\n")));
            if !call.is_real() && !plan.is_empty() {
                let what = format!("bring up `{}`: {}", plan.manifest, plan.summary());
                call.context.events.emit(Event::WouldDo(what));
            }
            Ok(())
        },
    );
    ensemble.change(
        "down(manifest: string)",
        "Ends the servers of a manifest, with everything on them, and its containers on servers
         that cannot be ended.",
        |call: &Call, manifest: ImmutableString| {
            call.try_wait(ensemble::down(&call.inventory, &path(call, &manifest)))
        },
    );
    ensemble
}

/// Where a manifest is: from here, as a user on the command line means it, or from the project's
/// folder, as a task means it that is run from anywhere.
fn path(call: &Call, manifest: &str) -> PathBuf {
    let here = PathBuf::from(manifest);
    match ensemble::find(&here) {
        Ok(found) => found,
        Err(_) => match ensemble::find(&call.context.project.root.join(manifest)) {
            Ok(found) => found,
            Err(_) => here,
        },
    }
}

fn request(call: &Call, options: &Map) -> Answer<Request> {
    let decode = || -> Result<Request, Invalid> {
        let options = to_options(options);
        let mut fields = Fields::new(&options, "ensemble")?;
        let prune = fields.decode("prune", Value::to_bool)?.unwrap_or(false);
        let replace = fields
            .decode("replace", Value::to_list)?
            .unwrap_or_default();
        fields.finish()?;
        let names = replace.iter().map(|name| name.to_text("replace"));
        Ok(Request {
            prune,
            replace: names.collect::<Result<_, _>>()?,
        })
    };
    call.check(decode().map_err(Diagnostic::from))
}
