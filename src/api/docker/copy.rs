//! Copies files and folders into containers and out of them.

use std::path::{Component, Path, PathBuf};

use rhai::ImmutableString;

use crate::{
    api::{
        Host,
        call::{Answer, Call},
        current_host,
        namespace::Namespace,
    },
    core::{
        diagnostic::{Diagnostic, Kind, plural},
        units::human_bytes,
    },
    docker::Copy,
};

pub(super) fn register(docker: &mut Namespace) {
    docker.change(
        "cp(host: Host, source: string, target: string)",
        "Copies a file or folder into a container or out of it: one of both is `CONTAINER:/PATH`, the
         other a path in the project. If the target is a folder, it is copied into it. Permissions are
         kept; files belong to root in the container. What arrived is verified: it is complete, or an
         error. If the task runs on several servers, each download goes to a folder with the server's
         name.",
        |call: &Call, host: Host, source: ImmutableString, target: ImmutableString| {
            cp(call, &host, &source, &target)
        },
    );
}

fn cp(call: &Call, host: &Host, source: &str, target: &str) -> Answer<()> {
    let copy = call.check(Copy::parse(source, target))?;
    let server = &host.0.name;
    let root = &call.context.project.root;
    let local = match &copy {
        Copy::Upload { from, .. } => root.join(from),
        Copy::Download { to, .. } if current_host().is_some() => {
            call.check(folder_of(&root.join(to), server))?
        }
        Copy::Download { to, .. } => root.join(to),
    };
    let what = || format!("copy {source} to {target} on {server}");
    let copied = call.change(what, async {
        let activity = call
            .context
            .events
            .start(server, format!("copying {source} to {target}"));
        let engine = call.inventory.engine(&host.0).await?;
        let tally = copy.run(&engine, local).await?;
        let files = plural(usize::try_from(tally.files).unwrap_or(usize::MAX), "file");
        activity.done(format!("copied {files}, {}", human_bytes(tally.bytes)));
        Ok::<_, Diagnostic>(())
    });
    copied.map(drop)
}

/// The folder of a server, with a slash at its end.
fn folder_of(folder: &Path, server: &str) -> Result<PathBuf, Diagnostic> {
    let mut components = Path::new(server).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(_)), None) => Ok(folder.join(server).join("")),
        _ => {
            let message = format!("host `{server}`: its name cannot be the name of a folder");
            Err(Diagnostic::new(Kind::Usage, message).on(server))
        }
    }
}
