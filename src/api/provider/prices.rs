//! `provider::prices`: the price lists of providers.

use futures_util::future::join_all;
use rhai::{Array, Dynamic, Map};

use crate::{
    api::{
        call::{Answer, Call},
        value::{from_json, to_options},
    },
    core::{
        diagnostic::Diagnostic,
        value::{Data, Fields, Value},
    },
    inventory::Inventory,
    provider::{self, Prices},
};

pub(super) fn prices(call: &Call, options: &Map) -> Answer<Array> {
    let asked = async {
        let mut fields = Fields::new(&to_options(options), "pricing")?;
        let text = |value: &Value, what: &str| value.to_text(what);
        let named = fields.decode("provider", text)?;
        let Some(name) = named else {
            fields.finish().map_err(|error| {
                error
                    .help("options depend on the provider; name it with `provider=NAME`".to_owned())
            })?;
            return Ok(all_prices(&call.inventory).await);
        };
        let provider = call.inventory.providers.get(&name)?;
        let options = Value {
            data: Data::Map(fields.rest()),
            span: None,
        };
        provider.validate(&options)?;
        let prices = provider.prices(&options).await?;
        Ok::<_, Diagnostic>(vec![(name, prices)])
    };
    let lists = call.wait(asked)?;
    Ok(lists
        .iter()
        .map(|(name, prices)| list(name, prices))
        .collect())
}

/// Returns the price lists of all configured providers that have one. A provider that fails is
/// reported and does not hide the others.
async fn all_prices(inventory: &Inventory) -> Vec<(String, Prices)> {
    let none = Value::empty_map();
    let ask = async |name: String| {
        let provider = inventory.providers.get(&name)?;
        let prices = provider.prices(&none).await?;
        Ok::<_, provider::Error>((name, prices))
    };
    let answers = join_all(inventory.providers.names().into_iter().map(ask)).await;
    let mut lists = Vec::new();
    for answer in answers {
        match answer {
            Ok(prices) => lists.push(prices),
            Err(provider::Error::NotConfigured { .. } | provider::Error::Unsupported { .. }) => {}
            Err(error) => inventory.warn([error]),
        }
    }
    lists
}

fn list(name: &str, prices: &Prices) -> Dynamic {
    let row = |(row, month): (&Vec<serde_json::Value>, &serde_json::Value)| -> Dynamic {
        let cells = prices.columns.iter().zip(row);
        let cells = cells.map(|(column, cell)| (column.as_str().into(), from_json(cell)));
        let mut map: Map = cells.collect();
        map.insert("month".into(), from_json(month));
        map.into()
    };
    let rows = prices.rows.iter().zip(&prices.months).map(row);
    let columns = prices.columns.iter().map(|column| column.clone().into());
    let mut map = Map::new();
    map.insert("provider".into(), name.into());
    map.insert("currency".into(), prices.currency.clone().into());
    let includes = prices.includes.iter().map(|text| text.clone().into());
    map.insert("includes".into(), includes.collect::<Array>().into());
    map.insert("columns".into(), columns.collect::<Array>().into());
    map.insert("rows".into(), rows.collect::<Array>().into());
    map.into()
}
