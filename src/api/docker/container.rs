//! Containers: list, run, kill, stop, start, restart.

use rhai::{Array, Dynamic, ImmutableString, Map};

use super::{change_container, engine::locked, ensure_engine};
use crate::{
    api::{
        Host,
        call::{Answer, Call},
        namespace::Namespace,
        value::{text_map, to_options},
    },
    core::{
        diagnostic::Diagnostic,
        environment,
        lines::Lines,
        owner::Owner,
        units::duration,
        value::{Fields, Invalid, Value},
    },
    docker::{Action, Listed, Run},
    provider::Address,
    provision::keep_open,
};

pub(super) fn register(docker: &mut Namespace) {
    docker.query(
        "ps(host: Host) -> array",
        "Returns the running containers, as maps with `name`, `state`, `ip`, `ports`, `created` and
         `image`. None run on a server without Docker; an engine that does not answer is an error.",
        |call: &Call, host: Host| ps(call, &host, false),
    );
    docker.query(
        "ps(host: Host, options: map) -> array",
        "Like `ps` without options. With `all: true`, also the containers that do not run.",
        |call: &Call, host: Host, options: Map| {
            let options = to_options(&options);
            let all = call.check(Fields::new(&options, "docker.ps").and_then(|mut fields| {
                let all = fields.decode("all", Value::to_bool)?;
                fields.finish()?;
                Ok(all.unwrap_or(false))
            }))?;
            ps(call, &host, all)
        },
    );
    docker.change(
        "run(host: Host, options: map) -> map",
        "Creates and starts a container and waits until it is ready. The options are those of a
         manifest's container (`image`, or `build` and `name`, `command`, `environment`, `ports`, `volumes`, …).
         `replace: true` replaces a container of that name; `adopt: true` also if it belongs to
         another owner. `manifest` is the manifest that it belongs to, as `ensemble::container` says
         it. `attach: true` shows its output until it ends, and fails if its exit status
         is not 0; Ctrl-C kills it. Sets Docker up if it is not installed. Returns the container's
         `name` and `ip`.",
        |call: &Call, host: Host, options: Map| run(call, &host, &options),
    );
    docker.change(
        "kill(host: Host, name: string)",
        "Kills and removes a container of this project.",
        |call: &Call, host: Host, name: ImmutableString| {
            act(call, &host, &name, Action::Kill { remove: true }, false)
        },
    );
    docker.change(
        "kill(host: Host, name: string, options: map)",
        "Kills a container and removes it, unless `rm` is false. With `adopt: true`, also one that
         belongs to another project or was not created by hitc.",
        |call: &Call, host: Host, name: ImmutableString, options: Map| {
            act_with(call, &host, &name, &options, |fields| {
                let remove = fields.decode("rm", Value::to_bool)?.unwrap_or(true);
                Ok(Action::Kill { remove })
            })
        },
    );
    docker.change(
        "stop(host: Host, name: string, options: map)",
        "Stops a container. It is killed after `timeout` (10s), by default after its own
         `stop_timeout`. The option `adopt` is that of `kill`.",
        |call: &Call, host: Host, name: ImmutableString, options: Map| {
            act_with(call, &host, &name, &options, |fields| {
                Ok(Action::Stop(fields.decode("timeout", duration)?))
            })
        },
    );
    docker.change(
        "start(host: Host, name: string, options: map)",
        "Starts a container that does not run. The option `adopt` is that of `kill`.",
        |call: &Call, host: Host, name: ImmutableString, options: Map| {
            act_with(call, &host, &name, &options, |_| Ok(Action::Start))
        },
    );
    docker.change(
        "restart(host: Host, name: string, options: map)",
        "Stops and starts a container. The options are those of `stop`.",
        |call: &Call, host: Host, name: ImmutableString, options: Map| {
            act_with(call, &host, &name, &options, |fields| {
                Ok(Action::Restart(fields.decode("timeout", duration)?))
            })
        },
    );
}

fn ps(call: &Call, host: &Host, all: bool) -> Answer<Array> {
    let listed = call.wait(call.inventory.containers(&host.0, all))?;
    Ok(listed.iter().map(describe).collect())
}

fn describe(listed: &Listed) -> Dynamic {
    let published = listed.ports.iter().map(ToString::to_string);
    let exposed = listed.exposed.iter().map(|(port, _)| port.to_string());
    let ports: Array = published.chain(exposed).map(Dynamic::from).collect();
    let created = jiff::Timestamp::from_second(listed.created).unwrap_or_default();
    let created = created.to_zoned(jiff::tz::TimeZone::system());
    let mut map = text_map([
        ("name", listed.name.clone()),
        ("state", listed.state.clone()),
        ("ip", listed.ip.map(|ip| ip.to_string()).unwrap_or_default()),
        ("created", created.strftime("%Y-%m-%d %H:%M:%S").to_string()),
        ("image", listed.image.clone()),
    ]);
    map.insert("ports".into(), ports.into());
    Dynamic::from_map(map)
}

fn run(call: &Call, host: &Host, options: &Map) -> Answer<Map> {
    let folder = &call.context.project.root;
    let internal_ip = host.0.internal_ip.as_ref().and_then(Address::ip);
    let run = call.check(Run::decode(to_options(options), folder, internal_ip))?;
    for (name, value) in run.spec.masked_environment() {
        if environment::may_be_secret(name, value) {
            call.context.events.hide(value);
        }
    }
    let (name, image) = (&run.spec.name, run.spec.image.name());
    let container = call.change(
        || format!("run container {name} of {image} on {}", host.0.name),
        async {
            let activity = call
                .context
                .events
                .start(&host.0.name, format!("starting {name}"));
            let progress = |text| activity.update(text);
            let (project, events) = (&call.context.project, &call.context.events);
            let owner = match &run.manifest {
                Some(manifest) => Owner {
                    project: project.ensure_manifest_id(events)?.to_string(),
                    manifest: Some(manifest.clone()),
                },
                None => project.ensure_owner(events)?,
            };
            let node = &host.0;
            // Without the lock: an image may take longer than others wait.
            let engine = ensure_engine(&call.inventory, node, &activity).await?;
            run.provide_image(&engine, &owner, &progress).await?;
            if run.attach {
                let mut lines = Lines::new(&call.context.events, Some(&node.name));
                let on_output = |stream, bytes: &[u8]| lines.push(stream, bytes);
                // The lock ends when the container runs: it may run for hours.
                let attached = locked(call, node, async {
                    let terminations = call.inventory.terminations();
                    let attached = run.attach(&engine, &owner, &progress, terminations);
                    Ok(attached.await?)
                });
                attached.await?.wait(on_output).await?;
                activity.done(format!("{name} ended"));
                return Ok::<_, Diagnostic>(None);
            }
            let container = locked(call, node, async {
                let container = run.execute(&engine, &owner, &progress).await?;
                keep_open(&call.inventory, node).await?;
                Ok(container)
            })
            .await?;
            activity.done(format!("{name} runs"));
            Ok(Some(container))
        },
    )?;
    let ip = container.flatten().and_then(|container| container.ip);
    let mut map = text_map([("name", name.clone())]);
    let ip = ip.map_or(Dynamic::UNIT, |ip| ip.to_string().into());
    map.insert("ip".into(), ip);
    Ok(map)
}

/// Does something with a container, as the options say.
fn act_with(
    call: &Call,
    host: &Host,
    name: &str,
    options: &Map,
    decode: impl FnOnce(&mut Fields) -> Result<Action, Invalid>,
) -> Answer<()> {
    let options = to_options(options);
    let what = format!("docker.{}", call.script.fn_name());
    let decoded = Fields::new(&options, &what).and_then(|mut fields| {
        let action = decode(&mut fields)?;
        let adopt = fields.decode("adopt", Value::to_bool)?.unwrap_or(false);
        fields.finish()?;
        Ok((action, adopt))
    });
    let (action, adopt) = call.check(decoded)?;
    act(call, host, name, action, adopt)
}

fn act(call: &Call, host: &Host, name: &str, action: Action, adopt: bool) -> Answer<()> {
    let change = |engine, owner| async move { action.apply(&engine, name, &owner, adopt).await };
    change_container(call, host, name, action.verbs(), change)
}
