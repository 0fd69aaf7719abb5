//! `task::`: running tasks from tasks. A plain call is a plain call; this keeps what a task's
//! comment says of it.

use std::sync::Arc;

use rhai::{Array, Dynamic, ImmutableString, Map};

use super::{
    Api,
    call::{Answer, Call},
    namespace::Namespace,
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut task = Namespace::new(
        api,
        "task",
        "Running tasks by name, as the command line does: with their `@role`, `@serial` and
         `@confirm`. A plain call of a task's function knows nothing of those.",
    );
    task.function(
        "run(name: string) -> value",
        "Runs a task on the hosts of its `@role`, else on those that were selected. Returns what
         it returns; of a task that runs on each host, a list.",
        |call: &Call, name: ImmutableString| run(call, &name, None, Map::new()),
    );
    task.function(
        "run(name: string, values: map) -> value",
        "The same with values for its parameters.",
        |call: &Call, name: ImmutableString, values: Map| run(call, &name, None, values),
    );
    task.function(
        "run(name: string, hosts: array, values: map) -> value",
        "The same on these hosts.",
        |call: &Call, name: ImmutableString, hosts: Array, values: Map| {
            run(call, &name, Some(hosts), values)
        },
    );
    task
}

fn run(call: &Call, name: &str, hosts: Option<Array>, values: Map) -> Answer<Dynamic> {
    let hosts = hosts.map(|hosts| call.hosts(&hosts)).transpose()?;
    let ran = call
        .api
        .run_task(&call.inventory, &call.frame, name, hosts, values);
    ran.map_err(|failure| call.fail(failure))
}
