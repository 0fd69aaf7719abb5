//! Prices of servers, and their sums.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// The cost of a server, as far as it is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// It costs nothing.
    Free,
    /// It has a cost, which the provider does not report.
    Unknown,
    /// Its price.
    Price(Price),
}

impl Cost {
    /// The cost of `count` servers, in words. None if they are free.
    pub fn of(&self, count: usize) -> Option<String> {
        match self {
            Cost::Free => None,
            Cost::Unknown => Some("the cost is not known".to_owned()),
            Cost::Price(price) => Some(price.times(count).to_string()),
        }
    }
}

/// The price of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// The code of the currency, such as `USD`.
    pub currency: String,
    /// The hourly price, in this currency.
    pub hour: f64,
    /// The monthly price. Some providers charge less for it than for its hours.
    pub month: f64,
    /// What it consists of, if that is more than the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PricePart>,
    /// The tax that it includes, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<String>,
    /// What it does not contain, because the provider does not report its price.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// A part of a price, such as the one of a public address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PricePart {
    /// What it is for.
    pub what: String,
    /// The hourly price.
    pub hour: f64,
    /// The monthly price.
    pub month: f64,
}

impl Price {
    /// The price of a server without further parts.
    pub fn new(currency: impl Into<String>, hour: f64, month: f64) -> Self {
        Price {
            currency: currency.into(),
            hour,
            month,
            parts: Vec::new(),
            tax: None,
            unknown: Vec::new(),
        }
    }

    /// The sum of parts.
    pub fn of_parts(currency: String, parts: Vec<PricePart>, tax: Option<String>) -> Self {
        Price {
            currency,
            hour: parts.iter().map(|part| part.hour).sum(),
            month: parts.iter().map(|part| part.month).sum(),
            parts,
            tax,
            unknown: Vec::new(),
        }
    }

    /// The price of `count` servers.
    #[must_use]
    pub fn times(&self, count: usize) -> Self {
        let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let part = |part: &PricePart| PricePart {
            what: part.what.clone(),
            hour: part.hour * count,
            month: part.month * count,
        };
        Price {
            currency: self.currency.clone(),
            hour: self.hour * count,
            month: self.month * count,
            parts: self.parts.iter().map(part).collect(),
            tax: self.tax.clone(),
            unknown: self.unknown.clone(),
        }
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Price {
            currency,
            hour,
            month,
            parts,
            tax,
            unknown,
        } = self;
        write!(
            f,
            "{hour:.4} {currency} an hour, {month:.2} {currency} a month"
        )?;
        let parts = parts.iter().filter(|_| parts.len() > 1);
        let parts = parts.map(|part| format!("{} {:.2}", part.what, part.month));
        let tax = tax.iter().map(|tax| format!("{tax} included"));
        let unknown = unknown.iter().map(|what| format!("{what} not known"));
        let details: Vec<String> = parts.chain(tax).chain(unknown).collect();
        if details.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", details.join(", "))
    }
}

/// A provider's price list.
#[derive(Clone, Debug, PartialEq)]
pub struct Prices {
    /// The code of the currency.
    pub currency: String,
    /// What the prices include besides the server.
    pub includes: Vec<String>,
    /// The column titles. `size` is the first one; `cost` is the hourly price.
    pub columns: Vec<String>,
    /// The rows, with one value per column; null if there is none.
    pub rows: Vec<Vec<Json>>,
    /// The monthly price of each row; null if it is not known.
    pub months: Vec<Json>,
}

/// A number for a price list. Whole numbers have no fraction.
pub fn number(number: f64) -> Json {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "prices and sizes are not so large"
    )]
    let whole = number as i64;
    if number.fract() == 0.0 {
        whole.into()
    } else {
        number.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_words() {
        let price = Price::new("USD", 0.00893, 6.0);
        assert_eq!(price.to_string(), "0.0089 USD an hour, 6.00 USD a month");
        assert_eq!(
            price.times(3).to_string(),
            "0.0268 USD an hour, 18.00 USD a month"
        );
        let part = |what: &str, hour, month| PricePart {
            what: what.to_owned(),
            hour,
            month,
        };
        let parts = vec![part("server", 0.006, 4.0), part("IPv4 address", 0.001, 0.5)];
        let price = Price::of_parts("EUR".to_owned(), parts, Some("19 % VAT".to_owned()));
        assert_eq!(
            price.times(2).to_string(),
            "0.0140 EUR an hour, 9.00 EUR a month (server 8.00, IPv4 address 1.00, 19 % VAT included)"
        );
    }
}
