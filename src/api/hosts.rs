//! `hosts::`: many servers at once. All of it is also a method of a list of hosts.
//!
//! Commands run without a thread for each host. Closures take threads, as many as `--forks`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::{StreamExt, stream};
use rhai::{Array, Dynamic, EvalAltResult, FnPtr, ImmutableString, Map};

use super::{
    Api, Host, Thrown,
    call::{Answer, Call, Played},
    namespace::Namespace,
    on_host,
    ssh::{assumed_map, execute, output_map},
    throw_all,
};
use crate::{
    diagnostic::{Diagnostic, Failure, Kind},
    parallel::each,
    process::Output,
    ssh::Command,
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut hosts = Namespace::new(
        api,
        "hosts",
        "Many servers at once, also as methods of lists.",
    );
    hosts.method(
        "run(hosts: array, command: string) -> array",
        "Runs a command on all of them at once, and shows what it writes. Returns a map for each:
         `#{host, ok, code, stdout, stderr, seconds}`. Throws if it fails anywhere, after it has
         ended everywhere.",
        |call: &Call, hosts: Array, command: ImmutableString| {
            let ended = run(call, &hosts, &command, true)?;
            let failures = ended.iter().filter_map(|(host, result)| {
                let failure = match result {
                    Ok(Ran::Known(output)) => {
                        super::ssh::check(output, &command, Some(&host.0.name))
                    }
                    Ok(Ran::Assumed(_)) => Ok(()),
                    Err(error) => Err(error.clone()),
                };
                failure.err()
            });
            let failures: Vec<Diagnostic> = failures.collect();
            if failures.is_empty() {
                Ok(ended
                    .iter()
                    .map(|(host, result)| result_map(host, result))
                    .collect::<Array>())
            } else {
                Err(call.fail(Failure(failures)))
            }
        },
    );
    hosts.method(
        "try_run(hosts: array, command: string) -> array",
        "The same quietly, and without throwing: `ok` says how it went, and `error` what was wrong
         with a server that could not be reached.",
        |call: &Call, hosts: Array, command: ImmutableString| {
            let ended = run(call, &hosts, &command, false)?;
            Ok(ended
                .iter()
                .map(|(host, result)| result_map(host, result))
                .collect::<Array>())
        },
    );
    hosts.method(
        "each(hosts: array, action: closure) -> array",
        "Calls `action` with each host, with as many at once as `--forks` says, and returns what
         it returns, in the order of the hosts. One that fails does not stop the others; all
         failures are thrown at the end.",
        |call: &Call, hosts: Array, action: FnPtr| {
            let forks = call.session.settings.forks;
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
            let sizes = call.check(batch_sizes(&sizes, hosts.len()))?;
            let (mut rest, mut results) = (hosts.as_slice(), Array::new());
            for size in sizes {
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

/// How a command ended on a host.
type Ended = Result<Ran, Diagnostic>;

enum Ran {
    Known(Output),
    /// In a dry run.
    Assumed(Map),
}

fn run(call: &Call, hosts: &[Dynamic], line: &str, show: bool) -> Answer<Vec<(Host, Ended)>> {
    let hosts = decode(call, hosts)?;
    let session = &call.session;
    if session.stage.is_some() || !session.runs_commands() {
        let played = hosts.into_iter().map(|host| {
            let name = &host.0.name;
            let ran = match call.played(name, line) {
                Some(Played::Answered(output)) => Ran::Known(output),
                _ => Ran::Assumed(assumed_map(call, name, line)),
            };
            (host, Ok(ran))
        });
        return Ok(played.collect());
    }
    let command = Command::new(line);
    let one = async |host: Host| {
        if session.cancel.is_stopping() {
            let skipped = Diagnostic::new(Kind::Interrupted, "interrupted");
            return (host, Err(skipped));
        }
        let ended = execute(session, &host, &command, show).await;
        (host, ended.map(Ran::Known))
    };
    let _scope = session.cancel.scope();
    call.wait(async {
        let running = stream::iter(hosts)
            .map(one)
            .buffered(session.settings.forks);
        Ok::<_, Diagnostic>(running.collect().await)
    })
}

fn result_map(host: &Host, result: &Ended) -> Dynamic {
    let mut map = match result {
        Ok(Ran::Known(output)) => output_map(output),
        Ok(Ran::Assumed(map)) => map.clone(),
        Err(error) => {
            let mut map = Map::new();
            map.insert("ok".into(), false.into());
            map.insert("error".into(), error.message.clone().into());
            map
        }
    };
    map.insert("host".into(), host.0.name.clone().into());
    map.into()
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
    let session = &call.session;
    let failed = AtomicBool::new(false);
    let is_alone = at_once.min(hosts.len()) < 2;
    let one = |host: &Host| -> Option<Result<Dynamic, Box<EvalAltResult>>> {
        if stop && failed.load(Ordering::SeqCst) {
            return None;
        }
        let name = host.0.name.as_str();
        let result = on_host(many.then_some(name), || {
            if is_alone {
                action.call_within_context(call.context, (host.clone(),))
            } else {
                apart(call, action, host)
            }
        });
        failed.fetch_or(result.is_err(), Ordering::SeqCst);
        Some(result)
    };
    let _scope = many.then(|| session.cancel.scope());
    let results = each(&hosts, at_once, &session.cancel, one)
        .map_err(|error| call.fail(Diagnostic::new(Kind::Failed, error.to_string())))?;
    let (mut values, mut thrown, mut interrupted) = (Array::new(), Vec::new(), false);
    for (host, result) in hosts.iter().zip(results) {
        match result.flatten() {
            Some(Ok(value)) => values.push(value),
            Some(Err(error)) => thrown.push(Thrown {
                host: many.then(|| host.0.name.clone()),
                error,
            }),
            None => interrupted |= session.cancel.is_stopping(),
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
    let result = own.call_within_context(call.context, (host.clone(),))?;
    let after = own.iter_curry().map(|value| format!("{value:?}"));
    if !before.into_iter().eq(after) {
        let text =
            "a closure that runs for several hosts at once cannot change a captured variable";
        let help = "return the value instead: `each` gives back a list of them";
        return Err(call.fail(Diagnostic::new(Kind::Usage, text).help(help.to_owned())));
    }
    Ok(result)
}

/// How many hosts each batch has.
fn batch_sizes(sizes: &[Dynamic], count: usize) -> Result<Vec<usize>, Diagnostic> {
    let wrong = |text: &Dynamic| {
        Diagnostic::new(Kind::Usage, format!("`{text}` is no size of a batch"))
            .help("write a number from 1, or a share such as \"25%\"".to_owned())
    };
    let mut given = Vec::new();
    for size in sizes {
        let text = size.to_string();
        let number = match text.strip_suffix('%') {
            // A share is one host at least.
            Some(share) => match share.trim().parse::<usize>() {
                Ok(share @ 1..=100) => (count * share / 100).max(1),
                _ => return Err(wrong(size)),
            },
            None => text
                .parse()
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| wrong(size))?,
        };
        given.push(number);
    }
    let Some(last) = given.last().copied() else {
        return Err(Diagnostic::new(
            Kind::Usage,
            "there are no sizes of batches",
        ));
    };
    let (mut rest, mut batches) = (count, Vec::new());
    let mut given = given.into_iter().chain(std::iter::repeat(last));
    while rest > 0 {
        let size = given.next().unwrap_or(rest).min(rest);
        batches.push(size);
        rest -= size;
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches() {
        let sizes = |sizes: &[&str], count| {
            let sizes: Vec<Dynamic> = sizes.iter().map(|s| (*s).to_owned().into()).collect();
            batch_sizes(&sizes, count).map_err(|error| error.message)
        };
        assert_eq!(sizes(&["1", "25%", "100%"], 10).unwrap(), [1, 2, 7]);
        assert_eq!(sizes(&["1", "25%"], 10).unwrap(), [1, 2, 2, 2, 2, 1]);
        assert_eq!(sizes(&["20%"], 2).unwrap(), [1, 1]);
        assert_eq!(sizes(&["5"], 0).unwrap(), [0; 0]);
        for bad in [&["0"][..], &["x"], &["101%"], &["-1"], &[]] {
            assert!(sizes(bad, 10).is_err(), "{bad:?}");
        }
    }
}
