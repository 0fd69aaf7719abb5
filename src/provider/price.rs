//! Prices of servers, and their sums.

use std::{collections::BTreeMap, fmt};

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

/// The monthly cost of several servers, by currency. It is negative for a plan that terminates
/// servers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MonthlyCost {
    /// The sum in each currency.
    pub sums: BTreeMap<String, f64>,
    /// How many servers have a cost that is not known.
    pub unknown: usize,
}

impl MonthlyCost {
    /// Adds the cost of one more server.
    pub fn add(&mut self, cost: &Cost) {
        self.change(cost, 1.0);
    }

    /// Subtracts the cost of a server that will be terminated.
    pub fn subtract(&mut self, cost: &Cost) {
        self.change(cost, -1.0);
    }

    fn change(&mut self, cost: &Cost, factor: f64) {
        match cost {
            Cost::Free => {}
            Cost::Unknown => self.unknown += 1,
            Cost::Price(price) => {
                *self.sums.entry(price.currency.clone()).or_default() += factor * price.month;
            }
        }
    }

    /// Whether the cost does not change: all servers are free, or new servers replace others of
    /// equal cost.
    pub fn is_nothing(&self) -> bool {
        self.unknown == 0 && self.sums.values().all(|sum| sum.abs() < HALF_A_CENT)
    }
}

/// Smaller costs are shown as zero.
const HALF_A_CENT: f64 = 0.005;

impl fmt::Display for MonthlyCost {
    /// Such as `+18.00 USD a month`. Signed, as a change.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.sums.iter().filter(|(_, sum)| sum.abs() >= HALF_A_CENT);
        let mut parts: Vec<String> = shown
            .map(|(currency, sum)| format!("{sum:+.2} {currency} a month"))
            .collect();
        match self.unknown {
            0 => {}
            1 => parts.push("1 server of unknown cost".to_owned()),
            count => parts.push(format!("{count} servers of unknown cost")),
        }
        if parts.is_empty() {
            return f.write_str("no change in cost");
        }
        f.write_str(&parts.join(", "))
    }
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
    fn sums_by_currency() {
        let price = |currency: &str, month| {
            Cost::Price(Price {
                currency: currency.to_owned(),
                hour: 0.0,
                month,
            })
        };
        let mut cost = MonthlyCost::default();
        assert_eq!(cost.to_string(), "no change in cost");
        cost.add(&Cost::Free);
        assert!(cost.is_nothing());
        cost.add(&price("USD", 6.0));
        cost.add(&price("USD", 12.0));
        cost.subtract(&price("EUR", 4.5));
        assert_eq!(cost.to_string(), "-4.50 EUR a month, +18.00 USD a month");
        cost.add(&Cost::Unknown);
        assert_eq!(
            cost.to_string(),
            "-4.50 EUR a month, +18.00 USD a month, 1 server of unknown cost"
        );
        let mut equal = MonthlyCost::default();
        equal.add(&price("USD", 6.0));
        equal.subtract(&price("USD", 6.0));
        assert!(equal.is_nothing());
    }

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
