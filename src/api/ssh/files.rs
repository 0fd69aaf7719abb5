//! Files on servers: written, compared, run.

use rhai::{Dynamic, ImmutableString, Map};

use super::{
    command::{execute, run_as},
    options::{Sending, content},
};
use crate::{
    api::{
        Host,
        call::{Answer, Call},
        fs::template,
        namespace::Namespace,
    },
    core::{diagnostic::Diagnostic, event::Event},
    files::diff,
    inventory::Inventory,
    machine::{WriteOptions, size_check},
    ssh::{Command, Input, quote},
};

/// Adds the functions to the namespace.
pub(super) fn add(ssh: &mut Namespace) {
    ssh.change_method(
        "script(host: Host, text: string) -> string",
        "Runs a script as root, with the interpreter of its `#!` line, else with `sh`. Shows what
         it writes, and returns its standard output. Throws if it fails.",
        |call: &Call, host: Host, text: ImmutableString| {
            let line = format!(
                "set -e; t=$(mktemp); trap 'rm -f \"$t\"' EXIT; cat >\"$t\"\n{}
                 chmod 700 \"$t\"; \"$t\"",
                size_check(text.len() as u64)
            );
            let command = Command {
                stdin: Input::Bytes(text.to_string().into()),
                ..Command::root(line)
            };
            // Known by its first line that does something.
            let mut lines = text.lines().map(str::trim);
            let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
            let shown = format!("script: {} …", first.unwrap_or_default());
            run_as(call, &host, &command, &shown)
        },
    );
    ssh.method(
        "sha256(host: Host, path: string) -> string",
        "The SHA-256 digest of a file on a server, in hexadecimal digits; empty if it is not there.",
        |call: &Call, host: Host, path: ImmutableString| {
            let line = format!("sha256sum -- {} 2>/dev/null || true", quote(&path));
            let name = &host.0.name;
            let output = match call.mock() {
                Some(stage) => stage.run(name, &line),
                // It changes nothing, and runs in a dry run too.
                None => call.wait(execute(&call.inventory, &host, &Command::root(line), false))?,
            };
            let text = output.text();
            Ok(text.split_whitespace().next().unwrap_or_default().trim_start_matches('\\').to_owned())
        },
    );
    ssh.change_method(
        "put(host: Host, content: string, path: string)",
        "Writes a file on a server, whole or not at all. A file that was there keeps its owner and
         its mode; a new one can be read by all, or by its owner only if the content is a secret. A
         dry run shows what would differ.",
        |call: &Call, host: Host, content: Dynamic, path: ImmutableString| {
            write(call, &host, &content, &path, &Map::new())
        },
    );
    ssh.change_method(
        "put(host: Host, content: string, path: string, options: map)",
        "The same with options: `mode` (`\"600\"`), `owner` (`\"user:group\"`), `sudo` (as root),
         `folders` (makes those above it).",
        |call: &Call, host: Host, content: Dynamic, path: ImmutableString, options: Map| {
            write(call, &host, &content, &path, &options)
        },
    );
    ssh.change_method(
        "template(host: Host, file: string, path: string, values: map)",
        "Writes a file of the project on a server, with `{{ name }}` filled in: `put` of
         `fs::template`.",
        |call: &Call, host: Host, file: ImmutableString, path: ImmutableString, values: Map| {
            let content = template(call, &file, &values)?;
            write(call, &host, &content, &path, &Map::new())
        },
    );
    ssh.change_method(
        "template(host: Host, file: string, path: string, values: map, options: map)",
        "The same with the options of `put`.",
        |call: &Call,
         host: Host,
         file: ImmutableString,
         path: ImmutableString,
         values: Map,
         options: Map| {
            let content = template(call, &file, &values)?;
            write(call, &host, &content, &path, &options)
        },
    );
}

/// What a file on a server contains; none if it is not there or is no text.
async fn read(
    inventory: &Inventory,
    host: &Host,
    path: &str,
    sudo: bool,
) -> Result<Option<String>, Diagnostic> {
    let command = Command {
        sudo,
        ..Command::new(format!("cat -- {}", quote(path)))
    };
    let output = execute(inventory, host, &command, false).await?;
    Ok(output
        .ok()
        .then(|| String::from_utf8(output.stdout).ok())
        .flatten())
}

fn write(call: &Call, host: &Host, value: &Dynamic, path: &str, options: &Map) -> Answer<()> {
    let sending = call.check(Sending::decode(options, "put"))?;
    let (text, new_mode) = content(value);
    let is_secret = new_mode == "600";
    let name = &host.0.name;
    if call.would(|| format!("write {path} on {name}")) {
        // What is secret is not shown, and a test has no files.
        if !is_secret && call.mock().is_none() {
            let reading = async {
                // A server that cannot be reached now may be there by then.
                Ok::<_, Diagnostic>(
                    read(&call.inventory, host, path, sending.write_options.sudo).await,
                )
            };
            match call.wait(reading)? {
                Ok(before) => {
                    if let Some(lines) = diff(path, before.as_deref(), &text) {
                        call.context.events.emit(Event::Diff(lines));
                    }
                }
                Err(_) => call
                    .context
                    .assume(format!("what {path} says now on {name}")),
            }
        }
        return Ok(());
    }
    call.wait(async {
        let machine = call.inventory.machine(&host.0).await?;
        let write_options = WriteOptions {
            new_mode: Some(new_mode.to_owned()),
            ..sending.write_options
        };
        machine.put(path, text.into(), &write_options).await?;
        Ok::<_, Diagnostic>(())
    })
}
