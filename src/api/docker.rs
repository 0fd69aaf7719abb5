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
        value::{Fields, Value},
    },
    docker::{self, Build, Context, Engine, EngineStatus, Listed, Run, Setup},
    inventory::Inventory,
    provider::Node,
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut docker = Namespace::new(api, "docker", "Containers on servers.");
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
    docker.function(
        "ps(host: Host) -> array",
        "Returns the running containers, as maps with `name`, `ip`, `ports`, `created` and
         `image`. None run on a server without Docker; an engine that does not answer is an error.",
        |call: &Call, host: Host| {
            let listed = call.wait(async {
                match call.inventory.engine_status(&host.0).await? {
                    EngineStatus::Absent { host, cause } => {
                        call.context.events.note(format!("host `{host}`: {cause}"));
                        Ok::<_, Diagnostic>(Vec::new())
                    }
                    status => Ok(status.running()?.running().await?),
                }
            })?;
            Ok(listed.iter().map(describe).collect::<Array>())
        },
    );
    docker.change(
        "run(host: Host, options: map) -> map",
        "Creates and starts a container and waits until it is ready. The options are those of a
         manifest's container (`image`, `name`, `command`, `environment`, `ports`, `volumes`, …).
         `replace: true` replaces a container of that name; `adopt: true` also if it belongs to
         another owner. Sets Docker up if it is not installed. Returns the container's `name` and
         `ip`.",
        |call: &Call, host: Host, options: Map| run(call, &host, &options),
    );
    docker.change(
        "kill(host: Host, name: string)",
        "Kills and removes a container of this project.",
        |call: &Call, host: Host, name: ImmutableString| kill(call, &host, &name, false),
    );
    docker.change(
        "kill(host: Host, name: string, options: map)",
        "Kills and removes a container. With `adopt: true`, also one that belongs to another
         project or was not created by hitc.",
        |call: &Call, host: Host, name: ImmutableString, options: Map| {
            let options = to_options(&options);
            let adopt =
                call.check(Fields::new(&options, "docker.kill").and_then(|mut fields| {
                    let adopt = fields.decode("adopt", Value::to_bool)?;
                    fields.finish()?;
                    Ok(adopt.unwrap_or(false))
                }))?;
            kill(call, &host, &name, adopt)
        },
    );
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
        "Builds an image on the local machine from a folder with a Dockerfile, and returns its
         name. The name changes with the folder's content.",
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
        ("ip", listed.ip.map(|ip| ip.to_string()).unwrap_or_default()),
        ("created", created.strftime("%Y-%m-%d %H:%M:%S").to_string()),
        ("image", listed.image.clone()),
    ]);
    map.insert("ports".into(), ports.into());
    Dynamic::from_map(map)
}

/// The engine of a server. Docker is set up if it is not installed.
async fn engine(
    inventory: &Inventory,
    node: &Node,
    activity: &Activity,
) -> Result<Engine, Diagnostic> {
    let status = inventory.engine_status(node).await?;
    let machine = inventory.machine(node).await?;
    let progress = |text| activity.update(text);
    Ok(docker::ensure_engine(status, &machine, &progress).await?)
}

fn run(call: &Call, host: &Host, options: &Map) -> Answer<Map> {
    let run = call.check(Run::decode(to_options(options), &call.context.project.root))?;
    let (name, image) = (&run.spec.name, run.spec.image.name());
    let container = call.change(
        || format!("run container {name} of {image} on {}", host.0.name),
        async {
            let activity = call
                .context
                .events
                .start(&host.0.name, format!("starting {name}"));
            let engine = engine(&call.inventory, &host.0, &activity).await?;
            let progress = |text| activity.update(text);
            let owner = call.context.project.ensure_owner(&call.context.events)?;
            let container = run.execute(&engine, &owner, &progress).await?;
            activity.done(format!("{name} runs"));
            Ok::<_, Diagnostic>(container)
        },
    )?;
    let ip = container.and_then(|container| container.ip);
    let mut map = text_map([("name", name.clone())]);
    let ip = ip.map_or(Dynamic::UNIT, |ip| ip.to_string().into());
    map.insert("ip".into(), ip);
    Ok(map)
}

fn kill(call: &Call, host: &Host, name: &str, adopt: bool) -> Answer<()> {
    let what = || format!("kill container {name} on {}", host.0.name);
    let killed = call.change(what, async {
        let activity = call
            .context
            .events
            .start(&host.0.name, format!("killing {name}"));
        let engine = call.inventory.engine(&host.0).await?;
        let owner = Owner {
            // Without an id, nothing that exists can belong to the project.
            project: call
                .context
                .project
                .id()?
                .map(|id| id.to_string())
                .unwrap_or_default(),
            manifest: None,
        };
        docker::kill(&engine, name, &owner, adopt).await?;
        activity.done(format!("{name} is removed"));
        Ok::<_, Diagnostic>(())
    });
    killed.map(drop)
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
