//! The network bridges to which containers are connected.

/// The beginnings of the names that Docker and Podman give to bridges: `docker0`, `docker_gwbridge`,
/// `br-` and the id of a network, `podman0`, `cni-podman0`.
pub(super) const PREFIXES: [&str; 4] = ["docker", "br-", "podman", "cni-podman"];

/// Whether a name is one of those, or a pattern for them (`br-*`, `br-+`).
pub(super) fn is_bridge(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
