//! `hosts::`: runs commands and closures on many servers. All functions are also methods of a list
//! of hosts.
//!
//! Each running closure takes a thread.

mod command;

use std::sync::Arc;

use rhai::{Array, Dynamic, EvalAltResult, FnPtr};

use super::{
    Api, Host, Thrown,
    call::{Answer, Call},
    namespace::Namespace,
    on_host, throw_all,
};
use crate::{
    core::diagnostic::{Diagnostic, Kind},
    fleet::{Drive, Portion, Rollout},
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut hosts = Namespace::new(
        api,
        "hosts",
        "Runs commands and closures on many servers. All functions are also methods of a list of hosts.",
    );
    command::add(&mut hosts);
    hosts.method(
        "each(hosts: array, action: closure) -> array",
        "Calls `action` with each host, with up to `--forks` hosts at the same time. Returns the
         results in the order of the hosts. A failure does not stop the other hosts; all failures
         are thrown at the end.",
        |call: &Call, hosts: Array, action: FnPtr| {
            let forks = call.context.settings.forks;
            fan_out(call, &hosts, &action, forks, &Rollout::default())
        },
    );
    hosts.method(
        "parallel(hosts: array, count: int, action: closure) -> array",
        "Like `each`, with up to `count` hosts at the same time.",
        |call: &Call, hosts: Array, count: i64, action: FnPtr| {
            let forks = parse_count(call, count)?;
            fan_out(call, &hosts, &action, forks, &Rollout::default())
        },
    );
    hosts.method(
        "serial(hosts: array, action: closure) -> array",
        "Calls `action` with one host after the other. Stops at the first failure.",
        |call: &Call, hosts: Array, action: FnPtr| {
            fan_out(call, &hosts, &action, 1, &until_failure())
        },
    );
    hosts.method(
        "rolling(hosts: array, count: int, action: closure) -> array",
        "Calls `action` with up to `count` hosts at the same time. After a failure, no further host
         is started.",
        |call: &Call, hosts: Array, count: i64, action: FnPtr| {
            fan_out(
                call,
                &hosts,
                &action,
                parse_count(call, count)?,
                &until_failure(),
            )
        },
    );
    hosts.method(
        "batch(hosts: array, sizes: array, action: closure) -> array",
        "Calls `action` with all hosts of a batch at the same time, one batch after the other. No
         batch is started after a failure. `sizes` are numbers, or percentages of all hosts such as
         `\"25%\"`; the last one repeats: `[1, \"25%\"]`.",
        |call: &Call, hosts: Array, sizes: Array, action: FnPtr| {
            let rollout = Rollout {
                batches: call.check(portions(&sizes))?,
                ..Rollout::default()
            };
            let largest = rollout.sizes(hosts.len()).into_iter().max();
            fan_out(call, &hosts, &action, largest.unwrap_or(1), &rollout)
        },
    );
    hosts
}

fn until_failure() -> Rollout {
    Rollout {
        fail_fast: true,
        ..Rollout::default()
    }
}

fn parse_count(call: &Call, count: i64) -> Answer<usize> {
    match usize::try_from(count) {
        Ok(count @ 1..) => Ok(count),
        _ => {
            let text = format!("invalid number of hosts `{count}`");
            Err(call.fail(Diagnostic::new(Kind::Usage, text)))
        }
    }
}

/// Calls a closure with each host, on threads.
fn fan_out(
    call: &Call,
    hosts: &[Dynamic],
    action: &FnPtr,
    forks: usize,
    rollout: &Rollout,
) -> Answer<Array> {
    let hosts = call.hosts(hosts)?;
    let cancel = &call.context.cancel;
    let many = hosts.len() > 1;
    let is_alone = forks.min(hosts.len()) < 2;
    let one = |host: &Host| -> Result<Dynamic, Box<EvalAltResult>> {
        let name = host.0.name.as_str();
        on_host(many.then_some(name), || {
            if is_alone {
                action.call_within_context(call.script, (host.clone(),))
            } else {
                call_concurrently(call, action, host)
            }
        })
    };
    let drive = Drive {
        rollout,
        forks,
        cancel,
    };
    let scope = many.then(|| cancel.scope());
    let results = drive
        .run_on_threads(&hosts, one)
        .map_err(|error| call.fail(Diagnostic::new(Kind::Failed, error.to_string())))?;
    drop(scope);
    let (mut values, mut thrown, mut interrupted) = (Array::new(), Vec::new(), false);
    for (host, result) in hosts.iter().zip(results) {
        match result {
            Some(Ok(value)) => values.push(value),
            Some(Err(error)) => thrown.push(Thrown {
                host: many.then(|| host.0.name.clone()),
                error,
            }),
            None => interrupted |= cancel.is_stopping(),
        }
    }
    if thrown.is_empty() && !interrupted {
        return Ok(values);
    }
    // A limit of scripts ends all of them: one error says so.
    let is_limit = |thrown: &Thrown| matches!(thrown.error.unwrap_inner(), EvalAltResult::ErrorTerminated(token, _) if !token.is_unit());
    if let Some(at) = thrown.iter().position(is_limit) {
        return Err(thrown.swap_remove(at).error);
    }
    if thrown.is_empty() {
        return Err(call.fail(Diagnostic::new(Kind::Interrupted, "interrupted")));
    }
    Err(throw_all(thrown, call.position()))
}

/// Calls a closure while other threads call it, too, with its own copy of the captured variables:
/// Rhai fails at random if two threads change one value. A change would be lost, so it is an error.
fn call_concurrently(call: &Call, action: &FnPtr, host: &Host) -> Answer<Dynamic> {
    let mut own = action.clone();
    for value in own.iter_curry_mut() {
        *value = value.flatten_clone().into_shared();
    }
    let before: Vec<String> = own.iter_curry().map(|value| format!("{value:?}")).collect();
    let result = own.call_within_context(call.script, (host.clone(),))?;
    let after = own.iter_curry().map(|value| format!("{value:?}"));
    if !before.into_iter().eq(after) {
        let text =
            "a closure that runs for several hosts at once cannot change a captured variable";
        let help = "return the value instead: the function returns a list of all values";
        return Err(call.fail(Diagnostic::new(Kind::Usage, text).help(help.to_owned())));
    }
    Ok(result)
}

fn portions(sizes: &[Dynamic]) -> Result<Vec<Portion>, Diagnostic> {
    if sizes.is_empty() {
        return Err(Diagnostic::new(
            Kind::Usage,
            "the list of batch sizes is empty",
        ));
    }
    let portion = |size: &Dynamic| {
        let portion = size.to_string().parse().ok();
        portion
            .filter(|portion| !matches!(portion, Portion::Count(0) | Portion::Percent(0)))
            .ok_or_else(|| {
                Diagnostic::new(Kind::Usage, format!("invalid batch size `{size}`"))
                    .help("use a positive number, or a percentage such as \"25%\"".to_owned())
            })
    };
    sizes.iter().map(portion).collect()
}
