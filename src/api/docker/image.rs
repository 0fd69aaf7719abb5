//! Images: list, pull, build and push.

use std::path::Path;

use rhai::{Array, Dynamic, ImmutableString, Map};

use super::ensure_engine;
use crate::{
    api::{
        Host,
        call::{Answer, Call},
        local_file::require,
        namespace::Namespace,
        secret::{create, text_of},
        value::{text_map, to_options},
    },
    core::{
        diagnostic::{Diagnostic, Kind},
        value::{Fields, Value},
    },
    docker::{Build, Context, Engine, EngineStatus, ListedImage, Platform, Secrets},
};

pub(super) fn register(docker: &mut Namespace) {
    docker.query(
        "images(host: Host) -> array",
        "Returns the images of a server, as maps with `name`, `tag`, `id` (the first digits),
         `size` and `created`. There are none on a server without Docker; an engine that does not
         answer is an error.",
        |call: &Call, host: Host| {
            let listed = call.wait(async {
                match call.inventory.engine_status(&host.0).await? {
                    EngineStatus::Absent { host, cause } => {
                        call.context.events.note(format!("host `{host}`: {cause}"));
                        Ok::<_, Diagnostic>(Vec::new())
                    }
                    status => Ok(status.running()?.list_images().await?),
                }
            })?;
            Ok(listed.iter().map(describe).collect::<Array>())
        },
    );
    docker.change(
        "pull(host: Host, image: string)",
        "Pulls an image on a server from its registry, with the credentials of this machine.",
        |call: &Call, host: Host, image: ImmutableString| {
            call.change(|| format!("pull image {image} on {}", host.0.name), async {
                let activity = call.context.events.start(&host.0.name, "connecting");
                let engine = ensure_engine(&call.inventory, &host.0, &activity).await?;
                let progress = |text| activity.update(text);
                engine.pull(&image, &progress).await?;
                activity.done(format!("has {image}"));
                Ok::<_, Diagnostic>(())
            })
            .map(drop)
        },
    );
    docker.change(
        "push(host: Host, image: string)",
        "Sends an image of the local machine to a server, without a registry and without the
         layers that the server has. An image for another platform than the server's is an error.",
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
        |call: &Call, folder: ImmutableString| build(call, &folder, None, Secrets::default()),
    );
    docker.change(
        "build(folder: string, options: map) -> string",
        "Builds an image with options. `platform`: another platform than this machine's
         (`\"linux/arm64\"`), with which the name ends. `secrets`: a map of secrets, by the ids of
         `RUN --mount=type=secret,id=ID` in the Dockerfile. They are neither in the image nor in its
         name, so that a new value alone does not build again.",
        |call: &Call, folder: ImmutableString, mut options: Map| {
            let secrets = options.remove("secrets").map(|given| secrets(call, given));
            let secrets = call.check(secrets.transpose())?.unwrap_or_default();
            let options = to_options(&options);
            let fields = Fields::new(&options, "docker.build");
            let platform = call.check(fields.and_then(|mut fields| {
                let platform = fields.decode("platform", Value::to_text)?;
                fields.finish()?;
                Ok(platform)
            }))?;
            build(call, &folder, platform.as_deref(), secrets)
        },
    );
}

fn describe(listed: &ListedImage) -> Dynamic {
    let none = || "<none>".to_owned();
    let id = listed.id.trim_start_matches("sha256:");
    let created = jiff::Timestamp::from_second(listed.created).unwrap_or_default();
    let created = created.to_zoned(jiff::tz::TimeZone::system());
    let size = listed.size.div_ceil(1_000_000);
    Dynamic::from_map(text_map([
        ("name", listed.name.clone().unwrap_or_else(none)),
        ("tag", listed.tag.clone().unwrap_or_else(none)),
        ("id", id.get(..12).unwrap_or(id).to_owned()),
        ("size", format!("{size} MB")),
        ("created", created.strftime("%Y-%m-%d %H:%M:%S").to_string()),
    ]))
}

/// The secrets of a build, which are masked in its output.
fn secrets(call: &Call, given: Dynamic) -> Result<Secrets, Diagnostic> {
    let invalid = |text: String| Diagnostic::new(Kind::Usage, format!("docker::build: {text}"));
    let given = given.try_cast::<Map>();
    let given = given.ok_or_else(|| invalid("secrets: a map is needed".to_owned()))?;
    let secret = |(id, value): (rhai::Identifier, Dynamic)| {
        let text = text_of(&value).or_else(|| value.into_string().ok());
        let text = text.ok_or_else(|| {
            let text = format!("secrets: `{id}` is neither a secret nor a text");
            invalid(text).help("read it with `secret::env` or `secret::file`".to_owned())
        })?;
        create(call, &text);
        Ok((id.to_string(), text.into()))
    };
    given
        .into_iter()
        .map(secret)
        .collect::<Result<_, _>>()
        .map(Secrets)
}

fn build(call: &Call, path: &str, platform: Option<&str>, secrets: Secrets) -> Answer<String> {
    let folder = call.context.project.root.join(Path::new(path));
    if call.mock().is_some() {
        require(call, path, &folder)?;
    }
    if call.mock().is_some() && !folder.exists() {
        // The test made it.
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("hitc/{name}:test");
        call.would(|| format!("build image {name}"));
        return Ok(name);
    }
    let context = Context::read(&folder)
        .map_err(|error| Diagnostic::new(Kind::Usage, format!("docker::build: {error}")));
    let name = call.check(context)?.image_name();
    let platform = platform.map(|text| {
        let help = "write OS/ARCHITECTURE, such as linux/arm64".to_owned();
        let message = format!("docker::build: invalid platform `{text}`");
        let invalid = || Diagnostic::new(Kind::Usage, message).help(help);
        Platform::parse(text).ok_or_else(invalid)
    });
    let platform = call.check(platform.transpose())?;
    let built = call.change(|| format!("build image {name}"), async {
        let activity = call
            .context
            .events
            .start("this machine", format!("building {name}"));
        let progress = |text| activity.update(text);
        let here = Engine::here().await?;
        let here = here.with_registries(call.inventory.registries());
        let own = here.platform().await?;
        let platform = platform.as_ref().unwrap_or(&own);
        let owner = call.context.project.ensure_owner(&call.context.events)?;
        let build = Build {
            secrets,
            project: Some(owner.project),
            ..Build::on(folder.clone(), &name, platform, &own)
        };
        here.build(&build, &progress).await?;
        activity.done(format!("has {}", build.name));
        Ok::<_, Diagnostic>(build.name)
    })?;
    Ok(built.unwrap_or(name))
}
