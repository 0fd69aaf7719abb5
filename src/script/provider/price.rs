//! Prices, costs, and what an account may do.

use rhai::{Array, Dynamic, Map};

use super::{
    Scripted,
    map::{array, text, texts},
};
use crate::{
    api::to_json,
    core::value::Value,
    provider::{Cost, Error, Finding, Node, Price, PricePart, Prices, Verdict},
};

impl Scripted {
    /// What servers cost at present.
    pub(super) async fn present_costs(&self, nodes: &[Node]) -> Result<Vec<Cost>, Error> {
        if !self.0.has("costs") {
            return Ok(vec![Cost::Unknown; nodes.len()]);
        }
        let described: Array = nodes.iter().map(|node| self.describe(node)).collect();
        let found = self.call("costs", vec![described.into()]).await?;
        let found = found.try_cast::<Map>().unwrap_or_default();
        let of = |node: &Node| {
            let found = found.get(node.id.as_str()).cloned();
            let found = found.and_then(Dynamic::try_cast::<Map>);
            found.map_or(Cost::Unknown, |found| cost(&found))
        };
        Ok(nodes.iter().map(of).collect())
    }

    /// The price list.
    pub(super) async fn price_list(&self, options: &Value) -> Result<Prices, Error> {
        self.ready().await?;
        if !self.0.has("prices") {
            return Err(Error::Unsupported {
                provider: self.0.name.clone(),
                what: "list prices",
                help: format!("`{}` has no function `prices`", self.0.file),
            });
        }
        let options = self.0.options(options)?;
        let list = self.call("prices", vec![options.into()]).await?;
        let list = list.try_cast::<Map>().unwrap_or_default();
        let columns = texts(&list, "columns");
        let (mut rows, mut months) = (Vec::new(), Vec::new());
        for row in array(&list, "rows") {
            let row = row.try_cast::<Map>().unwrap_or_default();
            let cell = |key: &str| row.get(key).map(to_json).unwrap_or_default();
            rows.push(columns.iter().map(|column| cell(column)).collect());
            months.push(cell("month"));
        }
        Ok(Prices {
            currency: text(&list, "currency"),
            includes: texts(&list, "includes"),
            columns,
            rows,
            months,
        })
    }
}

/// Converts what the script found out about the account.
pub(super) fn finding(found: Dynamic) -> Finding {
    let map = found.try_cast::<Map>().unwrap_or_default();
    let verdict = match text(&map, "result").as_str() {
        "ok" => Verdict::Ok,
        "missing" => Verdict::Missing,
        _ => Verdict::Unknown,
    };
    Finding::new(&text(&map, "what"), verdict, text(&map, "detail"))
}

/// Converts a cost that the script returned: the price of an hour and a month, or of each of its parts.
pub(super) fn cost(map: &Map) -> Cost {
    let price_of = |map: &Map| -> Option<(f64, f64)> {
        let number = |key: &str| map.get(key)?.as_float().ok();
        Some((number("hour")?, number("month")?))
    };
    let parts = array(map, "parts");
    let parts: Option<Vec<PricePart>> = parts
        .into_iter()
        .map(|part| {
            let part = part.try_cast::<Map>()?;
            let (hour, month) = price_of(&part)?;
            let what = text(&part, "what");
            Some(PricePart { what, hour, month })
        })
        .collect();
    let currency = text(map, "currency");
    let tax = Some(text(map, "tax")).filter(|tax| !tax.is_empty());
    let mut price = match (parts, price_of(map)) {
        (Some(parts), _) if !parts.is_empty() => Price::of_parts(currency, parts, tax),
        (Some(_), Some((hour, month))) => Price::new(currency, hour, month),
        _ => return Cost::Unknown,
    };
    price.unknown = texts(map, "unknown");
    Cost::Price(price)
}
