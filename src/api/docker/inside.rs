//! Containers as hosts.

use rhai::ImmutableString;

use crate::{
    api::{Host, call::Call, namespace::Namespace},
    core::diagnostic::Diagnostic,
};

pub(super) fn register(docker: &mut Namespace) {
    docker.function(
        "inside(host: Host, name: string) -> Host",
        "Returns a running container of a server as a host: `run`, `try_run`, `script`, `put`,
         `upload`, `download` and the others work in it, and nothing is needed there but the programs
         that they run. Without a shell, files are read and written by the engine, not atomically. A
         dry run assumes that a container that does not exist yet will.",
        |call: &Call, host: Host, name: ImmutableString| {
            let assumed = || host.0.as_ref().clone().inside(&name, &name, "", None);
            if call.mock().is_some() {
                return Ok(Host::from(assumed()));
            }
            if call.is_real() {
                let found = call.wait(call.inventory.container(&host.0, &name))?;
                return Ok(Host::from(found));
            }
            let found = call.wait(async {
                // Another task of the dry run may create it.
                Ok::<_, Diagnostic>(call.inventory.container(&host.0, &name).await.ok())
            })?;
            Ok(Host::from(found.unwrap_or_else(|| {
                let container = assumed();
                call.context.assume(format!("container {}", container.name));
                container
            })))
        },
    );
}
