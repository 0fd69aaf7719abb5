//! `task::`: runs tasks by name, with their `@role`, `@serial` and `@confirm`.

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
        "Runs tasks by name as the command line does, with their `@role`, `@serial` and `@confirm`.
         A plain call of a task's function ignores these tags.",
    );
    task.function(
        "run(name: string) -> value",
        "Runs a task on the hosts of its `@role`, or else on the selected hosts. Returns the value
         of the task; if it runs on each host, a list of the values.",
        |call: &Call, name: ImmutableString| run(call, &name, None, Map::new()),
    );
    task.function(
        "run(name: string, values: map) -> value",
        "Runs a task with values for its parameters, on the hosts of its `@role`, or else on the
         selected hosts.",
        |call: &Call, name: ImmutableString, values: Map| run(call, &name, None, values),
    );
    task.function(
        "run(name: string, hosts: array, values: map) -> value",
        "Runs a task with values for its parameters on these hosts.",
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
