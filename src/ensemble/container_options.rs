//! What a manifest says of one container, as options of `docker::run`.

use std::path::Path;

use super::{
    Invocation, Manifest,
    manifest::{Facts, Variable},
    observe,
    operation::Options,
    resource::container::decode,
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind, did_you_mean},
        owner::Owner,
        secrets::SecretText,
        value::{Data, Value},
    },
    docker::Image,
};

/// The options of the container `name` (`web.shop`) of the manifest at `path`, with its variables
/// resolved: those of a container, and `name`, `manifest`, `masked` and `replace`. A container that `docker::run`
/// makes of them is equal to the manifest's. Servers are contacted only if variables need them.
///
/// # Errors
/// A container that is not in the manifest, and variables whose values are not known because what they
/// refer to does not run.
pub async fn container(
    invocation: &Invocation<'_>,
    path: &Path,
    name: &str,
) -> Result<Vec<(String, Value)>, Failure> {
    // Once for each host: without the warnings.
    let (manifest, owner) = invocation.load_quietly(path, false)?;
    // Names of containers have no dots; addresses of servers have.
    let (server, short) = name.rsplit_once('.').unwrap_or(("", name));
    let container = manifest
        .container(server, short)
        .ok_or_else(|| not_found(&manifest, name))?;
    let mut facts = Facts::of(&manifest);
    let known = container
        .body
        .resolve(&|variable| facts.value(server, variable));
    let value = match known {
        Ok(value) => value,
        Err(_) => {
            observe_into(&mut facts, invocation, &manifest, &owner).await?;
            let known = |variable: &Variable| facts.value(server, variable);
            container.body.resolve(&known).map_err(|unknown| {
                let names: Vec<String> = unknown.iter().map(ToString::to_string).collect();
                let message = format!("`{name}`: the value of {} is unknown", names.join(", "));
                Diagnostic::new(Kind::Failed, message)
                    .help("bring up what it refers to with ensemble.up".to_owned())
            })?
        }
    };
    let options = Options::from(&container.body);
    let spec = decode(&manifest, short, &options, &value, container.span.clone())?;
    let text = |text: &str| Value::new(Data::Text(text.to_owned()));
    let mut entries = vec![
        ("name".to_owned(), text(short)),
        ("manifest".to_owned(), text(&manifest.id)),
        ("replace".to_owned(), Value::new(Data::Bool(true))),
    ];
    for entry in value.into_map("options").map_err(Diagnostic::from)? {
        match (entry.key.as_str(), &spec.image) {
            // Both are in the variables of the spec.
            ("environment" | "env_file", _) => {}
            // A task may run in another folder.
            ("build", Image::Built { folder, .. }) => {
                let folder = folder.canonicalize().unwrap_or_else(|_| folder.clone());
                entries.push((entry.key, text(&folder.to_string_lossy())));
            }
            _ => entries.push((entry.key, entry.value)),
        }
    }
    if !spec.masked.is_empty() {
        let fields = spec.masked.iter().map(|field| text(field)).collect();
        entries.push(("masked".to_owned(), Value::new(Data::List(fields))));
    }
    let masked: Vec<&String> = spec.masked_environment().map(|(name, _)| name).collect();
    let variables = spec.options.environment().iter().map(|(name, value)| {
        let data = if masked.contains(&name) {
            Data::Secret(SecretText(value.as_str().into()))
        } else {
            Data::Text(value.clone())
        };
        (name.clone(), Value::new(data))
    });
    let variables = Value::map(variables);
    if !spec.options.environment().is_empty() {
        entries.push(("environment".to_owned(), variables));
    }
    Ok(entries)
}

/// Adds what is known of the servers and containers that run.
async fn observe_into(
    facts: &mut Facts,
    invocation: &Invocation<'_>,
    manifest: &Manifest,
    owner: &Owner,
) -> Result<(), Failure> {
    let observed = observe(invocation.world, manifest, owner).await?;
    for (name, state) in &observed.servers {
        facts.server(&state.node);
        let ours = state.engine.containers().iter();
        for found in ours.filter(|found| found.ownership().is(owner)) {
            facts.container(name, found);
        }
    }
    Ok(())
}

fn not_found(manifest: &Manifest, name: &str) -> Diagnostic {
    let names: Vec<String> = manifest
        .servers
        .iter()
        .flat_map(|server| {
            let of = |container: &super::Container| format!("{}.{}", server.name, container.name);
            server.containers.iter().map(of)
        })
        .collect();
    let message = format!(
        "container `{name}` not found in manifest `{}`",
        manifest.name
    );
    let names = names.iter().map(String::as_str);
    Diagnostic::new(Kind::Usage, message).help(
        did_you_mean(name, names)
            .unwrap_or_else(|| "write SERVER.CONTAINER, such as web.shop".to_owned()),
    )
}
