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
}

impl Price {
    /// The price of `count` servers.
    #[must_use]
    pub fn times(&self, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Price {
            currency: self.currency.clone(),
            hour: self.hour * f64::from(count),
            month: self.month * f64::from(count),
        }
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Price {
            currency,
            hour,
            month,
        } = self;
        write!(
            f,
            "{hour:.4} {currency} an hour, {month:.2} {currency} a month"
        )
    }
}

/// A provider's price list.
#[derive(Clone, Debug, PartialEq)]
pub struct Prices {
    /// The code of the currency.
    pub currency: String,
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
        let price = Price {
            currency: "USD".to_owned(),
            hour: 0.00893,
            month: 6.0,
        };
        assert_eq!(price.to_string(), "0.0089 USD an hour, 6.00 USD a month");
        assert_eq!(
            price.times(3).to_string(),
            "0.0268 USD an hour, 18.00 USD a month"
        );
    }
}
