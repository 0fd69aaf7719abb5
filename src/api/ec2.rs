//! `ec2::`: functions that only Amazon EC2 has.

use std::sync::Arc;

use rhai::{Array, ImmutableString};
use serde_json::Value as Json;

use super::{Api, call::Call, namespace::Namespace, value::from_json};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut ec2 = Namespace::new(api, "ec2", "Functions that only Amazon EC2 has.");
    ec2.query(
        "images() -> array",
        "Returns the newest image for each short name, as maps with `name`, `id`, `architecture`,
         `created` and `image`.",
        |call: &Call| {
            let images = call.inventory.ec2.images();
            Ok(rows(&call.wait(images)?))
        },
    );
    ec2.query(
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
    ec2
}

fn rows(rows: &[Json]) -> Array {
    rows.iter().map(from_json).collect()
}
