//! `hosts::run`, `try_run` and `stream`: one command on many servers, as futures, without a thread
//! per server.

use std::time::Instant;

use rhai::{Array, Dynamic, ImmutableString, Map};

use crate::{
    api::{
        Host,
        call::{Answer, Call, Simulated},
        namespace::Namespace,
        ssh::command::{assumed_map, check, execute, is_piped, output_map},
    },
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::Event,
        process::{Keep, Output},
    },
    fleet::{Drive, HostResult, OnSuccess, Rollout, finish},
    ssh::{Command, Input},
};

/// Adds the functions to the namespace.
pub(super) fn add(hosts: &mut Namespace) {
    hosts.change_method(
        "run(hosts: array, command: string) -> array",
        "Runs a command on all hosts at the same time and shows its output. Returns a map for each
         host: `#{host, ok, code, stdout, stderr, seconds}`. Throws after the command has ended on
         all hosts if it failed on any of them.",
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
        "Runs a command on all hosts at the same time. Shows no output and throws no error. Returns
         maps as `run` does: `ok` says whether the command succeeded, and `error` why a server
         could not be reached.",
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
        "Runs a command on all hosts and shows its output without keeping it, so that the output may
         be endless. Follows the flags `--forks`, `--batch`, `--fail-fast` and `--max-fail`, and
         shows a table at the end. On one host, the command reads the standard input of hitc if it
         is a pipe. Throws if the command fails on any host.",
        |call: &Call, hosts: Array, command: ImmutableString| stream_all(call, &hosts, &command),
    );
}

/// The outcome of a command on a host.
type Ended = Result<Ran, Diagnostic>;

enum Ran {
    Known(Output),
    /// Not run: what a dry run assumes.
    Assumed(Map),
}

fn run(call: &Call, hosts: &[Dynamic], line: &str, show: bool) -> Answer<Vec<(Host, Ended)>> {
    let hosts = call.hosts(hosts)?;
    if call.mock().is_some() || !call.frame.runs_commands() {
        let simulated = hosts.into_iter().map(|host| {
            let name = &host.0.name;
            let ran = match call.simulate(name, line) {
                Some(Simulated::Answered(output)) => Ran::Known(output),
                _ => Ran::Assumed(assumed_map(call, name, line)),
            };
            (host, Ok(ran))
        });
        return Ok(simulated.collect());
    }
    let command = Command::new(line);
    let one = async |host: &Host| {
        let name = &host.0.name;
        call.context.events.emit(Event::Begun(name.clone()));
        let ended = execute(&call.inventory, host, &command, show).await;
        call.context.events.emit(Event::Ended(name.clone()));
        ended.map(Ran::Known)
    };
    let rollout = Rollout::default();
    let _scope = call.context.cancel.scope();
    let results =
        call.wait(async { Ok::<_, Diagnostic>(drive(call, &rollout).run(&hosts, one).await) })?;
    let interrupted = || Err(Diagnostic::new(Kind::Interrupted, "interrupted"));
    let results = results.into_iter();
    let results = results.map(|result| result.unwrap_or_else(interrupted));
    Ok(hosts.into_iter().zip(results).collect())
}

fn drive<'a>(call: &'a Call, rollout: &'a Rollout) -> Drive<'a> {
    Drive {
        rollout,
        forks: call.context.settings.forks,
        cancel: &call.context.cancel,
    }
}

fn stream_all(call: &Call, hosts: &[Dynamic], line: &str) -> Answer<()> {
    let hosts = call.hosts(hosts)?;
    let many = hosts.len() > 1;
    let command = Command {
        keep: Keep::End,
        stdin: if !many && is_piped() {
            Input::Stdin
        } else {
            Input::default()
        },
        ..Command::new(line)
    };
    let one = async |host: &Host| {
        let name = &host.0.name;
        let started = Instant::now();
        call.context.events.emit(Event::Begun(name.clone()));
        let output = match call.simulate(name, line) {
            None => execute(&call.inventory, host, &command, true)
                .await
                .map(Some),
            Some(Simulated::Answered(output)) => Ok(Some(output)),
            Some(Simulated::Assumed) => Ok(None),
        };
        let checked = output.and_then(|output| match output {
            Some(output) => check(&output, line, Some(name)),
            None => Ok(()),
        });
        call.context.events.emit(Event::Ended(name.clone()));
        let seconds = started.elapsed().as_secs_f64();
        match checked {
            Ok(()) => Ok(seconds),
            Err(error) => Err((Failure::from(error), seconds)),
        }
    };
    let _scope = many.then(|| call.context.cancel.scope());
    let results = call.wait(async {
        let drive = drive(call, &call.context.settings.rollout);
        Ok::<_, Diagnostic>(drive.run(&hosts, one).await)
    })?;
    let results = hosts.iter().zip(results).map(|(host, result)| {
        let (ended, seconds) = match result {
            None => (None, 0.0),
            Some(Ok(seconds)) => (Some(Ok(())), seconds),
            Some(Err((failure, seconds))) => (Some(Err(failure)), seconds),
        };
        HostResult {
            name: host.0.name.clone(),
            seconds,
            ended,
        }
    });
    let results = results.collect();
    let interrupted = call.context.cancel.is_stopping();
    finish(
        &call.context.events,
        call.remembers(),
        results,
        if call.mock().is_none() {
            OnSuccess::Table
        } else {
            OnSuccess::Nothing
        },
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
