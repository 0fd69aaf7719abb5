//! The scripts that are compiled into the program.

use crate::{
    api,
    core::diagnostic::{Diagnostic, Kind, did_you_mean},
};

/// The scripts of the built-in tasks, by namespace. [`TOP`] has the tasks without namespace.
pub(super) const TASKS: [(&str, &str); 9] = [
    ("tasks", include_str!("../../scripts/tasks.rhai")),
    ("docker", include_str!("../../scripts/docker.rhai")),
    ("ec2", include_str!("../../scripts/ec2.rhai")),
    ("ensemble", include_str!("../../scripts/ensemble.rhai")),
    ("image", include_str!("../../scripts/image.rhai")),
    ("iptables", include_str!("../../scripts/iptables.rhai")),
    ("local", include_str!("../../scripts/local.rhai")),
    ("provider", include_str!("../../scripts/provider.rhai")),
    ("volume", include_str!("../../scripts/volume.rhai")),
];

/// Other names of namespaces: `firewall.open` is `iptables.open`.
pub(super) const ALIASES: [(&str, &str); 1] = [("firewall", "iptables")];

/// The script whose tasks have no namespace in their name.
pub(super) const TOP: &str = "tasks";

/// The standard library: modules for hitcfiles to import, `import "std/retry" as retry;`.
pub(super) const STDLIB: [(&str, &str); 5] = [
    ("std/apt", include_str!("../../stdlib/apt.rhai")),
    ("std/bootstrap", include_str!("../../stdlib/bootstrap.rhai")),
    ("std/deploy", include_str!("../../stdlib/deploy.rhai")),
    ("std/retry", include_str!("../../stdlib/retry.rhai")),
    ("std/volume", include_str!("../../stdlib/volume.rhai")),
];

/// The providers that are written as scripts.
pub(super) const PROVIDERS: [(&str, &str); 2] = [
    ("gcp", include_str!("../../stdlib/providers/gcp.rhai")),
    (
        "hetzner",
        include_str!("../../stdlib/providers/hetzner.rhai"),
    ),
];

/// The parts of these providers, one noun a file, which they import.
pub(super) const PARTS: [(&str, &str); 11] = [
    (
        "std/providers/gcp/image",
        include_str!("../../stdlib/providers/gcp/image.rhai"),
    ),
    (
        "std/providers/gcp/machine",
        include_str!("../../stdlib/providers/gcp/machine.rhai"),
    ),
    (
        "std/providers/gcp/name",
        include_str!("../../stdlib/providers/gcp/name.rhai"),
    ),
    (
        "std/providers/gcp/price",
        include_str!("../../stdlib/providers/gcp/price.rhai"),
    ),
    (
        "std/providers/gcp/request",
        include_str!("../../stdlib/providers/gcp/request.rhai"),
    ),
    (
        "std/providers/gcp/volume",
        include_str!("../../stdlib/providers/gcp/volume.rhai"),
    ),
    (
        "std/providers/hetzner/image",
        include_str!("../../stdlib/providers/hetzner/image.rhai"),
    ),
    (
        "std/providers/hetzner/label",
        include_str!("../../stdlib/providers/hetzner/label.rhai"),
    ),
    (
        "std/providers/hetzner/price",
        include_str!("../../stdlib/providers/hetzner/price.rhai"),
    ),
    (
        "std/providers/hetzner/request",
        include_str!("../../stdlib/providers/hetzner/request.rhai"),
    ),
    (
        "std/providers/hetzner/volume",
        include_str!("../../stdlib/providers/hetzner/volume.rhai"),
    ),
];

/// Returns the name of the file of a provider's part: its path in the sources.
pub(super) fn part_file(path: &str) -> String {
    path.replacen("std/", "stdlib/", 1) + ".rhai"
}

/// Returns the name of a scripted provider's file: its path in the sources.
pub(super) fn provider_file(name: &str) -> String {
    format!("stdlib/providers/{name}.rhai")
}

/// A built-in script.
pub struct BuiltIn {
    /// The file of a project that replaces it.
    pub ejected: String,
    /// Its text.
    pub text: &'static str,
}

/// Returns the script of a built-in namespace.
pub fn built_in(namespace: &str) -> Result<BuiltIn, Diagnostic> {
    let found = TASKS.iter().find(|(name, _)| *name == namespace);
    if let Some(module) = namespace
        .strip_prefix("std/")
        .filter(|_| standard_module(namespace).is_some())
    {
        let message = format!("`{namespace}` is a module, not a namespace of tasks");
        return Err(Diagnostic::new(Kind::Usage, message).help(format!(
            "copy it with `hitc source {namespace} > {module}.rhai`, and import `{module}`"
        )));
    }
    let Some((name, text)) = found else {
        let names = TASKS.map(|(name, _)| name);
        let message = format!("built-in namespace `{namespace}` not found");
        let help = did_you_mean(namespace, names)
            .unwrap_or_else(|| format!("the namespaces are {}", names.join(", ")));
        return Err(Diagnostic::new(Kind::NotFound, message).help(help));
    };
    Ok(BuiltIn {
        ejected: ejected(name),
        text,
    })
}

/// The text of a module of the standard library, `std/retry`, or of a provider's part.
pub fn standard_module(name: &str) -> Option<&'static str> {
    let mut all = STDLIB.iter().chain(&PARTS);
    all.find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The error that the standard library has no module of this name.
pub fn missing_module(name: &str) -> Diagnostic {
    let names = STDLIB.map(|(name, _)| name);
    let help = did_you_mean(name, names)
        .unwrap_or_else(|| format!("the modules are {}", names.join(", ")));
    let message = format!("module `{name}` not found");
    Diagnostic::new(Kind::Usage, message).help(help)
}

/// The namespaces of built-in tasks. That of the tasks without namespace is `tasks`.
pub fn built_in_namespaces() -> impl Iterator<Item = &'static str> {
    TASKS.iter().map(|(name, _)| *name)
}

/// The namespaces of functions for scripts, and the modules of the standard library.
pub fn function_namespaces() -> impl Iterator<Item = String> {
    let own = api::docs().into_iter().map(|(name, _)| name.to_owned());
    own.chain(STDLIB.iter().map(|(name, _)| (*name).to_owned()))
}

/// Returns the file of a project that replaces a built-in script.
pub(super) fn ejected(namespace: &str) -> String {
    format!("hitc/{namespace}.rhai")
}

/// Returns the name of a built-in script's file: its path in the sources.
pub(super) fn file_name(namespace: &str) -> String {
    format!("scripts/{namespace}.rhai")
}
