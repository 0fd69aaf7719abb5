//! `ssh::`: commands on servers. All of it is also a method of `Host`.

mod files;
mod forward;
mod options;
mod rsync;
mod state;
mod transfer;

use std::{fs, io::IsTerminal, os::unix::fs::MetadataExt, sync::Arc};

use rhai::{Dynamic, ImmutableString, Map};

use super::{
    Api, Host,
    call::{Answer, Call, Played},
    current_host,
    namespace::Namespace,
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        event::Lines,
        process::{Exit, Keep, Output},
    },
    fleet::Selection,
    inventory::Inventory,
    ssh::{Command, Input},
};

/// What sudo says when it may not ask.
const SUDO_ASKS: [&str; 2] = [
    "sudo: a password is required",
    "sudo: a terminal is required",
];
/// How many lines of a command's complaints go into an error.
const TAIL: usize = 10;

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut ssh = Namespace::new(api, "ssh", "Commands on servers.");
    ssh.function(
        "host(name: string) -> Host",
        "The server of that name or address.",
        |call: &Call, name: ImmutableString| find(call, &name),
    );
    ssh.change_method(
        "run(host: Host, command: string) -> string",
        "Runs a command, shows what it writes, and returns its standard output. Throws if it
         fails.",
        |call: &Call, host: Host, command: ImmutableString| {
            run(call, &host, &Command::new(command.as_str()))
        },
    );
    ssh.change_method(
        "run(host: Host, command: string, options: map) -> string",
        "The same with options: `cd` (the folder), `env` (variables, which nobody else on the server
         sees), `user` or `sudo` (as whom), `shell` (instead of `sh`), `timeout` (`30`, `\"5m\"`),
         `stdin` (what it reads).",
        |call: &Call, host: Host, command: ImmutableString, options: Map| {
            let command = call.check(options::command(&command, &options))?;
            run(call, &host, &command)
        },
    );
    ssh.change_method(
        "stream(host: Host, command: string)",
        "Runs a command and shows what it writes, which may be without end: nothing is kept.
         Throws if it fails. On one host it reads what is piped into hitc.",
        |call: &Call, host: Host, command: ImmutableString| {
            // Ours can be read by one only.
            let is_alone = current_host().is_none();
            let command = Command {
                keep: Keep::End,
                stdin: if is_alone && is_piped() {
                    Input::Ours
                } else {
                    Input::default()
                },
                ..Command::new(command.as_str())
            };
            run(call, &host, &command).map(drop)
        },
    );
    ssh.change_method(
        "sudo(host: Host, command: string) -> string",
        "Runs a command as root, as `run` does.",
        |call: &Call, host: Host, command: ImmutableString| {
            run(call, &host, &Command::root(command.as_str()))
        },
    );
    ssh.change_method(
        "try_run(host: Host, command: string) -> map",
        "Runs a command quietly and returns `#{ok, code, stdout, stderr, seconds, known}`. Throws
         only if the server cannot be reached. In a dry run it is not known, and taken to go well.",
        |call: &Call, host: Host, command: ImmutableString| {
            try_run(call, &host, &Command::new(command.as_str()))
        },
    );
    ssh.change_method(
        "try_run(host: Host, command: string, options: map) -> map",
        "The same with the options of `run`.",
        |call: &Call, host: Host, command: ImmutableString, options: Map| {
            let command = call.check(options::command(&command, &options))?;
            try_run(call, &host, &command)
        },
    );
    files::add(&mut ssh);
    forward::add(&mut ssh);
    rsync::add(&mut ssh);
    state::add(&mut ssh);
    transfer::add(&mut ssh);
    ssh.change_method(
        "terminal(host: Host)",
        "Hands this terminal to a shell on the server, by the system's `ssh` with our settings.",
        |call: &Call, host: Host| {
            let what = || format!("open a shell on {}", host.0.name);
            let shell = async {
                let openssh = call.inventory.openssh(&host.0).await?;
                let target = call.inventory.target(&host.0).await?;
                openssh.terminal(&target).await.map_err(Diagnostic::from)
            };
            call.change(what, shell).map(drop)
        },
    );
    ssh
}

/// Whether there is something to read on our standard input: neither a person types there, nor is
/// it `/dev/null`.
pub(super) fn is_piped() -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.rdev(), a.mode()) == (b.rdev(), b.mode());
    let is_null = fs::metadata("/dev/stdin")
        .and_then(|stdin| Ok(same(&stdin, &fs::metadata("/dev/null")?)))
        .unwrap_or(false);
    !is_null && !std::io::stdin().is_terminal()
}

fn find(call: &Call, name: &str) -> Answer<Host> {
    let selection = Selection {
        hosts: vec![name.to_owned()],
        ..Selection::default()
    };
    let found = call.try_wait(call.inventory.select(&selection, true))?;
    match <[_; 1]>::try_from(found) {
        Ok([node]) => Ok(Host::from(node)),
        Err(_) => {
            let text = format!("`{name}` is more than one server");
            Err(call.fail(Diagnostic::new(Kind::NotFound, text)))
        }
    }
}

fn run(call: &Call, host: &Host, command: &Command) -> Answer<String> {
    run_as(call, host, command, &command.line)
}

/// The same for a command that is shown as something else.
fn run_as(call: &Call, host: &Host, command: &Command, line: &str) -> Answer<String> {
    let name = &host.0.name;
    let output = match call.played(name, line) {
        None => call.wait(execute(&call.inventory, host, command, true))?,
        Some(Played::Answered(output)) => output,
        Some(Played::Assumed) => return Ok(assumed(call, name, line)),
    };
    call.check(check(&output, line, Some(name)))?;
    Ok(output.text())
}

/// Runs a command on a server, as long as the user lets it; with `show`, what it writes is shown.
pub(super) async fn execute(
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

/// The error for a command that failed, on a server or here.
pub(super) fn check(output: &Output, line: &str, host: Option<&str>) -> Result<(), Diagnostic> {
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
    if SUDO_ASKS.iter().any(|said| tail.contains(said)) {
        diagnostic = diagnostic.help(
            "sudo wants a password there: let `host.sudo` run it, with --ask-sudo-pass (-K)"
                .to_owned(),
        );
    }
    if !tail.is_empty() {
        diagnostic = diagnostic.note(tail);
    }
    Err(diagnostic)
}

fn try_run(call: &Call, host: &Host, command: &Command) -> Answer<Map> {
    let line = command.line.as_str();
    let name = &host.0.name;
    Ok(match call.played(name, line) {
        None => output_map(&call.wait(execute(&call.inventory, host, command, false))?),
        Some(Played::Answered(output)) => output_map(&output),
        Some(Played::Assumed) => assumed_map(call, name, line),
    })
}

/// What came of a command, for scripts.
pub(super) fn output_map(output: &Output) -> Map {
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

/// What a dry run goes on with in place of what a command would write.
pub(super) fn assumed(call: &Call, place: &str, line: &str) -> String {
    call.assume(place, line);
    format!("<not known: {line}>")
}

/// What a dry run goes on with in place of what would come of a command: it went well.
pub(super) fn assumed_map(call: &Call, place: &str, line: &str) -> Map {
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
