//! `local::`: commands on the local machine.

use std::sync::{Arc, Mutex, PoisonError};

use rhai::{Array, ImmutableString};

use super::{
    Api,
    call::{Answer, Call, HERE, Simulated},
    namespace::Namespace,
    ssh::command::{assumed, assumed_map, check, output_map},
    value::texts,
};
use crate::core::{
    diagnostic::{Diagnostic, Kind, plain},
    lines::Lines,
    process::Program,
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut local = Namespace::new(api, "local", "Commands on the local machine.");
    local.change(
        "run(command: string) -> string",
        "Runs a shell command in the project's folder, shows its output, and returns its standard
         output. Throws if it fails.",
        |call: &Call, command: ImmutableString| run(call, shell(&command), &command),
    );
    local.change(
        "run(command: array) -> string",
        "Runs a program with its arguments, without a shell. Otherwise like `run` with a shell
         command.",
        |call: &Call, command: Array| {
            let program = Program::new(texts(call, &command)?);
            let line = program.argv.join(" ");
            run(call, program, &line)
        },
    );
    local.change(
        "try_run(command: string) -> map",
        "Runs a shell command without showing its output. Returns
         `#{ok, code, stdout, stderr, seconds, known}`. `known` is false if a dry run assumes the
         result.",
        |call: &Call, command: ImmutableString| {
            let program = in_project(call, shell(&command));
            let running = async { program.run(|_, _| ()).await.map_err(|e| failed(&e)) };
            Ok(match call.simulate(HERE, &command) {
                None => output_map(&call.wait(running)?),
                Some(Simulated::Answered(output)) => output_map(&output),
                Some(Simulated::Assumed) => assumed_map(call, HERE, &command),
            })
        },
    );
    local.function(
        "program() -> string",
        "Returns the path of the running hitc, for scripts that start it.",
        |call: &Call| {
            let path = std::env::current_exe().map_err(|error| failed(&error));
            Ok(call.check(path)?.display().to_string())
        },
    );
    local
}

fn shell(line: &str) -> Program {
    Program::new(["sh", "-c", line])
}

fn in_project(call: &Call, mut program: Program) -> Program {
    program.folder = Some(call.context.project.root.clone());
    program.is_shielded = call.context.cancel.is_parallel();
    program
}

fn run(call: &Call, program: Program, line: &str) -> Answer<String> {
    let program = in_project(call, program);
    let running = async {
        let lines = Mutex::new(Lines::new(&call.context.events, None));
        let output = program
            .run(|stream, bytes| {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push(stream, bytes);
            })
            .await;
        output.map_err(|error| failed(&error))
    };
    let output = match call.simulate(HERE, line) {
        None => call.wait(running)?,
        Some(Simulated::Answered(output)) => output,
        Some(Simulated::Assumed) => return Ok(assumed(call, HERE, line)),
    };
    call.check(check(&output, line, None))?;
    Ok(output.text())
}

fn failed(error: &std::io::Error) -> Diagnostic {
    Diagnostic::new(Kind::Failed, plain(error))
}
