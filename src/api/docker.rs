//! `docker::`: containers on servers.

use std::{path::Path, sync::Arc};

use rhai::{Array, Dynamic, ImmutableString, Map};

use super::{
    Api, Host,
    call::{Answer, Call},
    namespace::Namespace,
    value::{text_map, to_options},
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        event::Activity,
        owner::Owner,
        value::{Data, Entry, Fields, Value},
    },
    docker::{self, Build, Containers, Context, Engine, Listed, Replacement, Setup, Spec},
    inventory::Inventory,
    provider::Node,
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut docker = Namespace::new(api, "docker", "Containers on servers.");
    docker.change(
        "setup(host: Host) -> string",
        "Makes a Debian or Ubuntu server ready to run containers. Returns `ready`, `started` or
         `installed`.",
        |call: &Call, host: Host| {
            let done = call.change(|| format!("set up Docker on {}", host.0.name), async {
                let activity = call.context.events.start(&host.0.name, "setting up Docker");
                let done = set_up(&call.inventory, &host.0).await?;
                activity.done(format!("Docker is {done}"));
                Ok::<_, Diagnostic>(done)
            })?;
            Ok(done.unwrap_or_default().to_owned())
        },
    );
    docker.function(
        "ps(host: Host) -> array",
        "The running containers, as maps with `name`, `ip`, `ports`, `created` and `image`.",
        |call: &Call, host: Host| {
            let listed = call.wait(async {
                match call.inventory.find_engine(&host.0).await? {
                    Some(engine) => Ok(engine.running().await?),
                    // Nothing runs where there is no engine.
                    None => Ok::<_, Diagnostic>(Vec::new()),
                }
            })?;
            Ok(listed.iter().map(describe).collect::<Array>())
        },
    );
    docker.change(
        "run(host: Host, options: map) -> map",
        "Starts a container and waits until it is ready. The options are those of a manifest's
         container (`image`, `name`, `command`, `environment`, `ports`, `volumes`, …); `replace`
         takes the place of a container of that name. Sets Docker up where it is missing. Returns
         the container's `name` and `ip`.",
        |call: &Call, host: Host, options: Map| run(call, &host, &options),
    );
    docker.change(
        "kill(host: Host, name: string)",
        "Ends a container and removes it.",
        |call: &Call, host: Host, name: ImmutableString| {
            call.change(
                || format!("kill container {name} on {}", host.0.name),
                async {
                    let activity = call
                        .context
                        .events
                        .start(&host.0.name, format!("killing {name}"));
                    let engine = call.inventory.engine(&host.0).await?;
                    let found = engine.find(&name).await?;
                    let found = found.ok_or_else(|| engine.not_found(&name))?;
                    engine.kill(&found.id).await?;
                    activity.done(format!("{name} is gone"));
                    Ok::<_, Diagnostic>(())
                },
            )
            .map(drop)
        },
    );
    docker.change(
        "push(host: Host, image: string)",
        "Sends an image of this machine to a server, without a registry and without the layers
         that the server has.",
        |call: &Call, host: Host, image: ImmutableString| {
            call.change(|| format!("send image {image} to {}", host.0.name), async {
                let activity = call
                    .context
                    .events
                    .start(&host.0.name, format!("sending {image}"));
                let engine = engine(&call.inventory, &host.0, &activity).await?;
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
        "Builds an image on this machine from a folder with a Dockerfile, and returns its name,
         which changes with the folder's content.",
        |call: &Call, folder: ImmutableString| build(call, &folder),
    );
    docker
}

fn describe(listed: &Listed) -> Dynamic {
    let published = listed.ports.iter().map(ToString::to_string);
    let exposed = listed.exposed.iter().map(|(port, _)| port.to_string());
    let ports: Array = published.chain(exposed).map(Dynamic::from).collect();
    let created = jiff::Timestamp::from_second(listed.created).unwrap_or_default();
    let created = created.to_zoned(jiff::tz::TimeZone::system());
    let mut map = text_map([
        ("name", listed.name.clone()),
        ("ip", listed.ip.clone()),
        ("created", created.strftime("%Y-%m-%d %H:%M:%S").to_string()),
        ("image", listed.image.clone()),
    ]);
    map.insert("ports".into(), ports.into());
    Dynamic::from_map(map)
}

async fn set_up(inventory: &Inventory, node: &Node) -> Result<&'static str, Diagnostic> {
    let connection = inventory.connect(node).await?;
    Ok(match docker::set_up(&connection).await? {
        Setup::Ready => "ready",
        Setup::Started => "started",
        Setup::Installed => "installed",
    })
}

/// The engine of a server, which is set up if it is missing.
async fn engine(
    inventory: &Inventory,
    node: &Node,
    activity: &Activity,
) -> Result<Engine, Diagnostic> {
    if let Some(engine) = inventory.find_engine(node).await? {
        return Ok(engine);
    }
    activity.update("setting up Docker");
    set_up(inventory, node).await?;
    inventory.engine(node).await
}

fn run(call: &Call, host: &Host, options: &Map) -> Answer<Map> {
    let (spec, replace) = call.check(decode(&call.inventory, options))?;
    let name = &host.0.name;
    let ip = call.change(
        || {
            format!(
                "run container {} of {} on {name}",
                spec.name,
                spec.image.name()
            )
        },
        async {
            let activity = call
                .context
                .events
                .start(name, format!("starting {}", spec.name));
            let engine = engine(&call.inventory, &host.0, &activity).await?;
            let progress = |text| activity.update(text);
            engine.provide_image(&spec, &progress).await?;
            activity.update(format!("starting {}", spec.name));
            let owner = Owner {
                project: call.context.project.root.display().to_string(),
                manifest: None,
            };
            let replacement = Replacement {
                engine: &engine,
                spec: &spec,
                owner: &owner,
                adopt: None,
            };
            let container = if replace {
                replacement.create_or_replace(&progress).await?
            } else {
                replacement.create(&progress).await?
            };
            activity.done(format!("{} runs", spec.name));
            Ok::<_, Diagnostic>(container.ip)
        },
    )?;
    let ip = ip.map_or(Dynamic::UNIT, Dynamic::from);
    let mut map = text_map([("name", spec.name.clone())]);
    map.insert("ip".into(), ip);
    Ok(map)
}

/// A container's options; without a name it is called like the image.
fn decode(inventory: &Inventory, options: &Map) -> Result<(Spec, bool), Diagnostic> {
    let value = to_options(options);
    let Data::Map(mut entries) = value.data else {
        return Err(Diagnostic::new(
            Kind::Usage,
            "docker.run: options are missing",
        ));
    };
    let mut take = |key: &str| -> Option<Entry> {
        let at = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(at))
    };
    let replace = match take("replace") {
        Some(entry) => entry.value.to_bool("replace")?,
        None => false,
    };
    let name = take("name")
        .map(|entry| entry.value.to_text("name"))
        .transpose()?;
    let body = Value {
        data: Data::Map(entries.clone()),
        span: None,
    };
    // What is misspelt is said here: without an image there is no name either.
    let image = Fields::new(&body, "docker.run")?.require("image")?;
    let name = match name {
        Some(name) => name,
        None => name_of(&image.to_text("image")?),
    };
    if name.len() < 2 {
        let message = format!("name: `{name}` is too short for a container");
        return Err(Diagnostic::new(Kind::Usage, message)
            .help("the Docker Engine wants two characters at least".to_owned()));
    }
    let value = Value {
        data: Data::Map(entries),
        span: None,
    };
    let what = format!("container `{name}`");
    let spec = Spec::decode(&name, &value, &inventory.context.project.root, &what)?;
    Ok((spec, replace))
}

/// `registry/org/app:1.2` → `app`.
fn name_of(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let end = last.find([':', '@']).unwrap_or(last.len());
    last[..end].to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_images() {
        assert_eq!(name_of("nginx"), "nginx");
        assert_eq!(name_of("r:5000/org/app:1.2"), "app");
        assert_eq!(name_of("app@sha256:0"), "app");
    }
}
