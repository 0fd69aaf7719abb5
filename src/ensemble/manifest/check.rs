//! What can be wrong with a manifest that could be read: references to what is not there, values
//! that do not fit their keys.

use std::collections::BTreeMap;

use crate::{
    core::{diagnostic::did_you_mean, environment, value::Invalid},
    docker::{Protocol, Spec},
    ensemble::{
        Manifest, Server,
        facts::Facts,
        manifest::{
            tree::Use,
            variable::{CONTAINER_FIELDS, SERVER_FIELDS, Variable},
        },
    },
    inventory::Providers,
};

/// Keys of a server that are not its provider's.
const KEYS: [&str; 7] = [
    "template",
    "provider",
    "count",
    "containers",
    "firewall",
    "docker_mount",
    "protect",
];

/// Does everything that variables refer to exist?
pub(in crate::ensemble) fn references(manifest: &Manifest) -> Vec<Invalid> {
    let mut errors = Vec::new();
    for server in &manifest.servers {
        let bodies = server.containers.iter().map(|container| &container.body);
        for tree in [&server.options].into_iter().chain(bodies) {
            let uses = tree.uses(&manifest.source.text);
            errors.extend(uses.iter().filter_map(|one| reference(manifest, one).err()));
        }
    }
    // What a count repeats is wrong once.
    errors.dedup();
    errors
}

fn reference(manifest: &Manifest, one: &Use) -> Result<(), Invalid> {
    let invalid = |message: String, help: Option<String>| Invalid {
        message,
        span: one.span.clone(),
        help,
    };
    let missing = |what: &str, name: &str, known: &[&str]| {
        let help = did_you_mean(name, known.iter().copied())
            .or_else(|| (!known.is_empty()).then(|| format!("there is {}", known.join(", "))));
        invalid(
            format!("`{}`: there is no {what} `{name}`", one.variable),
            help,
        )
    };
    let server = |name: &str| {
        manifest.server(name).ok_or_else(|| {
            let known: Vec<&str> = manifest.servers.iter().map(|s| s.name.as_str()).collect();
            missing("server", name, &known)
        })
    };
    let field = |field: &str, known: &[&str]| {
        if known.contains(&field) {
            Ok(())
        } else {
            Err(missing("field", field, known))
        }
    };
    match &one.variable {
        Variable::Host(name) => field(name, &SERVER_FIELDS),
        Variable::Server(name, of) => server(name).and_then(|_| field(of, &SERVER_FIELDS)),
        Variable::Container(of_server, name, of) => {
            let containers = &server(of_server)?.containers;
            if !containers.iter().any(|container| container.name == *name) {
                let known: Vec<&str> = containers.iter().map(|c| c.name.as_str()).collect();
                return Err(missing("container", name, &known));
            }
            field(of, &CONTAINER_FIELDS)
        }
        Variable::Env(name) if environment::get(name).is_none() => {
            let message = format!("environment variable `{name}` is not set");
            Err(invalid(message, None))
        }
        Variable::Secret(_) => Err(invalid(
            format!("`{}`: secrets do not work yet", one.variable),
            Some("write ${env.NAME} and set it in the environment".to_owned()),
        )),
        Variable::Env(_) | Variable::InternalIps | Variable::Servers => Ok(()),
    }
}

/// Is every value of a kind that its key takes? What variables stand for is not known yet;
/// something of the right kind takes their place.
pub(in crate::ensemble) fn values(manifest: &Manifest, providers: &Providers) -> Vec<Invalid> {
    let facts = Facts::of(manifest);
    let mut errors = Vec::new();
    for server in &manifest.servers {
        let sample = |variable: &Variable| {
            let known = facts.value(&server.name, variable);
            Some(known.unwrap_or_else(|| sample(variable).to_owned()))
        };
        let provider = providers.get(&server.provider);
        if let (Ok(provider), Ok(options)) = (provider, server.options.resolve(&sample)) {
            let invalid = provider.validate(&options).err();
            errors.extend(invalid.map(|error| meant_for_server(manifest, server, error)));
        }
        let mut taken: BTreeMap<(u16, Protocol), &str> = BTreeMap::new();
        for container in &server.containers {
            let what = format!("container `{}`", container.name);
            let Ok(body) = container.body.resolve(&sample) else {
                continue;
            };
            let spec = match Spec::decode(&container.name, &body, &manifest.folder, &what) {
                Ok(spec) => spec,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            // A port that a variable stands for is not known yet.
            if container.body.fields_with(|_| true).contains("ports") {
                continue;
            }
            for port in &spec.ports {
                let key = (port.public, port.protocol);
                if let Some(other) = taken.insert(key, &container.name) {
                    errors.push(Invalid {
                        message: format!(
                            "{what}: the public port {} is that of `{other}` already",
                            port.public
                        ),
                        span: container.span.clone(),
                        help: Some("a port of a server is published once".to_owned()),
                    });
                }
            }
        }
    }
    errors.dedup_by(|a, b| a.span == b.span && a.span.is_some());
    errors
}

/// Something of the kind that a variable stands for.
fn sample(variable: &Variable) -> &'static str {
    match variable {
        Variable::Container(_, _, field) if field == "ports" => "80:80",
        Variable::Servers => "[]",
        // An address that is nobody's (RFC 5737).
        _ => "192.0.2.1",
    }
}

/// A key that a provider does not know may be a misspelt one of the server's own.
fn meant_for_server(manifest: &Manifest, server: &Server, mut error: Invalid) -> Invalid {
    let span = error.span.clone();
    let key = span.and_then(|span| manifest.source.text.get(span));
    if let Some(key) = key
        && let Some(help) = did_you_mean(key, KEYS)
    {
        error.message = format!("server `{}`: there is no `{key}`", server.name);
        error.help = Some(help);
    }
    error
}
