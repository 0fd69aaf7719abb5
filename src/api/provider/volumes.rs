//! Volumes of all providers.

use rhai::{Array, Dynamic, ImmutableString, Map};

use crate::{
    api::{
        Host,
        call::{Answer, Call},
        namespace::Namespace,
    },
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        owner::Owner,
    },
    project::ProjectId,
    provider::{self, CreateVolume, Node, Volume},
    provision::{
        attach_volume, create_volume, delete_volume, detach_volume, find_volume, grow_volume,
    },
};

/// Adds the functions to the namespace.
pub(super) fn add(provider: &mut Namespace) {
    provider.query(
        "volumes() -> array",
        "Returns the volumes of all owners, of all providers, as maps with `provider`, `name`, `id`,
         `size` (in GiB), `region`, `server` (the name of the server that it is attached to, or
         `()`), `host` (that server if it belongs to this project, else `()`), `server_state` (as of
         `nodes`), `devices` (the paths of the device on the server, of which its kernel shows one),
         `owner`, and `own`: whether it belongs to this project.",
        volumes,
    );
    provider.query(
        "volume(provider: string, name: string) -> value",
        "Returns the volume of this name that belongs to this project, as `volumes` does, or `()` if
         there is none. Searches all providers if `provider` is empty; several of the name are an
         error then. Fails if the name is in use by another project only, or if a provider does not
         answer.",
        |call: &Call, provider: ImmutableString, name: ImmutableString| {
            volume(call, &provider, &name)
        },
    );
    provider.change(
        "create_volume(host: Host, name: string, size: int) -> map",
        "Creates a volume of `size` GiB in the region or zone of a server, at its provider, and waits until
         it can be attached. It is empty, and belongs to this project. Returns it as `volumes` does.
         An existing volume of that name is returned as it is; it must be in the same place, and not
         smaller.",
        |call: &Call, host: Host, name: ImmutableString, size: i64| create(call, &host, &name, size),
    );
    provider.change(
        "attach_volume(host: Host, name: string) -> map",
        "Attaches a volume to a server in its place, and waits until it is attached. Returns it as
         `volumes` does. Does nothing if it is attached to this server. Fails if it is attached to
         another one.",
        |call: &Call, host: Host, name: ImmutableString| attach(call, &host, &name),
    );
    provider.change(
        "detach_volume(provider: string, name: string)",
        "Detaches a volume from its server, and waits until that is done. Unmount it before. Does
         nothing if it is not attached.",
        |call: &Call, provider: ImmutableString, name: ImmutableString| {
            change(
                call,
                &provider,
                || format!("detach volume {name}"),
                async |place, owner| detach_volume(place, &name, owner).await,
            )
        },
    );
    provider.change(
        "grow_volume(provider: string, name: string, size: int)",
        "Makes a volume larger, to `size` GiB. The file system keeps its size. Does nothing if the
         volume has this size. A smaller size is an error.",
        |call: &Call, provider: ImmutableString, name: ImmutableString, size: i64| {
            let size = gib(call, size)?;
            change(
                call,
                &provider,
                || format!("grow volume {name} to {size} GiB"),
                async |place, owner| grow_volume(place, &name, size, owner).await,
            )
        },
    );
    provider.change(
        "delete_volume(provider: string, name: string)",
        "Deletes a volume, with all data on it. Fails if it is attached. Does nothing if it does not
         exist.",
        |call: &Call, provider: ImmutableString, name: ImmutableString| {
            change(
                call,
                &provider,
                || format!("delete volume {name}"),
                async |place, owner| delete_volume(place, &name, owner).await,
            )
        },
    );
}

fn volumes(call: &Call) -> Answer<Array> {
    let listed = async {
        let volumes = call.inventory.volumes().await;
        let nodes = nodes_of(call, &volumes).await;
        Ok::<_, Diagnostic>((volumes, nodes))
    };
    let (volumes, nodes) = call.wait(listed)?;
    let project = call.check(call.context.project.id())?;
    let project = project.as_ref().map(ProjectId::as_str);
    let maps = volumes
        .iter()
        .map(|volume| describe(volume, &nodes, project));
    Ok(maps.map(Dynamic::from_map).collect())
}

/// The servers, if one of the volumes is attached.
async fn nodes_of(call: &Call<'_>, volumes: &[Volume]) -> Vec<Node> {
    if volumes.iter().any(|volume| volume.server.is_some()) {
        call.inventory.nodes().await
    } else {
        Vec::new()
    }
}

fn volume(call: &Call, provider: &str, name: &str) -> Answer<Dynamic> {
    let project = call.check(call.context.project.id())?;
    // A project without an id owns nothing: then the id is none that a volume could have.
    let project = project.as_ref().map_or("", ProjectId::as_str);
    let owner = Owner {
        project: project.to_owned(),
        manifest: None,
    };
    let search = async {
        let inventory = &call.inventory;
        let found = if provider.is_empty() {
            let (mut found, mut errors, mut is_known) = (Vec::new(), Vec::new(), true);
            for provider in inventory.providers.iter() {
                match find_volume(provider.as_ref(), name, &owner).await {
                    Ok(volume) => found.extend(volume),
                    Err(
                        provider::Error::NotConfigured { .. } | provider::Error::Unsupported { .. },
                    ) => {}
                    Err(error) => {
                        is_known &= matches!(error, provider::Error::Invalid(_));
                        errors.push(Diagnostic::from(error));
                    }
                }
            }
            // One of another owner elsewhere does not matter; a provider that does not answer may have one.
            if !errors.is_empty() && (found.is_empty() || !is_known) {
                return Err(Failure(errors));
            }
            if let [first, second, ..] = &found[..] {
                let (first, second) = (&first.provider, &second.provider);
                let text = format!("volume `{name}` exists at {first} and at {second}");
                let help = format!("choose one with `provider={first}`");
                return Err(Diagnostic::new(Kind::Usage, text).help(help).into());
            }
            found.pop()
        } else {
            let provider = inventory.providers.get(provider);
            let provider = provider.map_err(Diagnostic::from)?;
            let found = find_volume(provider.as_ref(), name, &owner).await;
            found.map_err(Diagnostic::from)?
        };
        let nodes = nodes_of(call, found.as_slice()).await;
        Ok::<_, Failure>((found, nodes))
    };
    let (found, nodes) = call.try_wait(search)?;
    Ok(found.map_or(Dynamic::UNIT, |volume| {
        describe(&volume, &nodes, Some(project)).into()
    }))
}

/// Describes a volume for scripts.
fn describe(volume: &Volume, nodes: &[Node], project: Option<&str>) -> Map {
    let is_holder =
        |node: &&Node| volume.provider == node.provider && volume.server.as_ref() == Some(&node.id);
    let node = nodes.iter().find(is_holder);
    let server = node.map(|node| node.name.clone());
    let server = server.or_else(|| volume.server.clone());
    let devices: Array = volume.devices.iter().cloned().map(Into::into).collect();
    Map::from_iter([
        ("provider".into(), volume.provider.clone().into()),
        ("name".into(), volume.name.clone().into()),
        ("id".into(), volume.id.clone().into()),
        ("size".into(), i64::from(volume.size).into()),
        ("region".into(), volume.region.clone().into()),
        ("server".into(), server.map_or(Dynamic::UNIT, Dynamic::from)),
        (
            "host".into(),
            node.filter(|node| node.is_of_project(project))
                .map_or(Dynamic::UNIT, |node| {
                    Dynamic::from(Host::from(node.clone()))
                }),
        ),
        (
            "server_state".into(),
            node.map_or(Dynamic::UNIT, |node| node.state.to_string().into()),
        ),
        ("devices".into(), devices.into()),
        ("owner".into(), volume.owner.to_string().into()),
        ("own".into(), volume.is_of_project(project).into()),
    ])
}

/// Describes a volume that a dry run would create or attach.
fn planned(host: &Host, name: &str) -> Map {
    Map::from_iter([
        ("provider".into(), host.0.provider.clone().into()),
        ("name".into(), name.to_owned().into()),
        ("region".into(), host.0.region.clone().into()),
        ("devices".into(), Array::new().into()),
        ("own".into(), true.into()),
    ])
}

fn create(call: &Call, host: &Host, name: &str, size: i64) -> Answer<Map> {
    let size = gib(call, size)?;
    let place = call.check(call.inventory.providers.of(&host.0))?;
    let creating = async {
        let owner = call.context.project.ensure_owner(&call.context.events)?;
        let activity = call.context.events.start(name, "creating volume");
        let create = CreateVolume {
            name: name.to_owned(),
            size,
            node: host.0.as_ref().clone(),
            owner: owner.clone(),
        };
        let volume = create_volume(place.as_ref(), &create).await?;
        activity.done("volume exists");
        let nodes = nodes_of(call, std::slice::from_ref(&volume)).await;
        Ok::<_, Diagnostic>(describe(&volume, &nodes, Some(&owner.project)))
    };
    let created = call.change(|| format!("create volume {name} of {size} GiB"), creating)?;
    Ok(created.unwrap_or_else(|| planned(host, name)))
}

fn attach(call: &Call, host: &Host, name: &str) -> Answer<Map> {
    let place = call.check(call.inventory.providers.of(&host.0))?;
    let attaching = async {
        let owner = call.context.project.ensure_owner(&call.context.events)?;
        let activity = call.context.events.start(name, "attaching volume");
        let volume = attach_volume(place.as_ref(), &host.0, name, &owner).await?;
        activity.done("volume attached");
        let nodes = std::slice::from_ref(host.0.as_ref());
        Ok::<_, Diagnostic>(describe(&volume, nodes, Some(&owner.project)))
    };
    let what = || format!("attach volume {name} to {}", host.0.name);
    let attached = call.change(what, attaching)?;
    Ok(attached.unwrap_or_else(|| planned(host, name)))
}

/// Changes a volume of a provider.
fn change(
    call: &Call,
    provider: &str,
    what: impl Fn() -> String,
    action: impl AsyncFnOnce(&dyn provider::Provider, &Owner) -> Result<(), provider::Error>,
) -> Answer<()> {
    let place = call.check(call.inventory.providers.get(provider))?;
    let changing = async {
        let owner = call.context.project.ensure_owner(&call.context.events)?;
        let activity = call.context.events.start(place.name(), what());
        action(place.as_ref(), &owner).await?;
        activity.done(format!("{}: done", what()));
        Ok::<_, Diagnostic>(())
    };
    call.change(&what, changing).map(drop)
}

/// A size in GiB.
fn gib(call: &Call, size: i64) -> Answer<u32> {
    let gib = u32::try_from(size).ok().filter(|gib| *gib > 0);
    gib.ok_or_else(|| {
        let text = format!("invalid size of a volume: {size} GiB");
        call.fail(Diagnostic::new(Kind::Usage, text))
    })
}
