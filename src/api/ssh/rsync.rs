//! `ssh::rsync_up` and `ssh::rsync_down`: transfers with the system's `rsync`, which sends only the
//! changed parts of files.

use std::sync::{Mutex, PoisonError};

use rhai::{ImmutableString, Map};

use crate::{
    api::{
        Host,
        call::{Answer, Call},
        namespace::Namespace,
        value::to_options,
    },
    core::{
        diagnostic::{Diagnostic, Kind},
        lines::Lines,
        process::{Keep, Program},
        value::{Fields, Value},
    },
    ssh::quote,
};

/// Adds the functions to the namespace.
pub(super) fn add(ssh: &mut Namespace) {
    ssh.change_method(
        "rsync_up(host: Host, from: string, to: string)",
        "Uploads a folder of the project with `rsync` over SSH. As with rsync, `folder/` means the
         contents of the folder. rsync must be installed on both machines.",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString| {
            rsync(call, &host, &from, &to, true, &Map::new())
        },
    );
    ssh.change_method(
        "rsync_up(host: Host, from: string, to: string, options: map)",
        "Like `rsync_up` without options, with the options `delete` (removes files on the server
         that do not exist in the project), `exclude` (a list of patterns), `sudo` (as root on the
         server).",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString, options: Map| {
            rsync(call, &host, &from, &to, true, &options)
        },
    );
    ssh.change_method(
        "rsync_down(host: Host, from: string, to: string)",
        "Downloads a folder with `rsync` over SSH. `{host}` in `to` is replaced by the server's name.",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString| {
            rsync(call, &host, &from, &to, false, &Map::new())
        },
    );
    ssh.change_method(
        "rsync_down(host: Host, from: string, to: string, options: map)",
        "Like `rsync_down` without options, with the options of `rsync_up`.",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString, options: Map| {
            rsync(call, &host, &from, &to, false, &options)
        },
    );
}

fn rsync(call: &Call, host: &Host, from: &str, to: &str, up: bool, options: &Map) -> Answer<()> {
    let flags = call.check(flags(options))?;
    let name = &host.0.name;
    let what = || {
        let verb = if up { "up" } else { "down" };
        format!("rsync {verb} {from} to {to} ({name})")
    };
    let running = async {
        let openssh = call.inventory.openssh(&host.0).await?;
        let words: Vec<String> = openssh.argv().iter().map(|word| quote(word)).collect();
        // `-s`: the remote shell does not expand the paths, also with old versions of rsync.
        let mut argv = vec!["rsync".to_owned(), "-azs".to_owned()];
        argv.extend(["-e".to_owned(), words.join(" ")]);
        argv.extend(flags);
        let local = |path: &str| {
            let path = path.replace("{host}", name);
            if path.starts_with('/') {
                path
            } else {
                // `Path::join` would remove a trailing slash, which means the contents of the folder.
                format!("{}/{path}", call.context.project.root.display())
            }
        };
        let remote = |path: &str| remote(openssh.host(), path);
        argv.push("--".to_owned());
        if up {
            argv.extend([local(from), remote(to)]);
        } else {
            argv.extend([remote(from), local(to)]);
        }
        let program = Program {
            keep: Keep::End,
            is_shielded: call.context.cancel.is_parallel(),
            ..Program::new(argv)
        };
        let lines = Mutex::new(Lines::new(&call.context.events, Some(name)));
        let output = program
            .run(|stream, bytes| {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push(stream, bytes);
            })
            .await
            .map_err(|error| {
                Diagnostic::new(Kind::Failed, format!("host `{name}`: rsync: {error}"))
                    .on(name)
                    .help("install rsync on this machine and on the server".to_owned())
            })?;
        // The shell of the server did not find the program: sh(1).
        let is_missing = !output.ok() && output.error_text().contains("rsync: command not found")
            || output.error_text().contains("rsync: not found");
        super::command::check(&output, "rsync", Some(name)).map_err(|error| {
            if is_missing {
                error.help("install rsync on the server".to_owned())
            } else {
                error
            }
        })
    };
    call.change(what, running).map(drop)
}

/// A path on a server, as rsync(1) reads it.
fn remote(host: &str, path: &str) -> String {
    // Two colons would name a module of a daemon.
    let path = if path.starts_with(':') {
        format!("./{path}")
    } else {
        path.to_owned()
    };
    if host.contains(':') {
        format!("[{host}]:{path}")
    } else {
        format!("{host}:{path}")
    }
}

fn flags(options: &Map) -> Result<Vec<String>, Diagnostic> {
    let options = to_options(options);
    let mut fields = Fields::new(&options, "rsync")?;
    let mut flags = Vec::new();
    if fields.decode("delete", Value::to_bool)?.unwrap_or(false) {
        flags.push("--delete".to_owned());
    }
    if fields.decode("sudo", Value::to_bool)?.unwrap_or(false) {
        flags.push("--rsync-path=sudo -n rsync".to_owned());
    }
    let patterns = fields.decode("exclude", |value, what| {
        let items = value.to_list(what)?;
        items
            .iter()
            .map(|item| item.to_text(what))
            .collect::<Result<Vec<_>, _>>()
    })?;
    for pattern in patterns.unwrap_or_default() {
        flags.push(format!("--exclude={pattern}"));
    }
    fields.finish()?;
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_paths() {
        assert_eq!(remote("web", "/srv/a b"), "web:/srv/a b");
        assert_eq!(remote("fe80::1%eth0", "x"), "[fe80::1%eth0]:x");
        assert_eq!(remote("web", ":module/x"), "web:./:module/x");
    }
}
