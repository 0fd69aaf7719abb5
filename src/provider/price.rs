//! What servers cost.

use std::fmt;

use serde_json::Value as Json;

/// What is known of what a server costs.
#[derive(Clone, Debug, PartialEq)]
pub enum Cost {
    /// Nothing.
    Free,
    /// Something; nobody says how much.
    Unknown,
    /// So much.
    Price(Price),
}

impl Cost {
    /// What so many servers cost, in words; none if nothing.
    pub fn of(&self, count: usize) -> Option<String> {
        match self {
            Cost::Free => None,
            Cost::Unknown => Some("what that costs is not known".to_owned()),
            Cost::Price(price) => Some(price.times(count).to_string()),
        }
    }
}

/// What one server costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// The code of the currency, such as `USD`.
    pub currency: String,
    /// In this currency.
    pub hour: f64,
    /// The same; what is used for a whole month may cost less than its hours.
    pub month: f64,
}

impl Price {
    /// What so many servers cost.
    #[must_use]
    pub fn times(&self, count: usize) -> Self {
        // Nobody has so many servers that it matters.
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
    /// The titles; `size` comes first, and `cost` is what an hour costs.
    pub columns: Vec<String>,
    /// One value a column, null where there is none.
    pub rows: Vec<Vec<Json>>,
    /// What a month of each row costs, null where that is not known.
    pub months: Vec<Json>,
}

/// A number for such a list: a whole one without a fraction.
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
