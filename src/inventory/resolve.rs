//! Addresses of servers that the user lists by host name.

use std::{net::IpAddr, time::Duration};

use tokio::{net::lookup_host, time::timeout};

use super::Inventory;
use crate::{
    provider::{Address, Node},
    ssh::Route,
};

/// A resolver that does not answer keeps `nodes` waiting for no longer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What a lookup found.
pub enum Resolved {
    /// Nothing was looked up: the address is known, or another machine resolves the name.
    Nothing,
    /// The first address.
    To(IpAddr),
    /// The name has no address, or the resolver did not answer.
    Failed,
}

impl Inventory {
    /// Looks up the address of a server that is listed by host name, as a connection would.
    pub async fn resolve(&self, node: &Node) -> Resolved {
        // A test contacts no resolver.
        if self.mock.is_some() || !matches!(node.ip, Some(Address::Name(_))) {
            return Resolved::Nothing;
        }
        let Ok(target) = self.target(node).await else {
            return Resolved::Nothing;
        };
        if !matches!(target.route, Route::Direct) {
            return Resolved::Nothing;
        }
        let lookup = lookup_host((target.address.as_str(), target.port));
        let Ok(Ok(mut found)) = timeout(TIMEOUT, lookup).await else {
            return Resolved::Failed;
        };
        found
            .next()
            .map_or(Resolved::Failed, |found| Resolved::To(found.ip()))
    }
}
