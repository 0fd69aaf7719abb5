//! `ssh::put`, `template`, `script` and `sha256`: files and scripts on servers.

use std::io::{self, Read};

use rhai::{Dynamic, ImmutableString, Map};

use super::{
    command::{execute, run_as},
    options::{FileOptions, SECRET_MODE, content},
};
use crate::{
    api::{
        Host,
        call::{Answer, Call},
        fs::template,
        namespace::Namespace,
    },
    core::{
        diagnostic::{Diagnostic, Kind, plain},
        event::Event,
        secrets::MASK,
    },
    files::{diff, digest, read_raw},
    inventory::Inventory,
    machine::{RawContent, WriteOptions, size_check},
    ssh::{Command, Input, quote},
};

/// Adds the functions to the namespace.
pub(super) fn add(ssh: &mut Namespace) {
    ssh.change_method(
        "script(host: Host, text: string) -> string",
        "Runs a script as root, with the interpreter of its `#!` line, or else with `sh`. Shows its
         output, and returns its standard output. Throws if it fails. The text may be a secret.",
        |call: &Call, host: Host, text: Dynamic| {
            let (text, mode) = content(&text);
            let line = format!(
                "set -e; t=$(mktemp); trap 'rm -f \"$t\"' EXIT; cat >\"$t\"\n{}
                 chmod 700 \"$t\"; \"$t\"",
                size_check("\"$t\"", text.len() as u64)
            );
            let command = Command {
                stdin: Input::Bytes(text.clone().into()),
                ..Command::root(line)
            };
            // Shown as the first line that is neither empty nor a comment.
            let mut lines = text.lines().map(str::trim);
            let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
            let first = match mode {
                SECRET_MODE => MASK,
                _ => first.unwrap_or_default(),
            };
            let shown = format!("script: {first} …");
            run_as(call, &host, &command, &shown)
        },
    );
    add_facts(ssh);
    ssh.change_method(
        "put(host: Host, content: string, path: string)",
        "Writes a file on a server atomically. An existing file keeps its owner and mode, and a new
         one has the mode 644. If the content is a secret, a new file has the mode 600, and an existing
         one is no longer accessible for users other than its owner and group. A dry run shows the
         differences. In a container without a shell, writing is not atomic.",
        |call: &Call, host: Host, content: Dynamic, path: ImmutableString| {
            write(call, &host, &content, &path, &Map::new())
        },
    );
    ssh.change_method(
        "put(host: Host, content: string, path: string, options: map)",
        "Writes a file on a server with options: `mode` (`\"600\"`), `owner` (`\"user:group\"`),
         `sudo` (as root), `folders` (creates missing parent folders).",
        |call: &Call, host: Host, content: Dynamic, path: ImmutableString, options: Map| {
            write(call, &host, &content, &path, &options)
        },
    );
    ssh.change_method(
        "template(host: Host, file: string, path: string, values: map)",
        "Fills in a template file of the project, as `fs::template` does, and writes it on a
         server, as `put` does.",
        |call: &Call, host: Host, file: ImmutableString, path: ImmutableString, values: Map| {
            let content = template(call, &file, &values)?;
            write(call, &host, &content, &path, &Map::new())
        },
    );
    ssh.change_method(
        "template(host: Host, file: string, path: string, values: map, options: map)",
        "Like `template` without options, with the options of `put`.",
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

/// Adds the functions that only read.
fn add_facts(ssh: &mut Namespace) {
    ssh.method(
        "sha256(host: Host, path: string) -> string",
        "Returns the SHA-256 digest of a file on a server, in hexadecimal digits; an empty text if
         the file does not exist.",
        |call: &Call, host: Host, path: ImmutableString| {
            let line = format!("sha256sum -- {} 2>/dev/null || true", quote(&path));
            let name = &host.0.name;
            let output = match call.mock() {
                Some(mock) => mock.run(name, &line),
                // The command is read-only, and also runs in a dry run.
                None => {
                    if let Some(found) = call.wait(raw(&call.inventory, &host, &path, true))? {
                        let digest = call.check(digest(found).map_err(unread(&path)))?;
                        return Ok(digest.unwrap_or_default());
                    }
                    call.wait(execute(&call.inventory, &host, &Command::root(line), false))?
                }
            };
            let text = output.text();
            Ok(text
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .trim_start_matches('\\')
                .to_owned())
        },
    );
    ssh.method(
        "mode(host: Host, path: string) -> string",
        "Returns the permissions of a file on a server, in octal digits: `640`. An empty text if the
         file does not exist, or in a container without a shell.",
        |call: &Call, host: Host, path: ImmutableString| {
            let line = format!("stat -Lc %a -- {} 2>/dev/null || true", quote(&path));
            let name = &host.0.name;
            let output = match call.mock() {
                Some(mock) => mock.run(name, &line),
                // The command is read-only, and also runs in a dry run.
                None => {
                    if call.wait(is_raw(&call.inventory, &host))? {
                        return Ok(String::new());
                    }
                    call.wait(execute(&call.inventory, &host, &Command::root(line), false))?
                }
            };
            let text = output.text();
            let is_mode = text.chars().all(|c| ('0'..='7').contains(&c));
            Ok(if is_mode { text } else { String::new() })
        },
    );
}

/// Whether a host has no shell.
async fn is_raw(inventory: &Inventory, host: &Host) -> Result<bool, Diagnostic> {
    let machine = inventory.machine(&host.0).await?;
    Ok(machine.raw_files().await?.is_some())
}

/// Reads a file of a host without a shell; none if it has one.
async fn raw(
    inventory: &Inventory,
    host: &Host,
    path: &str,
    sudo: bool,
) -> Result<Option<RawContent>, Diagnostic> {
    let machine = inventory.machine(&host.0).await?;
    Ok(read_raw(machine.as_ref(), path, sudo).await?)
}

/// The error of a file that was received, and could not be read.
fn unread(path: &str) -> impl Fn(io::Error) -> Diagnostic {
    move |error| Diagnostic::new(Kind::Failed, format!("`{path}`: {}", plain(error)))
}

/// Reads a file on a server. Returns none if it does not exist or is not valid UTF-8.
async fn read(
    inventory: &Inventory,
    host: &Host,
    path: &str,
    sudo: bool,
) -> Result<Option<String>, Diagnostic> {
    if let Some(found) = raw(inventory, host, path, sudo).await? {
        let RawContent::File { mut content, .. } = found else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(unread(path))?;
        return Ok(String::from_utf8(bytes).ok());
    }
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
    let options = call.check(FileOptions::decode(options, "put"))?;
    let (text, new_mode) = content(value);
    let is_secret = new_mode == SECRET_MODE;
    let name = &host.0.name;
    if call.would(|| format!("write {path} on {name}")) {
        // A secret is not shown, and a mock host has no files.
        if !is_secret && call.mock().is_none() {
            let reading = async {
                // A server that is unreachable now may exist when the task runs for real.
                Ok::<_, Diagnostic>(
                    read(&call.inventory, host, path, options.write_options.sudo).await,
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
                    .assume(format!("the current content of {path} on {name}")),
            }
        }
        return Ok(());
    }
    call.wait(async {
        let machine = call.inventory.machine(&host.0).await?;
        let write_options = WriteOptions {
            new_mode: Some(new_mode.to_owned()),
            is_private: is_secret,
            ..options.write_options
        };
        machine.put(path, text.into(), &write_options).await?;
        Ok::<_, Diagnostic>(())
    })
}
