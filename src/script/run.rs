//! Runs tasks: selects the hosts, asks the questions, calls the function, shows the results.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use rhai::{Array, Dynamic, Map};

use super::{Bound, Place, Scripts, Task, args::bind_values};
use crate::{
    api::{Api, Frame, Host, on_host, to_table},
    context::Context,
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::Event,
        table::Table,
    },
    fleet::{Drive, HostResult, OnSuccess, Selection, alone, finish},
    inventory::Inventory,
};

/// The task that runs one command, as the user typed it.
const EXEC: &str = "exec";

/// Runs tasks, one after the other. Asks their questions before any of them runs.
pub fn run(
    scripts: &Scripts,
    inventory: &Inventory,
    calls: &[(Arc<Task>, Bound)],
) -> Result<(), Failure> {
    let context = &inventory.context;
    let mut confirmed = Vec::new();
    for (task, bound) in calls {
        let hosts = match &task.confirm {
            None => None,
            Some(question) => match selected(inventory, task) {
                Ok(hosts) => {
                    let question = fill_in(question, task, bound, &hosts);
                    context.events.confirm(&question, None)?;
                    Some(hosts)
                }
                // A task before it may create the servers that it is about.
                Err(_) if !confirmed.is_empty() => None,
                Err(failure) => return Err(failure),
            },
        };
        confirmed.push(hosts);
    }
    for (at, ((task, bound), mut confirmed)) in calls.iter().zip(confirmed).enumerate() {
        if context.cancel.is_stopping() {
            return Err(Diagnostic::new(Kind::Interrupted, "interrupted").into());
        }
        if at > 0 {
            confirmed = confirmed.map(|hosts| look_again(inventory, hosts));
        }
        run_one(scripts, inventory, task, bound, confirmed)?;
    }
    Ok(())
}

/// The hosts of a task. None if it runs on the local machine.
fn selected(inventory: &Inventory, task: &Task) -> Result<Vec<Host>, Failure> {
    match task.place {
        Place::Here => Ok(Vec::new()),
        Place::EachHost | Place::AllHosts => {
            let selection = inventory.context.settings.selection.clone();
            select(inventory, task, selection)
        }
    }
}

/// The same hosts as they are now: a task may have given them other addresses.
fn look_again(inventory: &Inventory, hosts: Vec<Host>) -> Vec<Host> {
    if hosts.is_empty() {
        return hosts;
    }
    let context = &inventory.context;
    let nodes = context.runtime.block_on(async {
        tokio::select! {
            () = context.cancel.killed() => Vec::new(),
            nodes = inventory.nodes() => nodes,
        }
    });
    let now = |host: Host| match nodes.iter().find(|node| node.key() == host.0.key()) {
        Some(node) => Host::from(node.clone()),
        // It is gone, or was selected by its address.
        None => host,
    };
    hosts.into_iter().map(now).collect()
}

/// Runs a task with its arguments: on the hosts that the user confirmed, or if the question was
/// postponed or there is none, on those that the user selected.
fn run_one(
    scripts: &Scripts,
    inventory: &Inventory,
    task: &Task,
    bound: &Bound,
    confirmed: Option<Vec<Host>>,
) -> Result<(), Failure> {
    let context = &inventory.context;
    let frame = Frame::new(&context.mode, task.readonly);
    let is_confirmed = confirmed.is_some();
    // Another selection may find other hosts by now.
    let hosts = confirmed.map_or_else(|| selected(inventory, task), Ok)?;
    context.events.emit(Event::Hosts(hosts.len()));
    // A command may have no end (`tail -f`), and only reading leaves nothing half done.
    let is_left_whole = task.readonly || task.full_name() == EXEC;
    context.cancel.end_at_once(is_left_whole);
    if let Some(question) = task.confirm.as_ref().filter(|_| !is_confirmed) {
        let question = fill_in(question, task, bound, &hosts);
        context.events.confirm(&question, None)?;
    }
    match task.place {
        Place::Here => {
            let value = call_alone(scripts, &frame, task, bound.values.clone())?;
            show(context, to_table(&value));
            Ok(())
        }
        Place::AllHosts => {
            let mut arguments = bound.values.clone();
            let all: Array = hosts.into_iter().map(Dynamic::from).collect();
            arguments.insert(0, all.into());
            let value = call_alone(scripts, &frame, task, arguments)?;
            show(context, to_table(&value));
            Ok(())
        }
        Place::EachHost => on_each(scripts, context, &frame, task, bound, &hosts).map(drop),
    }
}

/// Lets running tasks run tasks by name.
///
/// The engine of `scripts` is in use then and takes no further tasks, and built-in tasks are loaded
/// only when needed. So there is a second engine, made for the first such call, which knows all
/// tasks. It shares the compiled scripts: nothing is compiled or run twice.
pub fn enable_run_by_name(scripts: &Scripts, api: &Arc<Api>, context: &Arc<Context>) {
    let library = scripts.library().clone();
    let (shared, context) = (api.clone(), context.clone());
    let all: OnceLock<Result<Scripts, Failure>> = OnceLock::new();
    api.set_runner(Box::new(move |inventory, frame, name, hosts, values| {
        let Context {
            project,
            events,
            cancel,
            ..
        } = context.as_ref();
        let load = || Scripts::load_all(&shared, &library, project, events, cancel);
        let scripts = all.get_or_init(load).as_ref().map_err(Clone::clone)?;
        run_by_name(scripts, inventory, frame, name, hosts, values)
    }));
}

/// Runs a task by name for a task with the frame `caller`: on these hosts, else on those of its
/// `@role`, else on those that the user selected.
fn run_by_name(
    scripts: &Scripts,
    inventory: &Inventory,
    caller: &Frame,
    name: &str,
    hosts: Option<Vec<Host>>,
    values: Map,
) -> Result<Dynamic, Failure> {
    let context = &inventory.context;
    let task = scripts.known(name)?;
    let frame = caller.nested(name, task.readonly)?;
    let bound = bind_values(&task, values)?;
    let hosts = match (task.place, hosts) {
        (Place::Here, _) => Vec::new(),
        (_, Some(hosts)) => hosts,
        (_, None) => {
            let mut selection = context.settings.selection.clone();
            if task.role.is_some() {
                selection = Selection::default();
            }
            select(inventory, &task, selection)?
        }
    };
    if let Some(question) = &task.confirm {
        let question = fill_in(question, &task, &bound, &hosts);
        context.events.confirm(&question, None)?;
    }
    match task.place {
        Place::Here => call_alone(scripts, &frame, &task, bound.values),
        Place::AllHosts => {
            let mut arguments = bound.values;
            let all: Array = hosts.into_iter().map(Dynamic::from).collect();
            arguments.insert(0, all.into());
            call_alone(scripts, &frame, &task, arguments)
        }
        Place::EachHost => {
            on_each(scripts, context, &frame, &task, &bound, &hosts).map(Dynamic::from)
        }
    }
}

/// Calls a task's function on a thread of its own.
pub fn call_alone(
    scripts: &Scripts,
    frame: &Frame,
    task: &Task,
    arguments: Vec<Dynamic>,
) -> Result<Dynamic, Failure> {
    alone(|| scripts.call(frame, task, arguments)).map_err(|error| internal(&error))?
}

fn internal(error: &std::io::Error) -> Failure {
    Diagnostic::new(Kind::Failed, format!("internal error: {error}")).into()
}

/// The servers of a task. A task that changes something needs a selection.
fn select(
    inventory: &Inventory,
    task: &Task,
    mut selection: Selection,
) -> Result<Vec<Host>, Failure> {
    let context = &inventory.context;
    let is_open = selection.is_empty();
    if selection.is_empty() {
        match &task.role {
            Some(role) => selection.roles.push(role.clone()),
            None if task.readonly => selection.all = true,
            None => {
                let message = format!(
                    "`{}` runs on servers, and none is selected",
                    task.full_name()
                );
                return Err(Diagnostic::new(Kind::Usage, message)
                    .help("select with --hosts NAME or --roles ROLE, or all with --all".to_owned())
                    .into());
            }
        }
    }
    let implied = is_open && selection.all;
    let selected = context.runtime.block_on(async {
        tokio::select! {
            () = context.cancel.killed() => {
                Err(Diagnostic::new(Kind::Interrupted, "interrupted").into())
            }
            selected = inventory.select(&selection, task.readonly) => selected,
        }
    });
    match selected {
        Err(failure) if implied && failure.kind() == Kind::NotFound => {
            context.events.note("there are no servers");
            Ok(Vec::new())
        }
        selected => Ok(selected?.into_iter().map(Host::from).collect()),
    }
}

/// Fills the values of parameters into the question of `@confirm`.
fn fill_in(question: &str, task: &Task, bound: &Bound, hosts: &[Host]) -> String {
    let names: Vec<&str> = hosts.iter().map(|host| host.0.name.as_str()).collect();
    let mut text = question.replace("${hosts}", &names.join(", "));
    for (param, value) in task.params.iter().zip(&bound.values) {
        text = text.replace(&format!("${{{}}}", param.name), &value.to_string());
    }
    text
}

fn on_each(
    scripts: &Scripts,
    context: &Context,
    frame: &Frame,
    task: &Task,
    bound: &Bound,
    hosts: &[Host],
) -> Result<Array, Failure> {
    let forks = if task.serial {
        1
    } else {
        context.settings.forks
    };
    let many = hosts.len() > 1;
    let scope = many.then(|| context.cancel.scope());
    let one = |host: &Host| {
        let name = &host.0.name;
        let mut arguments = bound.values.clone();
        arguments.insert(0, Dynamic::from(host.clone()));
        context.events.emit(Event::Begun(name.clone()));
        let started = Instant::now();
        let result = on_host(many.then_some(name.as_str()), || {
            scripts.call(frame, task, arguments)
        });
        context.events.emit(Event::Ended(name.clone()));
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(value) => Ok((value, seconds)),
            Err(failure) => Err((failure, seconds)),
        }
    };
    let drive = Drive {
        rollout: &context.settings.rollout,
        forks,
        cancel: &context.cancel,
    };
    let results = drive.run_on_threads(hosts, one);
    let results = results.map_err(|error| internal(&error))?;
    drop(scope);

    let (mut tables, mut ended, mut values) = (Vec::new(), Vec::new(), Array::new());
    for (host, result) in hosts.iter().zip(results) {
        let name = host.0.name.clone();
        let (result, seconds) = match result {
            None => (None, 0.0),
            Some(Err((failure, seconds))) => (Some(Err(failure)), seconds),
            Some(Ok((value, seconds))) => {
                tables.extend(to_table(&value).map(|table| (name.clone(), table)));
                values.push(value);
                (Some(Ok(())), seconds)
            }
        };
        ended.push(HostResult {
            name,
            seconds,
            ended: result,
        });
    }
    let on_success = match tables.len() {
        _ if task.readonly || frame.mode.mock().is_some() => OnSuccess::Nothing,
        count if count == hosts.len() => OnSuccess::Counts,
        _ => OnSuccess::Table,
    };
    show(context, merge(tables, many));
    let interrupted = context.cancel.is_stopping();
    let remembers = frame.mode.is_real() && !task.readonly;
    let remembers = remembers.then_some(&context.project);
    let (events, project) = (&context.events, remembers);
    finish(events, project, ended, on_success, interrupted)?;
    Ok(values)
}

/// Merges the tables of all hosts, which have the same columns.
fn merge(tables: Vec<(String, Table)>, many: bool) -> Option<Table> {
    let mut merged: Option<Table> = None;
    for (host, table) in tables {
        let table = if many {
            table.with_first("host", &host)
        } else {
            table
        };
        match &mut merged {
            None => merged = Some(table),
            Some(all) => all.extend(table),
        }
    }
    merged
}

fn show(context: &Context, table: Option<Table>) {
    if let Some(table) = table {
        context.events.emit(Event::Table(table));
    }
}
