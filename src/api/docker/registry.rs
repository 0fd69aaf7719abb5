//! Registries: the credentials for them.

use rhai::ImmutableString;

use crate::{
    api::{Host, call::Call, namespace::Namespace, secret::Secret},
    core::diagnostic::Diagnostic,
};

pub(super) fn register(docker: &mut Namespace) {
    docker.change(
        "login(registry: string, user: string, password: Secret)",
        "Checks credentials against a registry, and stores them in this machine's Docker
         configuration: with the credential helper if one is configured, else in its file.
         `docker.io` is Docker Hub.",
        |call: &Call, registry: ImmutableString, user: ImmutableString, password: Secret| {
            call.change(|| format!("log in to {registry} as {user}"), async {
                let activity = call.context.events.start(registry.as_str(), "logging in");
                let registries = call.inventory.registries();
                registries.log_in(&registry, &user, &password.0.0).await?;
                activity.done(format!("logged in as {user}"));
                Ok::<_, Diagnostic>(())
            })
            .map(drop)
        },
    );
    docker.change(
        "store_login(host: Host, registry: string)",
        "Stores this machine's credentials for a registry on a server, in the Docker configuration
         of root. Commands and programs there can use them, and root can read them.",
        |call: &Call, host: Host, registry: ImmutableString| {
            let server = &host.0.name;
            let what = || format!("store the login for {registry} on {server}");
            call.change(what, async {
                let activity = call.context.events.start(server, "storing the login");
                let machine = call.inventory.machine(&host.0).await?;
                let registries = call.inventory.registries();
                registries.store_on(&machine, &registry).await?;
                activity.done(format!("has the login for {registry}"));
                Ok::<_, Diagnostic>(())
            })
            .map(drop)
        },
    );
}
