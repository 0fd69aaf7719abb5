//! `ec2::`: what only EC2 has.

use std::sync::Arc;

use rhai::{Array, Dynamic, ImmutableString, Map};
use serde_json::Value as Json;

use super::{
    Api, Host,
    call::{Answer, Call},
    namespace::Namespace,
    value::{from_json, text_map},
};
use crate::{
    core::diagnostic::{Diagnostic, Kind},
    provider::Volume,
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut ec2 = Namespace::new(api, "ec2", "What only Amazon EC2 has.");
    ec2.function(
        "images() -> array",
        "The images that have a short name, newest of each: `name`, `id`, `architecture`,
         `created`, `image`.",
        |call: &Call| {
            let images = call.inventory.ec2.images();
            Ok(rows(&call.wait(images)?))
        },
    );
    ec2.function(
        "spot_requests() -> array",
        "The requests for spot instances: `id`, `state`, `status`, `price`, `instance`, `created`.",
        |call: &Call| {
            let requests = call.inventory.ec2.spot_requests();
            Ok(rows(&call.wait(requests)?))
        },
    );
    ec2.change(
        "cancel_spot_request(id: string)",
        "Takes a request back. An instance that came of it stays.",
        |call: &Call, id: ImmutableString| {
            let cancel = call.inventory.ec2.cancel_spot_request(&id);
            call.change(|| format!("cancel the spot request {id}"), cancel)
                .map(drop)
        },
    );
    ec2.change(
        "create_volume(name: string, size: int, zone: string) -> map",
        "Creates an encrypted disk of `size` GiB in a zone, which belongs to this project, and waits
         until it exists. The project's disk of that name is left as it is; one of another owner is an
         error. Returns `#{id, name, server}`.",
        |call: &Call, name: ImmutableString, size: i64, zone: ImmutableString| {
            create_volume(call, &name, size, &zone)
        },
    );
    ec2.change(
        "attach_volume(host: Host, name: string) -> map",
        "Attaches a disk to a server of its zone, and waits until it is. Returns `#{id, device}`;
         the device is in EC2's words, the server's kernel may have others.",
        |call: &Call, host: Host, name: ImmutableString| attach_volume(call, &host, &name),
    );
    ec2
}

fn rows(rows: &[Json]) -> Array {
    rows.iter().map(from_json).collect()
}

fn create_volume(call: &Call, name: &str, size: i64, zone: &str) -> Answer<Map> {
    let size = i32::try_from(size)
        .ok()
        .filter(|size| (1..=65_536).contains(size));
    let size = call.check(size.ok_or_else(|| {
        let text = "ec2::create_volume: the size is from 1 to 65536 GiB";
        Diagnostic::new(Kind::Usage, text)
    }))?;
    let create = async {
        let owner = call.context.project.ensure_owner(&call.context.events)?;
        let ec2 = &call.inventory.ec2;
        Ok::<_, Diagnostic>(ec2.create_volume(name, size, zone, &owner).await?)
    };
    let made = call.change(|| format!("make the disk {name}, {size} GiB"), create)?;
    Ok(made.map_or_else(Map::new, |volume| describe(&volume)))
}

fn describe(volume: &Volume) -> Map {
    let mut map = Map::new();
    map.insert("id".into(), volume.id.clone().into());
    map.insert("name".into(), volume.name.clone().into());
    let server = volume.server.clone();
    map.insert("server".into(), server.map_or(Dynamic::UNIT, Into::into));
    map
}

fn attach_volume(call: &Call, host: &Host, name: &str) -> Answer<Map> {
    let ec2 = &call.inventory.ec2;
    if host.0.provider != "ec2" {
        let text = format!("`{}` is no server of EC2", host.0.name);
        return Err(call.fail(Diagnostic::new(Kind::Usage, text)));
    }
    let attach = async {
        let owner = call.context.project.ensure_owner(&call.context.events)?;
        let volume = ec2.find_volume(name, &owner).await?.ok_or_else(|| {
            let text = format!("there is no disk `{name}`");
            Diagnostic::new(Kind::Usage, text).help(format!(
                "make it: `hitc run ec2.create_volume {name} size=20`"
            ))
        })?;
        let device = ec2.attach_volume(&volume, &host.0).await?;
        Ok::<_, Diagnostic>((volume.id, device))
    };
    let attached = call.change(
        || format!("attach the disk {name} to {}", host.0.name),
        attach,
    )?;
    let (id, device) = attached.unwrap_or_default();
    Ok(text_map([("id", id), ("device", device)]))
}
