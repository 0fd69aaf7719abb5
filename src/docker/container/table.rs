//! The table of container options. One row says everything about an option.
//!
//! Decoding, creating, reading back, comparing, updating in place and the digest follow from the
//! table. A new option is a row, and a [`Kind`] if no other option takes such values.

use super::kind::Kind;

/// The part of the engine's API that an option is in. The request that creates a container has
/// both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A field of `Config`.
    Config(&'static str),
    /// A field of `HostConfig`.
    HostConfig(&'static str),
}

/// The value of an option that a spec does not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unset {
    /// The value of the image or the engine. The container shows it as if the spec had set it, so a
    /// label has the names of the options that were set.
    Inherited,
    /// The option's zero: no limit, no ports, not privileged.
    Zero,
}

/// An option of containers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The key in a manifest and of `docker.run`.
    pub key: &'static str,
    pub kind: Kind,
    pub place: Place,
    pub unset: Unset,
    /// Whether it can be updated while the container runs. Such an option is compared directly, and
    /// is not part of the digest.
    pub in_place: bool,
    /// Whether its value is masked in all output.
    pub secret: bool,
    /// Whether digests of version 1 contain it.
    pub in_v1: bool,
}

/// Most options.
const FIXED: Row = Row {
    key: "",
    kind: Kind::Text,
    place: Place::Config(""),
    unset: Unset::Inherited,
    in_place: false,
    secret: false,
    in_v1: true,
};

/// Options that the first version did not have. Not set means off.
const LATER: Row = Row {
    unset: Unset::Zero,
    in_v1: false,
    ..FIXED
};

/// All options, in the order in which changes are shown.
pub(super) static ROWS: [Row; 21] = [
    Row {
        key: "command",
        kind: Kind::Words,
        place: Place::Config("Cmd"),
        ..FIXED
    },
    Row {
        key: "entrypoint",
        kind: Kind::Words,
        place: Place::Config("Entrypoint"),
        ..FIXED
    },
    Row {
        key: "hostname",
        place: Place::Config("Hostname"),
        ..FIXED
    },
    Row {
        key: "user",
        place: Place::Config("User"),
        ..FIXED
    },
    Row {
        key: "stop_timeout",
        kind: Kind::Seconds,
        place: Place::Config("StopTimeout"),
        ..FIXED
    },
    Row {
        key: "privileged",
        kind: Kind::Flag,
        place: Place::HostConfig("Privileged"),
        unset: Unset::Zero,
        ..FIXED
    },
    Row {
        key: "read_only",
        kind: Kind::Flag,
        place: Place::HostConfig("ReadonlyRootfs"),
        ..LATER
    },
    Row {
        key: "init",
        kind: Kind::Flag,
        place: Place::HostConfig("Init"),
        ..LATER
    },
    Row {
        key: "shm_size",
        kind: Kind::Bytes,
        place: Place::HostConfig("ShmSize"),
        // The engine shows its default.
        unset: Unset::Inherited,
        ..LATER
    },
    Row {
        key: "ulimits",
        kind: Kind::Ulimits,
        place: Place::HostConfig("Ulimits"),
        ..LATER
    },
    Row {
        key: "cap_add",
        kind: Kind::Capabilities,
        place: Place::HostConfig("CapAdd"),
        ..LATER
    },
    Row {
        key: "cap_drop",
        kind: Kind::Capabilities,
        place: Place::HostConfig("CapDrop"),
        ..LATER
    },
    Row {
        key: "log",
        kind: Kind::Log,
        place: Place::HostConfig("LogConfig"),
        // The engine shows its default driver.
        unset: Unset::Inherited,
        ..LATER
    },
    Row {
        key: "networks",
        kind: Kind::Networks,
        place: Place::HostConfig("NetworkMode"),
        ..LATER
    },
    Row {
        key: "environment",
        kind: Kind::Environment,
        place: Place::Config("Env"),
        ..FIXED
    },
    Row {
        key: "labels",
        kind: Kind::Labels,
        place: Place::Config("Labels"),
        ..FIXED
    },
    Row {
        key: "ports",
        kind: Kind::Ports,
        place: Place::HostConfig("PortBindings"),
        unset: Unset::Zero,
        ..FIXED
    },
    Row {
        key: "volumes",
        kind: Kind::Volumes,
        place: Place::HostConfig("Binds"),
        unset: Unset::Zero,
        ..FIXED
    },
    Row {
        key: "max_memory",
        kind: Kind::Bytes,
        place: Place::HostConfig("Memory"),
        unset: Unset::Zero,
        in_place: true,
        ..FIXED
    },
    Row {
        key: "cpus",
        kind: Kind::Cpus,
        place: Place::HostConfig("NanoCpus"),
        unset: Unset::Zero,
        in_place: true,
        ..FIXED
    },
    Row {
        key: "restart",
        kind: Kind::Restart,
        place: Place::HostConfig("RestartPolicy"),
        unset: Unset::Zero,
        in_place: true,
        ..FIXED
    },
];

/// The row of an option.
pub(super) fn row(key: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.key == key)
}
