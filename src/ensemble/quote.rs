//! Asks providers, while planning, whether they can create the planned servers and what these cost.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::{
    Manifest, Observed, World,
    operation::{Operation, Options},
    plan::Made,
    resource::ResourceName,
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure},
        value::Value,
    },
    provider::{Error, Node},
};

/// Servers of one provider with equal options.
struct Group {
    provider: String,
    options: Value,
    names: Vec<String>,
}

/// Adds to a plan what its new servers cost. Fails if a provider cannot create one of them, for its
/// size, its region or the account's quota, or cannot resize a server. Equal new servers are asked for
/// once.
pub async fn quote(
    world: &dyn World,
    manifest: &Manifest,
    observed: &Observed,
    made: &mut Made,
) -> Result<(), Failure> {
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    let mut resizes: Vec<(&Node, Value)> = Vec::new();
    for step in &made.plan.steps {
        let Some(ResourceName::Server(name)) = &step.resource else {
            continue;
        };
        // Options that refer to servers that do not exist yet are checked when they are known.
        let resolve = |options: &Options| options.resolve(&|v| made.facts.value(name, v)).ok();
        match &step.operation {
            Operation::CreateServer {
                provider,
                options,
                unfinished: None,
                ..
            } => {
                if let Some(options) = resolve(options) {
                    let key = (provider.clone(), options.to_json().to_string());
                    let group = groups.entry(key).or_insert_with(|| Group {
                        provider: provider.clone(),
                        options,
                        names: Vec::new(),
                    });
                    group.names.push(name.clone());
                }
            }
            Operation::ResizeServer { options, .. } => {
                let existing = observed.servers.get(name);
                resizes.extend(existing.map(|state| &state.node).zip(resolve(options)));
            }
            _ => {}
        }
    }
    let quotes = groups.values().map(async |group| {
        let name = group.names.last().map_or("", String::as_str);
        let provider = world.providers().get(&group.provider)?;
        provider.can_create()?;
        provider.quote(name, &group.options).await
    });
    let checks = resizes.iter().map(async |(node, options)| {
        let provider = world.providers().of(node)?;
        provider.check_resize(node, options).await
    });
    let (quotes, checks) = tokio::join!(join_all(quotes), join_all(checks));
    let refusal = |name: &str, what: &str, error: Error| {
        let mut error = Diagnostic::from(error);
        error.message = format!("server `{name}` cannot be {what}: {}", error.message);
        let span = manifest.server(name).and_then(|server| server.span.clone());
        match span {
            Some(span) => error.at(&manifest.source, span),
            None => error,
        }
    };
    let (mut costs, mut errors) = (Vec::new(), Vec::new());
    for (group, quoted) in groups.values().zip(quotes) {
        match quoted {
            Ok(cost) => costs.extend(
                cost.of(group.names.len())
                    .map(|cost| format!("{cost} at {}", group.provider)),
            ),
            Err(error) => {
                let name = group.names.first().map_or("", String::as_str);
                errors.push(refusal(name, "created", error));
            }
        }
    }
    for ((node, _), checked) in resizes.iter().zip(checks) {
        let refused = checked.err();
        errors.extend(refused.map(|error| refusal(&node.name, "resized", error)));
    }
    made.plan.cost = costs;
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure(errors))
    }
}
