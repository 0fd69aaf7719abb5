//! Reserved IP addresses, which outlive droplets.

use std::net::Ipv4Addr;

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
        address: Ipv4Addr,
        full_name: &str,
        region: &str,
    ) -> Result<(), Error> {
        let found = self.reserved_ip(address).await?;
        if found.region.slug != region {
            let there = found.region.slug;
            let cause = format!("reserved IP address {address} is in region {there}");
            let help = format!("reserve one in region {region} at DigitalOcean");
            return Err(Error::invalid(cause, Some(help)));
        }
        match found.droplet {
            Some(droplet) if droplet.name != full_name => Err(in_use(address, &droplet)),
            _ => Ok(()),
        }
    }

    /// Assigns to a droplet the address that its tags name. Fails if another droplet got it since it
    /// was ordered.
    pub(super) async fn assign_address(&self, node: &Node) -> Result<(), Error> {
        let droplet = self.droplet(node).await?;
        let Some(noted) = noted(&droplet, TAG_ADDRESS) else {
            return Ok(());
        };
        let Ok(address) = noted.parse() else {
            return Err(Error::invalid(
                format!("droplet `{}`: invalid address in its tags", node.name),
                Some("correct the tag `hitc:address:…` at DigitalOcean".to_owned()),
            ));
        };
        match self.reserved_ip(address).await?.droplet {
            Some(user) if user.id == droplet.id => return Ok(()),
            Some(user) if user.name != droplet.name => return Err(in_use(address, &user)),
            _ => {}
        }
        let path = format!("/v2/reserved_ips/{address}/actions");
        let body = json!({"type": "assign", "droplet_id": droplet.id});
        let what = format!("assigning {address} to `{}`", node.name);
        self.act_at(&path, body, "/v2/actions", &what).await
    }

    async fn reserved_ip(&self, address: Ipv4Addr) -> Result<ReservedIp, Error> {
        let path = format!("/v2/reserved_ips/{address}");
        match self.read(ApiRequest::get(path), "reserved_ip").await {
            Err(Error::Api(error, _)) if error.status() == Some(404) => Err(Error::invalid(
                format!("reserved IP address {address} not found"),
                Some("reserve one at DigitalOcean".to_owned()),
            )),
            answer => answer,
        }
    }
}

fn in_use(address: Ipv4Addr, droplet: &Droplet) -> Error {
    Error::invalid(
        format!(
            "reserved IP address {address} is in use by `{}`",
            droplet.name
        ),
        Some("unassign it, or reserve another one, at DigitalOcean".to_owned()),
    )
}
