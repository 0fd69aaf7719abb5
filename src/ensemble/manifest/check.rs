//! Checks a parsed manifest: references, environment variables, and values that do not fit their
//! keys.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use crate::{
    core::{
        diagnostic::{did_you_mean, plural},
        environment as process,
        value::{Data, Entry, Invalid, Value, shorten},
    },
    docker::{Inputs, Port, Protocol, Spec},
    ensemble::manifest::{
        Container, Manifest, Server,
        facts::Facts,
        template::list,
        tree::{Tree, Use},
        variable::{Awaited, Variable},
    },
    inventory::Providers,
    iptables::Firewall,
};

/// Keys of a container whose values are files of this machine.
const FILES: [&str; 2] = ["build", "env_file"];
/// The keys of a server that are not options of its provider.
const SERVER_KEYS: [&str; 6] = [
    "template",
    "provider",
    "count",
    "containers",
    "firewall",
    "docker_mount",
];
/// The keys of a container that are not options of `docker::run`.
const CONTAINER_KEYS: [&str; 3] = ["template", "count", "depends_on"];

/// The trees of a manifest, each with its server. Copies share a tree, which is returned once.
fn trees(manifest: &Manifest) -> impl Iterator<Item = (&Server, &Arc<Tree>)> {
    let mut seen = HashSet::new();
    let all = manifest.servers.iter().flat_map(|server| {
        let bodies = server.containers.iter().map(|container| &container.body);
        let own = [&server.options].into_iter().chain(&server.firewall);
        let trees = own.chain(bodies);
        trees.map(move |tree| (server, tree))
    });
    all.filter(move |(_, tree)| seen.insert(Arc::as_ptr(tree)))
}

/// Returns the environment variables that a manifest uses, and errors for those that are not set.
pub(super) fn environment(manifest: &Manifest) -> (BTreeMap<String, String>, Vec<Invalid>) {
    let (mut found, mut errors) = (BTreeMap::new(), Vec::new());
    for (_, tree) in trees(manifest) {
        for one in tree.uses() {
            let Variable::Env(name) = one.variable else {
                continue;
            };
            if found.contains_key(name) {
                continue;
            }
            if let Some(value) = process::get(name) {
                found.insert(name.clone(), value);
                continue;
            }
            let cause = if process::is_not_utf8(name) {
                "not valid UTF-8"
            } else {
                "not set"
            };
            let message = format!("environment variable `{}` is {cause}", shorten(name));
            let in_test = process::is_isolated();
            let help =
                || format!("write `test::env({name:?}, \"…\")` in the test, before the call");
            let error = Invalid::at(one.span.cloned(), message);
            errors.push(error.help(in_test.then(help)));
        }
    }
    (found, errors)
}

/// Returns errors for references to servers and containers that are not in the manifest.
pub(super) fn references(manifest: &Manifest) -> Vec<Invalid> {
    let mut errors = Vec::new();
    for (server, tree) in trees(manifest) {
        let uses = tree.uses();
        let wrong = uses
            .iter()
            .filter_map(|one| reference(manifest, server, one).err());
        errors.extend(wrong);
        errors.extend(files(server, tree));
    }
    let mut seen = HashSet::new();
    for server in &manifest.servers {
        for container in &server.containers {
            if seen.insert(Arc::as_ptr(&container.body)) {
                let needed = container.depends_on.iter();
                errors.extend(needed.filter_map(|one| one.check(manifest, server).err()));
            }
        }
    }
    errors
}

/// Returns errors for file options of a container that refer to servers or containers: files are
/// read before any server is contacted.
fn files(host: &Server, body: &Tree) -> Vec<Invalid> {
    let mut errors = Vec::new();
    for key in FILES {
        let uses = body.field(key).map(Tree::uses).unwrap_or_default();
        let late = uses.iter().filter(|one| {
            let awaited = one.variable.awaits(&host.name);
            awaited != Awaited::Nothing
        });
        errors.extend(late.map(|one| {
            let variable = shorten(&one.variable.to_string());
            let message = format!("{key} cannot contain `{variable}`");
            Invalid::at(one.span.cloned(), message).help(
                "this file is read before any server is contacted: use a fixed path or `${env.NAME}`"
                    .to_owned(),
            )
        }));
    }
    errors
}

fn reference(manifest: &Manifest, host: &Server, one: &Use<'_>) -> Result<(), Invalid> {
    let invalid = |message: String| {
        let variable = shorten(&one.variable.to_string());
        Invalid::at(one.span.cloned(), format!("`{variable}`: {message}"))
    };
    let not_found = |what: &str, name: &str, known: &[&str]| {
        let near = did_you_mean(name, known.iter().copied());
        let help = near.or_else(|| {
            let some = !known.is_empty();
            some.then(|| format!("the {what}s are {}", list(known)))
        });
        invalid(format!("{what} `{}` not found", shorten(name))).help(help)
    };
    let server = |name: &str| {
        manifest.server(name).ok_or_else(|| {
            let known: Vec<&str> = manifest.servers.iter().map(|s| s.name.as_str()).collect();
            not_found("server", name, &known)
        })
    };
    match one.variable {
        Variable::Server(of, _) => server(of.name(&host.name)).map(drop),
        Variable::Container(of, name, field, index) => {
            let server = server(of.name(&host.name))?;
            let container = server.container(name).ok_or_else(|| {
                let known = server.containers.iter().map(|c| c.name.as_str());
                not_found("container", name, &known.collect::<Vec<_>>())
            })?;
            let items = match container.body.field(field) {
                Some(tree) => tree.items(),
                None => Some(0),
            };
            match (index, items) {
                (Some(index), Some(items)) if *index >= items => {
                    let has = plural(items, field.trim_end_matches('s'));
                    let message =
                        format!("index {index} is out of range: container `{name}` has {has}");
                    Err(invalid(message).help("the first one has the index 0".to_owned()))
                }
                _ => Ok(()),
            }
        }
        Variable::Secret(_) => Err(invalid("secrets are not supported yet".to_owned())
            .help("use `${env.NAME}` and set the environment variable".to_owned())),
        Variable::Env(_) | Variable::InternalIps | Variable::Servers => Ok(()),
    }
}

/// Reads the env files and build folders that the containers refer to.
pub(super) fn inputs(manifest: &Manifest) -> Inputs {
    let facts = Facts::of(manifest);
    let mut bodies = Vec::new();
    for server in &manifest.servers {
        let known = |variable: &Variable| facts.value(&server.name, variable);
        let reads = server.containers.iter().filter(|container| {
            let body = &container.body;
            body.field("env_file").is_some() || body.field("build").is_some()
        });
        bodies.extend(reads.map(|container| container.body.resolve_known(&known)));
    }
    Inputs::load(&manifest.folder, &bodies)
}

/// Returns errors for values that do not fit their keys. If a value contains a variable that is not
/// known yet, only its kind is checked.
pub(super) fn values(manifest: &Manifest, providers: &Providers) -> Vec<Invalid> {
    let facts = Facts::of(manifest);
    let mut errors = Vec::new();
    let mut seen = HashSet::new();
    for server in &manifest.servers {
        if !seen.insert(Arc::as_ptr(&server.options)) {
            continue;
        }
        let known = |variable: &Variable| facts.value(&server.name, variable);
        if let Ok(provider) = providers.get(&server.provider) {
            let options = server.options.resolve_known(&known);
            let checked = check_known(options, |options| provider.validate(options));
            if let Err(error) = checked {
                let what = format!("server `{}`", server.name);
                errors.push(suggest_own_key(manifest, &what, &SERVER_KEYS, error));
            }
        }
        if let Some(firewall) = &server.firewall {
            let what = format!("firewall of `{}`", server.name);
            let rules = firewall.resolve_known(&known);
            errors.extend(check_known(rules, |rules| Firewall::decode(rules, &what)).err());
        }
        let mut ports = PublicPorts::default();
        for container in &server.containers {
            let what = format!("container `{}`", container.name);
            let body = container.body.resolve_known(&known);
            let checked = check_known(body, |body| {
                Spec::decode(&container.name, body, &manifest.inputs, &what)
            });
            match checked {
                Ok(Some(spec)) => errors.extend(ports.add(container, &spec)),
                Ok(None) => {}
                Err(error) => {
                    errors.push(suggest_own_key(manifest, &what, &CONTAINER_KEYS, error));
                }
            }
        }
    }
    errors.dedup_by(|a, b| a.span == b.span && a.span.is_some());
    errors
}

/// Checks a map whose values may be unknown. A key with an error about an unknown value is left
/// out, and the others are checked again. Returns `None` if that makes a check impossible.
fn check_known<T>(
    mut map: Value,
    check: impl Fn(&Value) -> Result<T, Invalid>,
) -> Result<Option<T>, Invalid> {
    loop {
        let error = match check(&map) {
            Ok(checked) => return Ok(Some(checked)),
            Err(error) if error.is_about_unknown => error,
            Err(error) => return Err(error),
        };
        let Data::Map(entries) = &mut map.data else {
            return Ok(None);
        };
        let has_error = |entry: &Entry| match (&entry.value.span, &error.span) {
            (Some(whole), Some(part)) => whole == part || contains(&entry.value, part),
            _ => false,
        };
        let Some(at) = entries.iter().position(has_error) else {
            return Ok(None);
        };
        let removed = entries.remove(at);
        // A container without an image is another error.
        if ["image", "build"].contains(&removed.key.as_str()) {
            return Ok(None);
        }
    }
}

/// Whether a value or an item of it has this span.
fn contains(value: &Value, span: &std::ops::Range<usize>) -> bool {
    value.span.as_ref() == Some(span)
        || match &value.data {
            Data::List(items) => items.iter().any(|item| contains(item, span)),
            Data::Map(entries) => entries.iter().any(|entry| contains(&entry.value, span)),
            _ => false,
        }
}

/// The public ports of a server, with the containers that publish them.
#[derive(Default)]
struct PublicPorts<'a>(BTreeMap<(u16, Protocol), Vec<(Port, &'a str)>>);

impl<'a> PublicPorts<'a> {
    /// Adds the ports of a container. Returns errors for those that another container publishes.
    fn add(&mut self, container: &'a Container, spec: &Spec) -> Vec<Invalid> {
        let mut errors = Vec::new();
        for port in spec.options.ports() {
            let same = self.0.entry((port.public, port.protocol)).or_default();
            let other = same.iter().find(|(other, _)| other.conflicts_with(port));
            if let Some((_, other)) = other {
                let message = format!(
                    "container `{}`: container `{other}` already publishes port {}",
                    container.name, port.public
                );
                errors.push(
                    Invalid::at(container.span.clone(), message)
                        .help("choose another public port".to_owned()),
                );
            }
            same.push((*port, &container.name));
        }
        errors
    }
}

/// Suggests one of the `keys` that only manifests have for an unknown option of the server or container
/// `what`, which may be a misspelling of it.
fn suggest_own_key(manifest: &Manifest, what: &str, keys: &[&str], mut error: Invalid) -> Invalid {
    let text = &manifest.source.text;
    // An error about a value is another one.
    let is_key = |rest: &str| rest.trim_start().starts_with(':');
    let span = error.span.clone();
    let span = span.filter(|span| text.get(span.end..).is_some_and(is_key));
    if let Some(key) = span.and_then(|span| text.get(span))
        && let Some(help) = did_you_mean(key, keys.iter().copied())
    {
        error.message = format!("{what}: unknown option `{key}`");
        error.help = Some(help);
    }
    error
}
