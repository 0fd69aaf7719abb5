//! The set-up of the engine.

use crate::{
    api::{Host, call::Call, namespace::Namespace},
    core::diagnostic::Diagnostic,
    docker::{self, Setup},
};

pub(super) fn register(docker: &mut Namespace) {
    docker.change(
        "setup(host: Host) -> string",
        "Installs and starts the Docker Engine on a Debian or Ubuntu server. Does nothing if it
         runs. Returns `ready`, `started` or `installed`.",
        |call: &Call, host: Host| {
            let done = call.change(|| format!("set up Docker on {}", host.0.name), async {
                let activity = call.context.events.start(&host.0.name, "setting up Docker");
                let machine = call.inventory.machine(&host.0).await?;
                let done = match docker::set_up(machine.as_ref()).await? {
                    Setup::Ready => "ready",
                    Setup::Started => "started",
                    Setup::Installed => "installed",
                };
                activity.done(format!("Docker is {done}"));
                Ok::<_, Diagnostic>(done)
            })?;
            Ok(done.unwrap_or_default().to_owned())
        },
    );
}
