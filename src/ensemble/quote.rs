//! Asks providers, while planning, whether they can create the planned servers and what these cost.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::{Manifest, World, operation::Operation, plan::Made, resource::ResourceName};
use crate::core::{
    diagnostic::{Diagnostic, Failure},
    value::Value,
};

/// Servers of one provider with equal options.
struct Group {
    provider: String,
    options: Value,
    names: Vec<String>,
}

/// Adds the cost of new servers to a plan. Fails if a provider cannot create one of them: because
/// of its size, its region or the quota of the account. Equal servers are quoted once.
pub async fn quote(world: &dyn World, manifest: &Manifest, made: &mut Made) -> Result<(), Failure> {
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    for step in &made.plan.steps {
        let Operation::CreateServer {
            provider,
            options,
            unfinished: None,
            ..
        } = &step.operation
        else {
            continue;
        };
        let Some(ResourceName::Server(name)) = &step.resource else {
            continue;
        };
        // Options that refer to servers that do not exist yet are checked when they are known.
        if let Ok(options) = options.resolve(&|v| made.facts.value(name, v)) {
            let key = (provider.clone(), options.to_json().to_string());
            let group = groups.entry(key).or_insert_with(|| Group {
                provider: provider.clone(),
                options,
                names: Vec::new(),
            });
            group.names.push(name.clone());
        }
    }
    let quotes = groups.values().map(async |group| {
        let name = group.names.last().map_or("", String::as_str);
        let provider = world.providers().get(&group.provider)?;
        provider.can_create()?;
        provider.quote(name, &group.options).await
    });
    let (mut costs, mut errors) = (Vec::new(), Vec::new());
    for (group, quoted) in groups.values().zip(join_all(quotes).await) {
        match quoted {
            Ok(cost) => costs.extend(
                cost.of(group.names.len())
                    .map(|cost| format!("{cost} at {}", group.provider)),
            ),
            Err(error) => {
                let name = group.names.first().map_or("", String::as_str);
                let mut error = Diagnostic::from(error);
                error.message = format!("server `{name}` cannot be created: {}", error.message);
                let span = manifest.server(name).and_then(|server| server.span.clone());
                errors.push(match span {
                    Some(span) => error.at(&manifest.source, span),
                    None => error,
                });
            }
        }
    }
    made.plan.cost = costs;
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure(errors))
    }
}
