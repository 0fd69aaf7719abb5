//! `hosts::`: many servers at once. All of it is also a method of a list of hosts.
//!
//! Closures take threads, as many as `--forks`.

mod command;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rhai::{Array, Dynamic, EvalAltResult, FnPtr};

use super::{
    Api, Host, Thrown,
    call::{Answer, Call},
    namespace::Namespace,
    on_host, throw_all,
};
use crate::{
    core::diagnostic::{Diagnostic, Kind},
    fleet::{Portion, Rollout, threads::each},
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut hosts = Namespace::new(
        api,
        "hosts",
        "Many servers at once, also as methods of lists.",
    );
    command::add(&mut hosts);
    hosts.method(
        "each(hosts: array, action: closure) -> array",
        "Calls `action` with each host, with as many at once as `--forks` says, and returns what
         it returns, in the order of the hosts. One that fails does not stop the others; all
         failures are thrown at the end.",
        |call: &Call, hosts: Array, action: FnPtr| {
            let forks = call.context.settings.forks;
            fan_out(call, &hosts, &action, forks, false)
        },
    );
    hosts.method(
        "parallel(hosts: array, count: int, action: closure) -> array",
        "The same with so many at once.",
        |call: &Call, hosts: Array, count: i64, action: FnPtr| {
            fan_out(call, &hosts, &action, at_once(call, count)?, false)
        },
    );
    hosts.method(
        "serial(hosts: array, action: closure) -> array",
        "Calls `action` with one host after the other; the first failure ends it.",
        |call: &Call, hosts: Array, action: FnPtr| fan_out(call, &hosts, &action, 1, true),
    );
    hosts.method(
        "rolling(hosts: array, count: int, action: closure) -> array",
        "Calls `action` with so many hosts at once; after a failure no more are begun.",
        |call: &Call, hosts: Array, count: i64, action: FnPtr| {
            fan_out(call, &hosts, &action, at_once(call, count)?, true)
        },
    );
    hosts.method(
        "batch(hosts: array, sizes: array, action: closure) -> array",
        "Calls `action` with one batch after the other, all of a batch at once; a failure ends it
         after its batch. Sizes are numbers, or shares of all hosts such as `\"25%\"`; the last one
         is used again: `[1, \"25%\"]`.",
        |call: &Call, hosts: Array, sizes: Array, action: FnPtr| {
            let rollout = Rollout {
                batches: call.check(portions(&sizes))?,
                ..Rollout::default()
            };
            let (mut rest, mut results) = (hosts.as_slice(), Array::new());
            for size in rollout.sizes(hosts.len()) {
                let (batch, others) = rest.split_at(size);
                rest = others;
                let many = hosts.len() > 1;
                results.extend(fan_out_of(call, batch, &action, size, false, many)?);
            }
            Ok(results)
        },
    );
    hosts
}

fn decode(call: &Call, hosts: &[Dynamic]) -> Answer<Vec<Host>> {
    let found: Option<Vec<Host>> = hosts.iter().map(|host| host.clone().try_cast()).collect();
    found.ok_or_else(|| call.fail(Diagnostic::new(Kind::Usage, "not all of these are hosts")))
}

fn at_once(call: &Call, count: i64) -> Answer<usize> {
    match usize::try_from(count) {
        Ok(count @ 1..) => Ok(count),
        _ => {
            let text = format!("`{count}` is no number of hosts");
            Err(call.fail(Diagnostic::new(Kind::Usage, text)))
        }
    }
}

/// Calls a closure with each host, on threads; `stop` begins no more after a failure.
fn fan_out(
    call: &Call,
    hosts: &[Dynamic],
    action: &FnPtr,
    at_once: usize,
    stop: bool,
) -> Answer<Array> {
    fan_out_of(call, hosts, action, at_once, stop, hosts.len() > 1)
}

/// The same for hosts that are some of `many`, and so are told apart.
fn fan_out_of(
    call: &Call,
    hosts: &[Dynamic],
    action: &FnPtr,
    at_once: usize,
    stop: bool,
    many: bool,
) -> Answer<Array> {
    let hosts = decode(call, hosts)?;
    let failed = AtomicBool::new(false);
    let is_alone = at_once.min(hosts.len()) < 2;
    let one = |host: &Host| -> Option<Result<Dynamic, Box<EvalAltResult>>> {
        if stop && failed.load(Ordering::SeqCst) {
            return None;
        }
        let name = host.0.name.as_str();
        let result = on_host(many.then_some(name), || {
            if is_alone {
                action.call_within_context(call.script, (host.clone(),))
            } else {
                apart(call, action, host)
            }
        });
        failed.fetch_or(result.is_err(), Ordering::SeqCst);
        Some(result)
    };
    let _scope = many.then(|| call.context.cancel.scope());
    let results = each(&hosts, at_once, || call.context.cancel.is_stopping(), one)
        .map_err(|error| call.fail(Diagnostic::new(Kind::Failed, error.to_string())))?;
    let (mut values, mut thrown, mut interrupted) = (Array::new(), Vec::new(), false);
    for (host, result) in hosts.iter().zip(results) {
        match result.flatten() {
            Some(Ok(value)) => values.push(value),
            Some(Err(error)) => thrown.push(Thrown {
                host: many.then(|| host.0.name.clone()),
                error,
            }),
            None => interrupted |= call.context.cancel.is_stopping(),
        }
    }
    if thrown.is_empty() && !interrupted {
        return Ok(values);
    }
    if thrown.is_empty() {
        return Err(call.fail(Diagnostic::new(Kind::Interrupted, "interrupted")));
    }
    Err(throw_all(thrown, call.position()))
}

/// Calls a closure beside others of its kind. What it captured is its own: threads that change
/// the same value would fail by chance. A change would be lost, so it is an error.
fn apart(call: &Call, action: &FnPtr, host: &Host) -> Answer<Dynamic> {
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
        let help = "return the value instead: `each` gives back a list of them";
        return Err(call.fail(Diagnostic::new(Kind::Usage, text).help(help.to_owned())));
    }
    Ok(result)
}

fn portions(sizes: &[Dynamic]) -> Result<Vec<Portion>, Diagnostic> {
    if sizes.is_empty() {
        return Err(Diagnostic::new(
            Kind::Usage,
            "there are no sizes of batches",
        ));
    }
    let portion = |size: &Dynamic| {
        let portion = size.to_string().parse().ok();
        portion
            .filter(|portion| !matches!(portion, Portion::Count(0) | Portion::Percent(0)))
            .ok_or_else(|| {
                Diagnostic::new(Kind::Usage, format!("`{size}` is no size of a batch"))
                    .help("write a number from 1, or a share such as \"25%\"".to_owned())
            })
    };
    sizes.iter().map(portion).collect()
}
