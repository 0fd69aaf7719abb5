//! A local server as a container.

use std::{collections::HashMap, net::Ipv4Addr};

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, NetworkingConfig,
    RestartPolicy, RestartPolicyNameEnum,
};

use super::{network::NETWORK, options::Options};
use crate::provider::Create;

/// The name prefix. Marks a container as a local server.
pub(super) const LABEL_PREFIX: &str = "hitc.server.prefix";
/// The name of the image.
pub(super) const LABEL_IMAGE: &str = "hitc.server.image";
/// The project that owns the server.
pub(super) const LABEL_PROJECT: &str = "hitc.server.project";
/// The manifest that owns the server. Absent if a task created it.
pub(super) const LABEL_MANIFEST: &str = "hitc.server.manifest";
/// Terminating the server is refused.
pub(super) const LABEL_PROTECT: &str = "hitc.server.protect";

/// The request that creates a server. `key` is the public key that may log in.
pub(super) fn body(
    prefix: &str,
    create: &Create,
    options: &Options,
    image: &str,
    ip: Ipv4Addr,
    key: &str,
) -> ContainerCreateBody {
    let mut labels = HashMap::from([
        (LABEL_PREFIX.to_owned(), prefix.to_owned()),
        (LABEL_IMAGE.to_owned(), options.image.name().to_owned()),
    ]);
    if options.protect {
        labels.insert(LABEL_PROTECT.to_owned(), "true".to_owned());
    }
    labels.insert(LABEL_PROJECT.to_owned(), create.owner.project.clone());
    if let Some(manifest) = &create.owner.manifest {
        labels.insert(LABEL_MANIFEST.to_owned(), manifest.clone());
    }
    let endpoint = EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(ip.to_string()),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    };
    let text = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect());
    let (memory, nano_cpus) = options.size.limits();
    ContainerCreateBody {
        image: Some(image.to_owned()),
        hostname: Some(create.name.clone()),
        env: Some(vec![format!("HITC_AUTHORIZED_KEY={key}")]),
        labels: Some(labels),
        host_config: Some(HostConfig {
            // The capabilities that an engine inside needs. `--privileged` would also ask for
            // SYS_RESOURCE, which this machine may lack.
            cap_add: text(&["ALL"]),
            cap_drop: text(&["SYS_RESOURCE"]),
            security_opt: text(&["seccomp=unconfined", "apparmor=unconfined"]),
            // Docker's command calls these two `systempaths=unconfined`.
            masked_paths: Some(Vec::new()),
            readonly_paths: Some(Vec::new()),
            device_cgroup_rules: text(&["a *:* rwm"]),
            network_mode: Some(NETWORK.to_owned()),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                maximum_retry_count: None,
            }),
            memory,
            nano_cpus,
            ..HostConfig::default()
        }),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(NETWORK.to_owned(), endpoint)])),
        }),
        ..ContainerCreateBody::default()
    }
}
