//! Reserved IP addresses, which outlive droplets.

use serde::Deserialize;
use serde_json::json;

use super::{
    DigitalOcean, TAG_ADDRESS, noted,
    wire::{Droplet, Region},
};
use crate::{
    http::ApiRequest,
    provider::{Error, Node},
};

/// A reserved IP address (<https://docs.digitalocean.com/reference/api/digitalocean/#tag/Reserved-IPs>).
#[derive(Debug, Deserialize)]
struct ReservedIp {
    region: Region,
    droplet: Option<Droplet>,
}

impl DigitalOcean {
    /// Fails if an address cannot be assigned to the droplet of this name in this region.
    pub(super) async fn check_address(
        &self,
        address: &str,
        full_name: &str,
        region: &str,
    ) -> Result<(), Error> {
        let found = self.reserved_ip(address).await?;
        let cause = match found {
            None => format!("reserved IP address {address} not found"),
            Some(ReservedIp { region: there, .. }) if there.slug != region => {
                format!("reserved IP address {address} is in region {}", there.slug)
            }
            Some(ReservedIp {
                droplet: Some(droplet),
                ..
            }) if droplet.name != full_name => {
                format!(
                    "reserved IP address {address} is in use by `{}`",
                    droplet.name
                )
            }
            Some(_) => return Ok(()),
        };
        let help = format!("reserve one in region {region}, or unassign it, at DigitalOcean");
        Err(Error::invalid(cause, Some(help)))
    }

    /// Assigns to a droplet the address that its tags name.
    pub(super) async fn assign_address(&self, node: &Node) -> Result<(), Error> {
        let droplet = self.droplet(node).await?;
        let Some(address) = noted(&droplet, TAG_ADDRESS) else {
            return Ok(());
        };
        let found = self.reserved_ip(&address).await?;
        let user = found.and_then(|found| found.droplet);
        if user.is_some_and(|user| user.id == droplet.id) {
            return Ok(());
        }
        let path = format!("/v2/reserved_ips/{address}/actions");
        let body = json!({"type": "assign", "droplet_id": droplet.id});
        let what = format!("assigning {address} to `{}`", node.name);
        self.act_at(&path, body, "/v2/actions", &what).await
    }

    async fn reserved_ip(&self, address: &str) -> Result<Option<ReservedIp>, Error> {
        let path = format!("/v2/reserved_ips/{address}");
        match self.read(ApiRequest::get(path), "reserved_ip").await {
            Err(Error::Api(error, _)) if error.status() == Some(404) => Ok(None),
            answer => answer.map(Some),
        }
    }
}
