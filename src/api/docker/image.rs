//! Images: build and push.

use std::path::Path;

use rhai::ImmutableString;

use super::ensure_engine;
use crate::{
    api::{
        Host,
        call::{Answer, Call},
        namespace::Namespace,
    },
    core::diagnostic::{Diagnostic, Kind},
    docker::{self, Build, Context, Engine},
};

pub(super) fn register(docker: &mut Namespace) {
    docker.change(
        "push(host: Host, image: string)",
        "Sends an image of the local machine to a server, without a registry and without the
         layers that the server has.",
        |call: &Call, host: Host, image: ImmutableString| {
            call.change(|| format!("send image {image} to {}", host.0.name), async {
                let activity = call
                    .context
                    .events
                    .start(&host.0.name, format!("sending {image}"));
                let engine = ensure_engine(&call.inventory, &host.0, &activity).await?;
                let here = Engine::here().await?;
                let progress = |text| activity.update(text);
                here.push(&image, &engine, &progress).await?;
                activity.done(format!("has {image}"));
                Ok::<_, Diagnostic>(())
            })
            .map(drop)
        },
    );
    docker.change(
        "build(folder: string) -> string",
        "Builds an image on the local machine from a folder with a Dockerfile, and returns its
         name. The name changes with the folder's content.",
        |call: &Call, folder: ImmutableString| build(call, &folder),
    );
}

fn build(call: &Call, folder: &str) -> Answer<String> {
    let folder = call.context.project.root.join(Path::new(folder));
    let context = Context::read(&folder)
        .map_err(|error| Diagnostic::new(Kind::Usage, format!("docker::build: {error}")));
    let name = call.check(context)?.image_name();
    let build = Build {
        folder,
        name: name.clone(),
    };
    call.change(|| format!("build image {name}"), async {
        let activity = call
            .context
            .events
            .start("this machine", format!("building {name}"));
        let progress = |text| activity.update(text);
        Engine::here().await?.build(&build, &progress).await?;
        activity.done(format!("has {name}"));
        Ok::<_, docker::Error>(())
    })?;
    Ok(name)
}
