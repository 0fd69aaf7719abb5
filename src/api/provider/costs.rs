//! `provider::costs`: what servers cost at present.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use rhai::{Array, Dynamic, Map};

use crate::{
    api::call::{Answer, Call},
    core::diagnostic::Diagnostic,
    inventory::Inventory,
    project::ProjectId,
    provider::{Cost, Node, Price},
};

/// The costs of this project's servers. Those of a provider that fails are not known, and the failure is
/// reported.
pub(super) fn costs(call: &Call) -> Answer<Array> {
    let nodes = call.wait(async { Ok::<_, Diagnostic>(call.inventory.nodes().await) })?;
    let project = call.check(call.context.project.id())?;
    let project = project.as_ref().map(ProjectId::as_str);
    let mut by_provider: BTreeMap<String, Vec<Node>> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.is_of_project(project)) {
        let of_provider = by_provider.entry(node.provider.clone()).or_default();
        of_provider.push(node.clone());
    }
    let asked = by_provider
        .into_iter()
        .map(|(name, nodes)| costs_of(&call.inventory, name, nodes));
    let found = call.wait(async { Ok::<_, Diagnostic>(join_all(asked).await) })?;
    Ok(found.into_iter().flatten().collect())
}

async fn costs_of(inventory: &Inventory, provider: String, nodes: Vec<Node>) -> Vec<Dynamic> {
    let asked = async { inventory.providers.get(&provider)?.costs(&nodes).await };
    let costs = asked.await.unwrap_or_else(|error| {
        inventory.warn([error]);
        vec![Cost::Unknown; nodes.len()]
    });
    let described = nodes.iter().zip(costs);
    described
        .map(|(node, cost)| describe(node, &cost))
        .collect()
}

fn describe(node: &Node, cost: &Cost) -> Dynamic {
    let mut map = Map::new();
    let mut set = |key: &str, value: Dynamic| map.insert(key.into(), value);
    set("provider", node.provider.clone().into());
    set("name", node.name.clone().into());
    set("role", node.role().to_owned().into());
    set("size", node.size.clone().into());
    set("state", node.state.to_string().into());
    set("known", (*cost != Cost::Unknown).into());
    let none = Price::new("", 0.0, 0.0);
    let price = if let Cost::Price(price) = cost {
        price
    } else {
        &none
    };
    set("currency", price.currency.clone().into());
    set("hour", rounded(price.hour).into());
    set("month", rounded(price.month).into());
    let parts = price.parts.iter().map(|part| {
        let mut map = Map::new();
        map.insert("what".into(), part.what.clone().into());
        map.insert("hour".into(), rounded(part.hour).into());
        map.insert("month".into(), rounded(part.month).into());
        Dynamic::from_map(map)
    });
    set("parts", parts.collect::<Array>().into());
    set("tax", price.tax.clone().unwrap_or_default().into());
    let unknown = price.unknown.iter().map(|what| what.clone().into());
    set("unknown", unknown.collect::<Array>().into());
    map.into()
}

/// Rounds to a millionth: sums of prices have digits that no price has.
fn rounded(amount: f64) -> f64 {
    (amount * 1e6).round() / 1e6
}
