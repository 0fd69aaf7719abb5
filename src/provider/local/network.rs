//! The network of all local servers. hitc assigns the addresses on it, so that a server keeps its
//! address when it reboots.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    net::Ipv4Addr,
};

use bollard::{
    errors::Error as BollardError,
    models::{ContainerInspectResponse, Ipam, IpamConfig, NetworkCreateRequest},
    query_parameters::InspectNetworkOptions,
};

use super::{failed, refusal};
use crate::{docker::Engine, provider::Error};

/// The network's name at the engine.
pub(super) const NETWORK: &str = "hitc";

/// The address that is assigned to a server, also while it is stopped.
pub(super) fn address(found: &ContainerInspectResponse) -> Option<Ipv4Addr> {
    let networks = found.network_settings.as_ref()?.networks.as_ref()?;
    let config = networks.get(NETWORK)?.ipam_config.as_ref()?;
    config.ipv4_address.as_ref()?.parse().ok()
}

/// The subnet (its first address and prefix length) and the gateway of the network. Creates the network
/// if it does not exist.
pub(super) async fn ensure_network(engine: &Engine) -> Result<((Ipv4Addr, u32), Ipv4Addr), Error> {
    if let Some(found) = network(engine).await? {
        return Ok(found);
    }
    // The engine chooses a free subnet, but allows fixed addresses only on a network whose subnet was
    // requested. So the network is created twice.
    make_network(engine, None).await?;
    let ((first, length), gateway) = network(engine).await?.ok_or_else(no_subnet)?;
    engine
        .api()
        .remove_network(NETWORK)
        .await
        .map_err(|error| refusal("creating its network", &error))?;
    let config = IpamConfig {
        subnet: Some(format!("{first}/{length}")),
        gateway: Some(gateway.to_string()),
        ..IpamConfig::default()
    };
    make_network(engine, Some(config)).await?;
    Ok(((first, length), gateway))
}

async fn make_network(engine: &Engine, config: Option<IpamConfig>) -> Result<(), Error> {
    let request = NetworkCreateRequest {
        name: NETWORK.to_owned(),
        driver: Some("bridge".to_owned()),
        ipam: config.map(|config| Ipam {
            config: Some(vec![config]),
            ..Ipam::default()
        }),
        ..NetworkCreateRequest::default()
    };
    engine
        .api()
        .create_network(request)
        .await
        .map(drop)
        .map_err(|error| refusal("creating its network", &error))
}

async fn network(engine: &Engine) -> Result<Option<((Ipv4Addr, u32), Ipv4Addr)>, Error> {
    let found = match engine
        .api()
        .inspect_network(NETWORK, None::<InspectNetworkOptions>)
        .await
    {
        Ok(found) => found,
        Err(BollardError::DockerResponseServerError {
            status_code: 404, ..
        }) => return Ok(None),
        Err(error) => return Err(refusal("inspecting its network", &error)),
    };
    let parse = || {
        let config = found.ipam?.config?.into_iter().next()?;
        let subnet = config.subnet?;
        let (first, length) = subnet.split_once('/')?;
        let first: Ipv4Addr = first.parse().ok()?;
        let gateway = match config.gateway {
            Some(gateway) => gateway.parse().ok()?,
            None => Ipv4Addr::from(u32::from(first) + 1),
        };
        Some(((first, length.parse().ok()?), gateway))
    };
    parse().map(Some).ok_or_else(no_subnet)
}

/// Whether the engine refused to start a server because its address is in use.
pub(super) fn is_address_taken(error: &BollardError) -> bool {
    matches!(
        error,
        BollardError::DockerResponseServerError { message, .. }
            if message.contains("Address already in use")
    )
}

fn no_subnet() -> Error {
    failed(
        "reading its network",
        format!("`{NETWORK}` has no IPv4 subnet"),
    )
}

/// A free address of a subnet. The search begins at a place that depends on the name, so that a
/// server that is created again mostly gets its former address.
pub(super) fn free_address(
    (first, length): (Ipv4Addr, u32),
    gateway: Ipv4Addr,
    taken: &BTreeSet<Ipv4Addr>,
    name: &str,
) -> Option<Ipv4Addr> {
    // Without the network's own address and the broadcast address. The last octet is enough.
    let count = (1_u32 << (32_u32.checked_sub(length)?).min(8)).checked_sub(2)?;
    let mut hash = DefaultHasher::new();
    name.hash(&mut hash);
    let start = u32::try_from(hash.finish() % u64::from(count)).ok()?;
    (0..count)
        .map(|step| Ipv4Addr::from(u32::from(first) + 1 + (start + step) % count))
        .find(|ip| *ip != gateway && !taken.contains(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_free_and_of_the_subnet() {
        let first = Ipv4Addr::new(172, 30, 0, 0);
        let gateway = Ipv4Addr::new(172, 30, 0, 1);
        let mut taken = BTreeSet::new();
        for _ in 0..13 {
            let ip = free_address((first, 28), gateway, &taken, "web").unwrap();
            assert!((2..=14).contains(&ip.octets()[3]), "{ip}");
            assert!(taken.insert(ip), "{ip} twice");
        }
        assert_eq!(free_address((first, 28), gateway, &taken, "web"), None);
    }
}
