//! Files and folders, sent and fetched.

use std::path::PathBuf;

use rhai::{Dynamic, ImmutableString, Map};

use super::options::Sending;
use crate::{
    api::{
        Host,
        call::{Answer, Call},
        current_host,
        namespace::Namespace,
    },
    core::diagnostic::{Diagnostic, Kind},
    files::{Download, TransferCounts, Upload},
};

/// Adds the functions to the namespace.
pub(super) fn add(ssh: &mut Namespace) {
    ssh.change_method(
        "upload(host: Host, from: string, to: string) -> map",
        "Sends a file or a folder of the project. A file comes to its place whole or not at all;
         what is there of a large one since an earlier try is not sent again. Of a folder, the files
         that are there already are left alone. `{host}` in `from` is the server's name. Returns
         `#{transferred, unchanged, removed}`.",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString| {
            send(call, &host, &from, &to, &Map::new())
        },
    );
    ssh.change_method(
        "upload(host: Host, from: string, to: string, options: map) -> map",
        "The same with options: those of `put`, and `delete` (removes files that only the server
         has).",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString, options: Map| {
            send(call, &host, &from, &to, &options)
        },
    );
    ssh.change_method(
        "download(host: Host, from: string, to: string) -> map",
        "Fetches a file or a folder into the project, as `upload` sends it. `{host}` in `to` is the
         server's name; with several servers it must be there.",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString| {
            fetch(call, &host, &from, &to, &Map::new())
        },
    );
    ssh.change_method(
        "download(host: Host, from: string, to: string, options: map) -> map",
        "The same with options: `sudo` (as root), `delete` (removes files that only this machine
         has).",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString, options: Map| {
            fetch(call, &host, &from, &to, &options)
        },
    );
}

fn send(call: &Call, host: &Host, from: &str, to: &str, options: &Map) -> Answer<Map> {
    let sending = call.check(Sending::decode(options, "upload"))?;
    let from = call
        .context
        .project
        .root
        .join(from.replace("{host}", &host.0.name));
    if !from.exists() {
        let text = format!("`{}` is not there", from.display());
        return Err(call.fail(Diagnostic::new(Kind::Usage, text)));
    }
    let what = || format!("upload {} to {to} on {}", from.display(), host.0.name);
    let sent = call.change(what, async {
        let connection = call.inventory.connect(&host.0).await?;
        let (events, write_options) = (&call.context.events, &sending.write_options);
        let upload = Upload {
            events,
            connection: &connection,
            from: &from,
            to,
            write_options,
            remove: sending.delete,
        };
        upload.run().await.map_err(Diagnostic::from)
    })?;
    Ok(tally(sent))
}

fn fetch(call: &Call, host: &Host, from: &str, to: &str, options: &Map) -> Answer<Map> {
    let sending = call.check(Sending::decode(options, "download"))?;
    if current_host().is_some() && !to.contains("{host}") {
        let text = format!("several servers cannot all be downloaded to `{to}`");
        let help = "write `{host}` in it, which is the server's name";
        return Err(call.fail(Diagnostic::new(Kind::Usage, text).help(help.to_owned())));
    }
    // A path that ends with a slash is a folder: joining keeps that.
    let to: PathBuf = call
        .context
        .project
        .root
        .join(to.replace("{host}", &host.0.name));
    let what = || format!("download {from} of {} to {}", host.0.name, to.display());
    let fetched = call.change(what, async {
        let connection = call.inventory.connect(&host.0).await?;
        let sudo = sending.write_options.sudo;
        let download = Download {
            events: &call.context.events,
            connection: &connection,
            from,
            to: &to,
            sudo,
            remove: sending.delete,
        };
        download.run().await.map_err(Diagnostic::from)
    })?;
    Ok(tally(fetched))
}

fn tally(tally: Option<TransferCounts>) -> Map {
    let tally = tally.unwrap_or_default();
    let number = |count: usize| Dynamic::from(i64::try_from(count).unwrap_or(i64::MAX));
    [
        ("transferred", tally.transferred),
        ("unchanged", tally.unchanged),
        ("removed", tally.removed),
    ]
    .into_iter()
    .map(|(key, count)| (key.into(), number(count)))
    .collect()
}
