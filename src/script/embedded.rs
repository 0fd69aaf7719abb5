//! The scripts that ship inside the program.

use crate::core::diagnostic::{Diagnostic, Kind, did_you_mean};

/// The built-in tasks: a namespace and its script. `tasks` is the top level.
pub(super) const TASKS: [(&str, &str); 6] = [
    ("tasks", include_str!("../../scripts/tasks.rhai")),
    ("docker", include_str!("../../scripts/docker.rhai")),
    ("ec2", include_str!("../../scripts/ec2.rhai")),
    ("ensemble", include_str!("../../scripts/ensemble.rhai")),
    ("iptables", include_str!("../../scripts/iptables.rhai")),
    ("local", include_str!("../../scripts/local.rhai")),
];

/// The namespace whose tasks have no namespace in their name.
pub(super) const TOP: &str = "tasks";

/// The modules that hitcfiles import: `import "std/retry" as retry;`.
pub(super) const STDLIB: [(&str, &str); 4] = [
    ("std/apt", include_str!("../../stdlib/apt.rhai")),
    ("std/bootstrap", include_str!("../../stdlib/bootstrap.rhai")),
    ("std/deploy", include_str!("../../stdlib/deploy.rhai")),
    ("std/retry", include_str!("../../stdlib/retry.rhai")),
];

/// The providers that are scripts.
pub(super) const PROVIDERS: [(&str, &str); 1] = [(
    "hetzner",
    include_str!("../../stdlib/providers/hetzner.rhai"),
)];

/// The file name under which such a provider is known: where it stands in the sources.
pub(super) fn provider_file(name: &str) -> String {
    format!("stdlib/providers/{name}.rhai")
}

/// A built-in script.
pub struct BuiltIn {
    /// Where it is copied to in a project, and takes the place of the built-in one.
    pub ejected: String,
    /// Its text.
    pub text: &'static str,
}

/// The script of a built-in namespace.
pub fn built_in(namespace: &str) -> Result<BuiltIn, Diagnostic> {
    let found = TASKS.iter().find(|(name, _)| *name == namespace);
    let Some((name, text)) = found else {
        let names = TASKS.map(|(name, _)| name);
        let message = format!("there is no built-in namespace `{namespace}`");
        let help = did_you_mean(namespace, names)
            .unwrap_or_else(|| format!("there is {}", names.join(", ")));
        return Err(Diagnostic::new(Kind::NotFound, message).help(help));
    };
    Ok(BuiltIn {
        ejected: ejected(name),
        text,
    })
}

/// The file of a project that takes the place of a built-in script.
pub(super) fn ejected(namespace: &str) -> String {
    format!("hitc/{namespace}.rhai")
}

/// The file name under which a built-in task script is known: where it stands in the sources.
pub(super) fn file_name(namespace: &str) -> String {
    format!("scripts/{namespace}.rhai")
}
