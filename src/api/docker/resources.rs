//! Networks, volumes, and what nothing uses.

use rhai::{Array, Dynamic, Map};

use super::{engine::locked, project_owner};
use crate::{
    api::{
        Host,
        call::{Answer, Call},
        namespace::Namespace,
        value::{text_map, to_options},
    },
    core::{
        diagnostic::{Diagnostic, Kind},
        owner::Ownership,
        units::human_bytes,
        value::{Fields, Value},
    },
    docker::{self, Unused, UnusedKind},
};

pub(super) fn register(docker: &mut Namespace) {
    docker.query(
        "networks(host: Host) -> array",
        "Returns the networks, as maps with `name`, `driver`, `subnets` and `owner`.",
        |call: &Call, host: Host| {
            let (found, project) = call.wait(async {
                let networks = match call.inventory.find_engine(&host.0).await? {
                    Some(engine) => engine.networks().await?,
                    None => Vec::new(),
                };
                Ok::<_, Diagnostic>((networks, project_owner(call)?.project))
            })?;
            let describe = |network: &docker::Network| {
                let mut map = text_map([
                    ("name", network.name.clone()),
                    ("driver", network.driver.clone()),
                    ("owner", owner(&network.owner, &project)),
                ]);
                let subnets = network.subnets.iter().cloned().map(Dynamic::from);
                map.insert("subnets".into(), subnets.collect::<Array>().into());
                Dynamic::from_map(map)
            };
            Ok(found.iter().map(describe).collect::<Array>())
        },
    );
    docker.query(
        "volumes(host: Host) -> array",
        "Returns the volumes, as maps with `name`, `driver`, `folder` and `owner`.",
        |call: &Call, host: Host| {
            let (found, project) = call.wait(async {
                let volumes = match call.inventory.find_engine(&host.0).await? {
                    Some(engine) => engine.volumes().await?,
                    None => Vec::new(),
                };
                Ok::<_, Diagnostic>((volumes, project_owner(call)?.project))
            })?;
            let describe = |volume: &docker::NamedVolume| {
                Dynamic::from_map(text_map([
                    ("name", volume.name.clone()),
                    ("driver", volume.driver.clone()),
                    ("folder", volume.folder.clone()),
                    ("owner", owner(&volume.owner, &project)),
                ]))
            };
            Ok(found.iter().map(describe).collect::<Array>())
        },
    );
    docker.query(
        "unused(host: Host, options: map) -> array",
        "Returns the containers of this project that do not run, and its networks, volumes and images
         that no container uses, as maps with `kind`, `name`, `id`, `size` and `bytes`. With
         `all: true`, also those of other owners.",
        |call: &Call, host: Host, options: Map| {
            let options = to_options(&options);
            let all = call.check(Fields::new(&options, "docker.unused").and_then(|mut fields| {
                let all = fields.decode("all", Value::to_bool)?;
                fields.finish()?;
                Ok(all.unwrap_or(false))
            }))?;
            let found = call.wait(async {
                match call.inventory.find_engine(&host.0).await? {
                    Some(engine) => Ok::<_, Diagnostic>(
                        engine.unused(&project_owner(call)?, all).await?,
                    ),
                    None => Ok(Vec::new()),
                }
            })?;
            Ok(found.iter().map(describe).collect::<Array>())
        },
    );
    docker.change(
        "prune(host: Host, unused: array)",
        "Removes what `unused` returned. What is used by now is an error.",
        |call: &Call, host: Host, unused: Array| prune(call, &host, &unused),
    );
}

/// The owner in a table.
fn owner(owner: &Ownership, project: &str) -> String {
    match owner {
        Ownership::Owner(owner) if owner.project == project => match &owner.manifest {
            Some(manifest) => format!("manifest {manifest}"),
            None => "this project".to_owned(),
        },
        Ownership::Owner(owner) => owner.to_string(),
        Ownership::Legacy(_) => "an older hitc".to_owned(),
        Ownership::Copied(_) | Ownership::Foreign => String::new(),
    }
}

fn describe(unused: &Unused) -> Dynamic {
    let size = unused.bytes.map(human_bytes).unwrap_or_default();
    let mut map = text_map([
        ("kind", unused.kind.to_string()),
        ("name", unused.name.clone()),
        ("id", unused.id.clone()),
        ("size", size),
    ]);
    let bytes = i64::try_from(unused.bytes.unwrap_or_default()).unwrap_or(i64::MAX);
    map.insert("bytes".into(), bytes.into());
    Dynamic::from_map(map)
}

fn parse(value: &Dynamic) -> Option<Unused> {
    let map = value.read_lock::<Map>()?;
    let text = |key: &str| Some(map.get(key)?.to_string());
    Some(Unused {
        kind: UnusedKind::parse(&text("kind")?)?,
        id: text("id")?,
        name: text("name")?,
        bytes: None,
    })
}

fn prune(call: &Call, host: &Host, unused: &[Dynamic]) -> Answer<()> {
    let unused: Option<Vec<Unused>> = unused.iter().map(parse).collect();
    let unused = unused.ok_or_else(|| {
        let text = "docker::prune: expected what docker::unused returned";
        call.fail(Diagnostic::new(Kind::Usage, text))
    })?;
    let server = &host.0.name;
    for one in &unused {
        let what = || format!("remove {} {} on {server}", one.kind, one.name);
        call.change(
            what,
            locked(call, &host.0, async {
                let engine = call.inventory.engine(&host.0).await?;
                engine.remove_unused(one).await?;
                Ok(())
            }),
        )?;
    }
    Ok(())
}
