//! The scripts that ship inside the program.

/// The built-in tasks: a namespace and its script. `tasks` is the top level.
pub(super) const TASKS: [(&str, &str); 5] = [
    ("tasks", include_str!("../../scripts/tasks.rhai")),
    ("docker", include_str!("../../scripts/docker.rhai")),
    ("ensemble", include_str!("../../scripts/ensemble.rhai")),
    ("iptables", include_str!("../../scripts/iptables.rhai")),
    ("local", include_str!("../../scripts/local.rhai")),
];

/// The namespace whose tasks have no namespace in their name.
pub(super) const TOP: &str = "tasks";

/// The modules that hitcfiles import: `import "std/retry" as retry;`.
pub(super) const STDLIB: [(&str, &str); 1] =
    [("std/retry", include_str!("../../stdlib/retry.rhai"))];

/// The file name under which a built-in task script is known: where it stands in the sources.
pub(super) fn file_name(namespace: &str) -> String {
    format!("scripts/{namespace}.rhai")
}
