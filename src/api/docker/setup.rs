//! The set-up of the engine.

use rhai::Map;

use super::engine::locked;
use crate::{
    api::{
        Host,
        call::{Answer, Call},
        namespace::Namespace,
        value::to_options,
    },
    core::diagnostic::Diagnostic,
    docker::{self, EngineStatus, Setup, SetupOptions},
};

pub(super) fn register(docker: &mut Namespace) {
    docker.change(
        "setup(host: Host) -> string",
        "Installs and starts the Docker Engine on a Debian or Ubuntu server. Does nothing if it
         runs. Returns `ready`, `started` or `installed`.",
        |call: &Call, host: Host| set_up(call, &host, &SetupOptions::default()),
    );
    docker.change(
        "setup(host: Host, options: map) -> string",
        "Installs and starts the Docker Engine with options: `repository` (`distribution` or
         `docker`), `docker_mount` (a block device for /var/lib/docker, formatted if it has no file
         system; refused if the engine has containers, unless `force` is true), `log_rotation` and
         `live_restore` (both true by default; an existing /etc/docker/daemon.json is not changed).",
        |call: &Call, host: Host, options: Map| {
            let options = call.check(SetupOptions::decode(&to_options(&options)))?;
            set_up(call, &host, &options)
        },
    );
}

fn set_up(call: &Call, host: &Host, options: &SetupOptions) -> Answer<String> {
    let done = call.change(|| format!("set up Docker on {}", host.0.name), async {
        let activity = call.context.events.start(&host.0.name, "setting up Docker");
        let status = call.inventory.engine_status(&host.0).await?;
        // An engine that answers is left alone, also if it is Podman's.
        let is_ready = options.mount.is_none() && matches!(status, EngineStatus::Running(_));
        let done = if is_ready {
            Setup::Ready
        } else {
            locked(call, &host.0, async {
                let machine = call.inventory.machine(&host.0).await?;
                Ok(docker::set_up(machine.as_ref(), options).await?)
            })
            .await?
        };
        let done = match done {
            Setup::Ready => "ready",
            Setup::Started => "started",
            Setup::Installed => "installed",
        };
        activity.done(format!("Docker is {done}"));
        Ok::<_, Diagnostic>(done)
    })?;
    Ok(done.unwrap_or_default().to_owned())
}
