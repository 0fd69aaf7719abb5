//! One command on many servers at once, without a thread for each.

use std::time::Instant;

use futures_util::{StreamExt, stream};
use rhai::{Array, Dynamic, ImmutableString, Map};

use super::decode;
use crate::{
    api::{
        Host,
        call::{Answer, Call, Played},
        namespace::Namespace,
        ssh::{assumed_map, check, execute, is_piped, output_map},
    },
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::Event,
        process::{Keep, Output},
    },
    fleet::{HostResult, finish},
    ssh::{Command, Input},
};

/// Adds the functions to the namespace.
pub(super) fn add(hosts: &mut Namespace) {
    hosts.change_method(
        "run(hosts: array, command: string) -> array",
        "Runs a command on all of them at once, and shows what it writes. Returns a map for each:
         `#{host, ok, code, stdout, stderr, seconds}`. Throws if it fails anywhere, after it has
         ended everywhere.",
        |call: &Call, hosts: Array, command: ImmutableString| {
            let ended = run(call, &hosts, &command, true)?;
            let failures = ended.iter().filter_map(|(host, result)| {
                let failure = match result {
                    Ok(Ran::Known(output)) => check(output, &command, Some(&host.0.name)),
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
    hosts.change_method(
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
    hosts.change_method(
        "stream(hosts: array, command: string)",
        "Runs a command on all of them and shows what it writes, which may be without end: nothing
         is kept. Goes through them as the flags say (`--forks`, `--batch`, `--fail-fast`,
         `--max-fail`), and tells at the end how it went. On one host it reads what is piped into
         hitc. Throws if it fails anywhere.",
        |call: &Call, hosts: Array, command: ImmutableString| stream_all(call, &hosts, &command),
    );
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
    if call.mock().is_some() || !call.frame.runs_commands() {
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
        if call.context.cancel.is_stopping() {
            let skipped = Diagnostic::new(Kind::Interrupted, "interrupted");
            return (host, Err(skipped));
        }
        let name = &host.0.name;
        call.context.events.emit(Event::Begun(name.clone()));
        let ended = execute(&call.inventory, &host, &command, show).await;
        call.context.events.emit(Event::Ended(name.clone()));
        (host, ended.map(Ran::Known))
    };
    let _scope = call.context.cancel.scope();
    call.wait(async { Ok::<_, Diagnostic>(at_once(hosts, call.context.settings.forks, one).await) })
}

/// Does something for each item, for so many at once; a slow one holds up no other. The results come
/// in the order of the items.
async fn at_once<I, T>(
    items: impl IntoIterator<Item = I>,
    count: usize,
    work: impl AsyncFn(I) -> T,
) -> Vec<T> {
    let numbered = stream::iter(items).enumerate();
    let running = numbered.map(async |(at, item)| (at, work(item).await));
    let mut results: Vec<(usize, T)> = running.buffer_unordered(count).collect().await;
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

fn stream_all(call: &Call, hosts: &[Dynamic], line: &str) -> Answer<()> {
    let hosts = decode(call, hosts)?;
    let (settings, many) = (&call.context.settings, hosts.len() > 1);
    let command = Command {
        keep: Keep::End,
        stdin: if !many && is_piped() {
            Input::Ours
        } else {
            Input::default()
        },
        ..Command::new(line)
    };
    let gate = settings.rollout.gate(hosts.len());
    let one = async |host: &Host| {
        let name = &host.0.name;
        let started = Instant::now();
        let ended = if call.context.cancel.is_stopping() || !gate.is_open() {
            None
        } else {
            call.context.events.emit(Event::Begun(name.clone()));
            let output = match call.played(name, line) {
                None => execute(&call.inventory, host, &command, true)
                    .await
                    .map(Some),
                Some(Played::Answered(output)) => Ok(Some(output)),
                Some(Played::Assumed) => Ok(None),
            };
            Some(output.and_then(|output| match output {
                Some(output) => check(&output, line, Some(name)),
                None => Ok(()),
            }))
        };
        if let Some(ended) = &ended {
            gate.record(ended.is_ok());
            call.context.events.emit(Event::Ended(name.clone()));
        }
        HostResult {
            name: name.clone(),
            seconds: started.elapsed().as_secs_f64(),
            ended: ended.map(|ended| ended.map_err(Failure::from)),
        }
    };
    let _scope = many.then(|| call.context.cancel.scope());
    let results = call.wait(async {
        let (mut rest, mut results) = (hosts.as_slice(), Vec::new());
        for size in settings.rollout.sizes(hosts.len()) {
            let (batch, others) = rest.split_at(size);
            rest = others;
            if !gate.is_open_between() {
                results.extend(batch.iter().map(|host| HostResult {
                    name: host.0.name.clone(),
                    seconds: 0.0,
                    ended: None,
                }));
                continue;
            }
            results.extend(at_once(batch, settings.forks, &one).await);
        }
        Ok::<_, Diagnostic>(results)
    })?;
    let interrupted = call.context.cancel.is_stopping();
    finish(
        &call.context.events,
        call.remembers(),
        results,
        true,
        interrupted,
    )
    .map_err(|failure| call.fail(failure))
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
