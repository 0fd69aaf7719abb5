//! Files on servers: written, compared, run.

use rhai::{Dynamic, ImmutableString, Map};

use super::{check, execute, run_as};
use crate::{
    api::{
        Host,
        call::{Answer, Call},
        namespace::Namespace,
        secret::text_of,
        value::to_options,
    },
    diagnostic::Diagnostic,
    ssh::{Command, Input, quote},
    value::{Fields, Invalid, Value},
};

/// Adds the functions to the namespace.
pub(super) fn add(ssh: &mut Namespace) {
    ssh.method(
        "script(host: Host, text: string) -> string",
        "Runs a script as root, with the interpreter of its `#!` line, else with `sh`. Shows what
         it writes, and returns its standard output. Throws if it fails.",
        |call: &Call, host: Host, text: ImmutableString| {
            let line = "set -e; t=$(mktemp); trap 'rm -f \"$t\"' EXIT; cat >\"$t\"; \
                        chmod 700 \"$t\"; \"$t\"";
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
            let output = match call.session.stage.as_ref() {
                Some(stage) => stage.run(name, &line),
                // It changes nothing, and runs in a dry run too.
                None => call.wait(execute(&call.session, &host, &Command::root(line), false))?,
            };
            let text = output.text();
            Ok(text.split_whitespace().next().unwrap_or_default().trim_start_matches('\\').to_owned())
        },
    );
    ssh.method(
        "put(host: Host, content: string, path: string)",
        "Writes a file on a server, whole or not at all. A file that was there keeps its owner and
         its mode; a new one can be read by all, or by its owner only if the content is a secret.",
        |call: &Call, host: Host, content: Dynamic, path: ImmutableString| {
            put(call, &host, &content, &path, &Map::new())
        },
    );
    ssh.method(
        "put(host: Host, content: string, path: string, options: map)",
        "The same with options: `mode` (`\"600\"`), `owner` (`\"user:group\"`), `sudo` (as root),
         `folders` (makes those above it).",
        |call: &Call, host: Host, content: Dynamic, path: ImmutableString, options: Map| {
            put(call, &host, &content, &path, &options)
        },
    );
}

/// How a file is written.
struct Placing {
    mode: Option<String>,
    owner: Option<String>,
    sudo: bool,
    folders: bool,
}

impl Placing {
    fn decode(options: &Map) -> Result<Self, Diagnostic> {
        let options = to_options(options);
        let mut fields = Fields::new(&options, "put")?;
        let mode = fields.decode("mode", |value, what| {
            let text = value.to_text(what)?;
            let is_mode =
                (3..=4).contains(&text.len()) && text.chars().all(|c| ('0'..='7').contains(&c));
            let wrong = || Invalid::new(value, format!("{what}: `{text}` is no mode"));
            if is_mode {
                Ok(text)
            } else {
                Err(wrong().help("write \"644\"".to_owned()))
            }
        })?;
        let owner = fields.decode("owner", |value, what| {
            let text = value.to_text(what)?;
            let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-:".contains(c);
            let wrong = || Invalid::new(value, format!("{what}: `{text}` is no owner"));
            if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_name) {
                Ok(text)
            } else {
                Err(wrong().help("write \"user\" or \"user:group\"".to_owned()))
            }
        })?;
        let sudo = fields.decode("sudo", Value::to_bool)?.unwrap_or(false);
        let folders = fields.decode("folders", Value::to_bool)?.unwrap_or(false);
        fields.finish()?;
        Ok(Placing {
            mode,
            owner,
            sudo,
            folders,
        })
    }

    /// The command that writes its input into a file: beside it first, as a file that was not
    /// there before (`-C`), and then moved into its place.
    fn line(&self, path: &str, new_mode: &str) -> String {
        let target = quote(path);
        let folders = if self.folders {
            format!("mkdir -p -- \"$(dirname -- {target})\"; ")
        } else {
            String::new()
        };
        let owner = self
            .owner
            .as_ref()
            .map_or(String::new(), |owner| format!("; chown {owner} \"$t\""));
        let mode = self
            .mode
            .as_ref()
            .map_or(String::new(), |mode| format!("; chmod {mode} \"$t\""));
        format!(
            "set -eC; {folders}t={target}.$$; trap 'rm -f \"$t\"' EXIT; (umask 077; cat >\"$t\")
             if [ -e {target} ]; then
             chown --reference={target} \"$t\"; chmod --reference={target} \"$t\"
             else chmod {new_mode} \"$t\"; fi{owner}{mode}; mv -f \"$t\" {target}"
        )
    }
}

fn put(call: &Call, host: &Host, content: &Dynamic, path: &str, options: &Map) -> Answer<()> {
    let session = &call.session;
    let placing = call.check(Placing::decode(options))?;
    let secret = text_of(content);
    let new_mode = if secret.is_some() { "600" } else { "644" };
    let content = secret.unwrap_or_else(|| content.to_string());
    let command = Command {
        stdin: Input::Bytes(content.into()),
        sudo: placing.sudo,
        ..Command::new(placing.line(path, new_mode))
    };
    let name = &host.0.name;
    let writing = async {
        let output = execute(session, host, &command, false).await?;
        check(&output, &format!("write {path}"), Some(name))
    };
    call.change(|| format!("write {path} on {name}"), writing)
        .map(drop)
}
