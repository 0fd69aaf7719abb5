//! `ssh::upload` and `ssh::download`: file transfers.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use rhai::{Dynamic, ImmutableString, Map};

use super::options::FileOptions;
use crate::{
    api::{
        Host,
        call::{Answer, Call},
        current_host,
        local_file::require,
        namespace::Namespace,
    },
    core::{
        diagnostic::{Diagnostic, Kind, plural},
        units::human_bytes,
    },
    files::{Download, TransferCounts, Upload, UploadPreview},
    machine::Machine,
};

/// Adds the functions to the namespace.
pub(super) fn add(ssh: &mut Namespace) {
    ssh.change_method(
        "upload(host: Host, from: string, to: string) -> map",
        "Uploads a file or folder of the project. Each file is replaced atomically. Files of a
         folder that are identical on the server are skipped, and an interrupted upload of a large
         file is resumed. `{host}` in `from` is replaced by the server's name. Returns
         `#{transferred, unchanged, removed}`.",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString| {
            upload(call, &host, &from, &to, &Map::new())
        },
    );
    ssh.change_method(
        "upload(host: Host, from: string, to: string, options: map) -> map",
        "Like `upload` without options, with the options of `put`, and `delete` (removes files on
         the server that do not exist in the project).",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString, options: Map| {
            upload(call, &host, &from, &to, &options)
        },
    );
    ssh.change_method(
        "download(host: Host, from: string, to: string) -> map",
        "Downloads a file or folder into the project, or all that match a pattern such as
         `/var/log/*.gz`, into the folder `to`. Files of a folder that are identical in the
         project are skipped. `{host}` in `to` is replaced by the server's name, and is required if
         the task runs on several servers. Returns `#{transferred, unchanged, removed}`.",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString| {
            download(call, &host, &from, &to, &Map::new())
        },
    );
    ssh.change_method(
        "download(host: Host, from: string, to: string, options: map) -> map",
        "Like `download` without options, with the options `sudo` (as root) and `delete` (removes
         files in the project that do not exist on the server).",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString, options: Map| {
            download(call, &host, &from, &to, &options)
        },
    );
}

fn upload(call: &Call, host: &Host, from: &str, to: &str, options: &Map) -> Answer<Map> {
    let options = call.check(FileOptions::decode(options, "upload"))?;
    let path = from.replace("{host}", &host.0.name);
    let from = call.context.project.root.join(&path);
    require(call, &path, &from)?;
    let name = &host.0.name;
    if call.is_dry() {
        let comparing = async {
            let machine = call.inventory.machine(&host.0).await?;
            let upload = upload_to(call, machine.as_ref(), &from, to, &options);
            upload.preview().await.map_err(Diagnostic::from)
        };
        match call.wait(async { Ok::<_, Diagnostic>(comparing.await) })? {
            Ok(Some(preview)) => return Ok(announce(call, name, &preview)),
            Ok(None) => {}
            // A server that is unreachable now may exist when the task runs for real.
            Err(error) if matches!(error.kind, Kind::Unreachable | Kind::NotFound) => call
                .context
                .assume(format!("the current content of {to} on {name}")),
            Err(error) => return Err(call.fail(error)),
        }
    }
    let what = || format!("upload {} to {to} on {name}", shown(call, &path, &from));
    let counts = call.change(what, async {
        let machine = call.inventory.machine(&host.0).await?;
        let upload = upload_to(call, machine.as_ref(), &from, to, &options);
        let started = Instant::now();
        let counts = upload.run().await?;
        tell(
            call,
            name,
            &format!("upload {path} to {to}"),
            counts,
            started,
        );
        Ok::<_, Diagnostic>(counts)
    })?;
    Ok(counts_map(counts))
}

/// Reports what a dry run does not upload to a host, and returns the counts.
fn announce(call: &Call, host: &str, preview: &UploadPreview) -> Map {
    for path in &preview.transferred {
        call.would(|| format!("upload {path} to {host}"));
    }
    for path in &preview.removed {
        call.would(|| format!("remove {path} on {host}"));
    }
    counts_map(Some(TransferCounts {
        transferred: preview.transferred.len(),
        unchanged: preview.unchanged,
        removed: preview.removed.len(),
        bytes: 0,
    }))
}

fn upload_to<'a>(
    call: &'a Call<'_>,
    machine: &'a dyn Machine,
    from: &'a Path,
    to: &'a str,
    options: &'a FileOptions,
) -> Upload<'a> {
    Upload {
        events: &call.context.events,
        machine,
        from,
        to,
        write_options: &options.write_options,
        remove: options.delete,
    }
}

fn download(call: &Call, host: &Host, from: &str, to: &str, options: &Map) -> Answer<Map> {
    let options = call.check(FileOptions::decode(options, "download"))?;
    if current_host().is_some() && !to.contains("{host}") {
        let text = format!("downloads from several servers would overwrite each other in `{to}`");
        let help = "use `{host}` in the path; it is replaced by the server's name";
        return Err(call.fail(Diagnostic::new(Kind::Usage, text).help(help.to_owned())));
    }
    let path = to.replace("{host}", &host.0.name);
    // A path that ends with a slash is a folder: joining keeps that.
    let to: PathBuf = call.context.project.root.join(&path);
    let what = || {
        format!(
            "download {from} of {} to {}",
            host.0.name,
            shown(call, &path, &to)
        )
    };
    let counts = call.change(what, async {
        let machine = call.inventory.machine(&host.0).await?;
        let sudo = options.write_options.sudo;
        let download = Download {
            events: &call.context.events,
            machine: machine.as_ref(),
            from,
            to: &to,
            sudo,
            remove: options.delete,
        };
        let started = Instant::now();
        let counts = download.run().await?;
        let what = format!("download {from} to {path}");
        tell(call, &host.0.name, &what, counts, started);
        Ok::<_, Diagnostic>(counts)
    })?;
    Ok(counts_map(counts))
}

/// Shows a transfer if the user asked for details, as commands are shown.
fn tell(call: &Call, host: &str, what: &str, counts: TransferCounts, started: Instant) {
    let TransferCounts {
        transferred,
        unchanged,
        removed,
        bytes,
    } = counts;
    let mut parts = vec![match transferred {
        0 => "nothing".to_owned(),
        _ => format!("{} of {}", plural(transferred, "file"), human_bytes(bytes)),
    }];
    parts.extend((unchanged > 0).then(|| format!("{unchanged} unchanged")));
    parts.extend((removed > 0).then(|| format!("{removed} removed")));
    let seconds = started.elapsed().as_secs_f64();
    call.context.events.detail(format!(
        "{host}: {what}: {} after {seconds:.3} s",
        parts.join(", ")
    ));
}

/// A local path as it is shown. That of a test does not depend on where the project is.
fn shown(call: &Call, path: &str, absolute: &Path) -> String {
    match call.mock() {
        Some(_) => path.to_owned(),
        None => absolute.display().to_string(),
    }
}

fn counts_map(counts: Option<TransferCounts>) -> Map {
    let counts = counts.unwrap_or_default();
    let number = |count: usize| Dynamic::from(i64::try_from(count).unwrap_or(i64::MAX));
    [
        ("transferred", counts.transferred),
        ("unchanged", counts.unchanged),
        ("removed", counts.removed),
    ]
    .into_iter()
    .map(|(key, count)| (key.into(), number(count)))
    .collect()
}
