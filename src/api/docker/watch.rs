//! What containers and engines of several servers report: logs, events, stats.

use std::future::Future;

use rhai::{Array, Dynamic, Map};

use super::project_owner;
use crate::{
    api::{
        call::{Answer, Call},
        namespace::Namespace,
        value::{texts, to_options},
    },
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        value::{Fields, Value},
    },
    docker::{self, Engine, EventOptions, LogOptions, LogSelection},
};

pub(super) fn register(docker: &mut Namespace) {
    docker.query(
        "logs(hosts: array, names: array, options: map)",
        "Shows the logs of containers on several servers, merged by time. `names` are names or globs;
         without any, the running containers of this project. With several containers, each line is
         prefixed with its server and container. Options: `follow` (until the containers end or
         Ctrl-C), `since` and `until` (`10m` or a time), `tail` (the number of lines of each
         container), `grep` (a regular expression).",
        |call: &Call, hosts: Array, names: Array, options: Map| {
            let options = call.check(LogOptions::decode(&to_options(&options)))?;
            let names = texts(call, &names)?;
            let owner = call.check(project_owner(call))?;
            let selection = call.check(LogSelection::new(&names, owner))?;
            let events = &call.context.events;
            on_engines(call, &hosts, options.follow, |engines| async move {
                docker::show_logs(&engines, &selection, &options, events).await
            })
        },
    );
    docker.query(
        "events(hosts: array, options: map)",
        "Shows what the engines of servers report, merged by time, until Ctrl-C. Options: `since` and
         `until` (`10m` or a time).",
        |call: &Call, hosts: Array, options: Map| {
            let options = call.check(EventOptions::decode(&to_options(&options)))?;
            let events = &call.context.events;
            on_engines(call, &hosts, true, |engines| async move {
                docker::show_events(&engines, &options, events).await
            })
        },
    );
    docker.query(
        "stats(hosts: array, options: map)",
        "Shows a table of what the running containers of servers use. With `live: true`, it is
         refreshed every second until Ctrl-C.",
        |call: &Call, hosts: Array, options: Map| {
            let options = to_options(&options);
            let live = call.check(Fields::new(&options, "docker.stats").and_then(
                |mut fields| {
                    let live = fields.decode("live", Value::to_bool)?;
                    fields.finish()?;
                    Ok(live.unwrap_or(false))
                },
            ))?;
            let events = &call.context.events;
            on_engines(call, &hosts, live, |engines| async move {
                if live {
                    docker::watch_stats(&engines, events).await
                } else {
                    docker::show_stats(&engines, events).await
                }
            })
        },
    );
}

/// Shows something of the engines of servers. The errors of servers are thrown at the end; if that may
/// take long, they are reported at once, too.
fn on_engines<R: Future<Output = Vec<docker::Error>>>(
    call: &Call,
    hosts: &[Dynamic],
    is_long: bool,
    show: impl FnOnce(Vec<Engine>) -> R,
) -> Answer<()> {
    let hosts = call.hosts(hosts)?;
    call.try_wait(async {
        let nodes: Vec<_> = hosts.iter().map(|host| &*host.0).collect();
        let (engines, mut errors) = call.inventory.engines(&nodes).await;
        if is_long && !engines.is_empty() {
            for error in &errors {
                call.context.events.warn(error.message.clone());
            }
        }
        errors.extend(show(engines).await.into_iter().map(Diagnostic::from));
        if errors.is_empty() {
            return Ok(());
        }
        // The kind decides the exit status: a server that is not reached counts more.
        errors.sort_by_key(|error| error.kind != Kind::Unreachable);
        Err(Failure(errors))
    })
}
