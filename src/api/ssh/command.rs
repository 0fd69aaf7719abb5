//! Runs commands on servers for script functions. In a test a mock answers them; in a dry run they
//! are assumed to succeed.

use std::{fs, io::IsTerminal, os::unix::fs::MetadataExt};

use rhai::{Dynamic, Map};

use crate::{
    api::{
        Host,
        call::{Answer, Call, Simulated},
    },
    core::{
        diagnostic::{Diagnostic, Kind},
        lines::Lines,
        process::{Exit, Output},
    },
    inventory::Inventory,
    ssh::Command,
};

/// The messages of sudo if it cannot prompt for the password.
const SUDO_NEEDS_PASSWORD: [&str; 2] = [
    "sudo: a password is required",
    "sudo: a terminal is required",
];
/// How many lines of standard error go into an error.
const TAIL: usize = 10;

/// Whether the standard input of hitc is a pipe or a file: neither a terminal nor `/dev/null`.
pub(in crate::api) fn is_piped() -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.rdev(), a.mode()) == (b.rdev(), b.mode());
    let is_null = fs::metadata("/dev/stdin")
        .and_then(|stdin| Ok(same(&stdin, &fs::metadata("/dev/null")?)))
        .unwrap_or(false);
    !is_null && !std::io::stdin().is_terminal()
}

/// Runs a command on a server, shows its output, and returns its standard output.
pub(in crate::api) fn run(call: &Call, host: &Host, command: &Command) -> Answer<String> {
    run_as(call, host, command, &command.line)
}

/// Like [`run`], for a command that is shown as `line`.
pub(in crate::api) fn run_as(
    call: &Call,
    host: &Host,
    command: &Command,
    line: &str,
) -> Answer<String> {
    let name = &host.0.name;
    let output = match call.simulate(name, line) {
        None => call.wait(execute(&call.inventory, host, command, true))?,
        Some(Simulated::Answered(output)) => output,
        Some(Simulated::Assumed) => return Ok(assumed(call, name, line)),
    };
    call.check(check(&output, line, Some(name)))?;
    Ok(output.text())
}

/// Runs a command on a server. With `show`, its output is shown.
pub(in crate::api) async fn execute(
    inventory: &Inventory,
    host: &Host,
    command: &Command,
    show: bool,
) -> Result<Output, Diagnostic> {
    let settings = &inventory.context.settings;
    let command = Command {
        timeout: command.timeout.or(settings.timeout),
        shell: command.shell.clone().or_else(|| settings.shell.clone()),
        ..command.clone()
    };
    if !show {
        return inventory.exec(&host.0, &command, |_, _| ()).await;
    }
    let mut lines = Lines::new(&inventory.context.events, Some(&host.0.name));
    let output = inventory.exec(&host.0, &command, |stream, bytes| lines.push(stream, bytes));
    output.await
}

/// Returns an error if a command failed; `host` is none for the local machine.
pub(in crate::api) fn check(
    output: &Output,
    line: &str,
    host: Option<&str>,
) -> Result<(), Diagnostic> {
    if output.ok() {
        return Ok(());
    }
    let what = format!("`{line}` ended with {}", output.exit);
    let mut diagnostic = match host {
        Some(host) => Diagnostic::new(Kind::Failed, format!("host `{host}`: {what}")).on(host),
        None => Diagnostic::new(Kind::Failed, what),
    };
    if let Exit::Code(code) = output.exit {
        diagnostic.code = Some(code);
    }
    let tail = output.tail(TAIL);
    if SUDO_NEEDS_PASSWORD
        .iter()
        .any(|message| tail.contains(message))
    {
        diagnostic = diagnostic.help(
            "sudo needs a password on this server: run the command with `host.sudo` and pass --ask-sudo-pass (-K)"
                .to_owned(),
        );
    }
    if !tail.is_empty() {
        diagnostic = diagnostic.note(tail);
    }
    Err(diagnostic)
}

/// Runs a command without showing its output. Returns its result as a map.
pub(in crate::api) fn try_run(call: &Call, host: &Host, command: &Command) -> Answer<Map> {
    let line = command.line.as_str();
    let name = &host.0.name;
    Ok(match call.simulate(name, line) {
        None => output_map(&call.wait(execute(&call.inventory, host, command, false))?),
        Some(Simulated::Answered(output)) => output_map(&output),
        Some(Simulated::Assumed) => assumed_map(call, name, line),
    })
}

/// Describes the result of a command for scripts.
pub(in crate::api) fn output_map(output: &Output) -> Map {
    let code = match output.exit {
        Exit::Code(code) => i64::from(code).into(),
        Exit::Signal(_) => Dynamic::UNIT,
    };
    let pairs: [(&str, Dynamic); 6] = [
        ("ok", output.ok().into()),
        ("code", code),
        ("stdout", output.text().into()),
        ("stderr", output.error_text().into()),
        ("seconds", output.elapsed.as_secs_f64().into()),
        ("known", true.into()),
    ];
    pairs
        .into_iter()
        .map(|(key, value)| (key.into(), value))
        .collect()
}

/// The output that a dry run assumes for a command that it does not run. Notes the command as
/// assumed.
pub(in crate::api) fn assumed(call: &Call, place: &str, line: &str) -> String {
    call.assume(place, line);
    format!("<unknown: {line}>")
}

/// The result that a dry run assumes for a command that it does not run: success.
pub(in crate::api) fn assumed_map(call: &Call, place: &str, line: &str) -> Map {
    let pairs: [(&str, Dynamic); 6] = [
        ("ok", true.into()),
        ("code", 0_i64.into()),
        ("stdout", assumed(call, place, line).into()),
        ("stderr", String::new().into()),
        ("seconds", 0.0.into()),
        ("known", false.into()),
    ];
    pairs
        .into_iter()
        .map(|(key, value)| (key.into(), value))
        .collect()
}
