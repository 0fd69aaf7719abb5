//! `ssh::`: commands on servers. All functions are also methods of `Host`.

pub(super) mod command;
mod files;
mod forward;
mod options;
mod rsync;
mod state;
mod transfer;

use std::sync::Arc;

use command::{is_piped, run, try_run};
use rhai::{ImmutableString, Map};

use super::{
    Api, Host,
    call::{Answer, Call},
    current_host,
    namespace::Namespace,
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        process::Keep,
    },
    fleet::Selection,
    mock::quoted,
    ssh::{Command, Input},
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut ssh = Namespace::new(api, "ssh", "Commands on servers.");
    ssh.function(
        "host(name: string) -> Host",
        "Returns the server with this name, address or id.",
        |call: &Call, name: ImmutableString| find(call, &name),
    );
    ssh.change_method(
        "run(host: Host, command: string) -> string",
        "Runs a command, shows its output, and returns its standard output. Throws if it fails.",
        |call: &Call, host: Host, command: ImmutableString| {
            run(call, &host, &Command::new(command.as_str()))
        },
    );
    ssh.change_method(
        "run(host: Host, command: string, options: map) -> string",
        "Runs a command with options: `cd` (working directory), `env` (environment variables, which
         other users of the server cannot see), `user` or `sudo` (the user to run it as), `shell`
         (instead of `sh`), `timeout` (`30`, `\"5m\"`), `stdin` (its standard input).",
        |call: &Call, host: Host, command: ImmutableString, options: Map| {
            let command = call.check(options::command(&command, &options))?;
            run(call, &host, &command)
        },
    );
    ssh.change_method(
        "stream(host: Host, command: string)",
        "Runs a command and shows its output without keeping it, so that the output may be endless.
         Throws if it fails. If it runs on one host, it reads the standard input of hitc if that is
         a pipe.",
        |call: &Call, host: Host, command: ImmutableString| {
            // Only one command can read the standard input of hitc.
            let is_alone = current_host().is_none();
            let command = Command {
                keep: Keep::End,
                stdin: if is_alone && is_piped() {
                    Input::Stdin
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
        "Runs a command as root. Otherwise like `run`.",
        |call: &Call, host: Host, command: ImmutableString| {
            run(call, &host, &Command::root(command.as_str()))
        },
    );
    ssh.change_method(
        "try_run(host: Host, command: string) -> map",
        "Runs a command without showing its output. Returns
         `#{ok, code, stdout, stderr, seconds, known}`. Throws only if the server cannot be
         reached. A dry run assumes success, and `known` is false.",
        |call: &Call, host: Host, command: ImmutableString| {
            try_run(call, &host, &Command::new(command.as_str()))
        },
    );
    ssh.change_method(
        "try_run(host: Host, command: string, options: map) -> map",
        "Like `try_run` without options, with the options of `run`.",
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
        "Opens an interactive shell on the server in this terminal, with the `ssh` program.",
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

/// The error of a server that is not one of the test.
fn not_in_test(name: &str) -> Failure {
    let text = format!("server `{name}` not found");
    let help = format!(
        "write `test::host({})` in the test, before the call",
        quoted(name)
    );
    Diagnostic::new(Kind::NotFound, text).help(help).into()
}

fn find(call: &Call, name: &str) -> Answer<Host> {
    let selection = Selection {
        hosts: vec![name.to_owned()],
        any_owner: call.context.settings.selection.any_owner,
        ..Selection::default()
    };
    if call.mock().is_some()
        && let Some((server, container)) = name.split_once('/')
    {
        let server = find(call, server)?;
        let node = server.0.as_ref().clone();
        return Ok(Host::from(node.inside(container, container, "", None)));
    }
    let selected = call.inventory.select(&selection, true);
    let found = call.try_wait(async {
        selected.await.map_err(|failure| match call.mock() {
            Some(_) if failure.kind() == Kind::NotFound => not_in_test(name),
            _ => failure,
        })
    })?;
    match <[_; 1]>::try_from(found) {
        Ok([node]) => Ok(Host::from(node)),
        Err(_) => {
            let text = format!("`{name}` matches more than one server");
            Err(call.fail(Diagnostic::new(Kind::NotFound, text)))
        }
    }
}
