//! `ec2::`: functions that only Amazon EC2 has.

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
    let mut ec2 = Namespace::new(api, "ec2", "Functions that only Amazon EC2 has.");
    ec2.function(
        "images() -> array",
        "Returns the newest image for each short name, as maps with `name`, `id`, `architecture`,
         `created` and `image`.",
        |call: &Call| {
            let images = call.inventory.ec2.images();
            Ok(rows(&call.wait(images)?))
        },
    );
    ec2.function(
        "spot_requests() -> array",
        "Returns the requests for spot instances, as maps with `id`, `state`, `status`, `price`,
         `instance` and `created`.",
        |call: &Call| {
            let requests = call.inventory.ec2.spot_requests();
            Ok(rows(&call.wait(requests)?))
        },
    );
    ec2.change(
        "cancel_spot_request(id: string)",
        "Cancels a request for a spot instance. An instance that it has started keeps running.",
        |call: &Call, id: ImmutableString| {
            let cancel = call.inventory.ec2.cancel_spot_request(&id);
            call.change(|| format!("cancel the spot request {id}"), cancel)
                .map(drop)
        },
    );
    ec2.change(
        "create_volume(name: string, size: int, zone: string) -> map",
        "Creates an encrypted volume of `size` GiB in a zone, which belongs to this project, and
         waits until it is available. Does nothing if the project has a volume of that name; one of
         another owner is an error. Returns `#{id, name, server}`.",
        |call: &Call, name: ImmutableString, size: i64, zone: ImmutableString| {
            create_volume(call, &name, size, &zone)
        },
    );
    ec2.change(
        "attach_volume(host: Host, name: string) -> map",
        "Attaches a volume to a server in its zone and waits until it is attached. Returns
         `#{id, device}`. `device` is the name at EC2; the kernel of the server may use another
         one.",
        |call: &Call, host: Host, name: ImmutableString| attach_volume(call, &host, &name),
    );
    ec2
}

fn rows(rows: &[Json]) -> Array {
    rows.iter().map(from_json).collect()
}

fn create_volume(call: &Call, name: &str, size: i64, zone: &str) -> Answer<Map> {
    let gib = i32::try_from(size)
        .ok()
        .filter(|gib| (1..=65_536).contains(gib));
    let gib = call.check(gib.ok_or_else(|| {
        let text = format!("ec2::create_volume: size must be from 1 to 65536 GiB, not {size}");
        Diagnostic::new(Kind::Usage, text)
    }))?;
    let create = async {
        let owner = call.context.project.ensure_owner(&call.context.events)?;
        let ec2 = &call.inventory.ec2;
        Ok::<_, Diagnostic>(ec2.create_volume(name, gib, zone, &owner).await?)
    };
    let created = call.change(|| format!("create volume {name} of {gib} GiB"), create)?;
    Ok(created.map_or_else(Map::new, |volume| describe(&volume)))
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
        let text = format!("server `{}` is not an EC2 instance", host.0.name);
        return Err(call.fail(Diagnostic::new(Kind::Usage, text)));
    }
    let attach = async {
        let owner = call.context.project.ensure_owner(&call.context.events)?;
        let volume = ec2.find_volume(name, &owner).await?.ok_or_else(|| {
            let text = format!("volume `{name}` not found");
            Diagnostic::new(Kind::Usage, text).help(format!(
                "create it with `hitc run -H {} ec2.create_volume {name}`",
                host.0.name
            ))
        })?;
        let device = ec2.attach_volume(&volume, &host.0).await?;
        Ok::<_, Diagnostic>((volume.id, device))
    };
    let attached = call.change(
        || format!("attach volume {name} to {}", host.0.name),
        attach,
    )?;
    let (id, device) = attached.unwrap_or_default();
    Ok(text_map([("id", id), ("device", device)]))
}
