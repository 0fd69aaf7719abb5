//! Quotes of one run: servers with equal options are quoted once.

use std::fmt::Write;

use super::{Cost, Error, Provider};
use crate::core::{
    memo::Memo,
    value::{Data, Value},
};

/// The quotes of providers. A manifest with a thousand servers of three sizes asks three times.
#[derive(Default)]
pub struct Quotes(Memo<Cost>);

impl Quotes {
    /// Checks with the provider whether it could create a server, and returns the cost of one. See
    /// [`Provider::quote`]. The names of all servers follow one rule, so that one is checked for all.
    pub async fn get(
        &self,
        provider: &dyn Provider,
        name: &str,
        options: &Value,
    ) -> Result<Cost, Error> {
        let mut key = format!("{} ", provider.name());
        write_options(&options.data, &mut key);
        self.0.get(&key, || provider.quote(name, options)).await
    }
}

/// Writes options in a canonical form, so that equal options are equal texts.
fn write_options(data: &Data, text: &mut String) {
    // Writing to a text does not fail.
    let _ = match data {
        Data::Null => write!(text, "null"),
        // Refused before.
        Data::Secret(_) => write!(text, "{}", crate::core::secrets::MASK),
        Data::Bool(value) => write!(text, "{value}"),
        // `1` and `"1"` mean the same to all providers.
        Data::Number(value)
        | Data::Text(value)
        | Data::Argument(value)
        | Data::Unknown(value)
        | Data::Expanded { text: value, .. } => write!(text, "{value:?}"),
        Data::List(items) => {
            text.push('[');
            for item in items {
                write_options(&item.data, text);
                text.push(',');
            }
            write!(text, "]")
        }
        Data::Map(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            text.push('{');
            for entry in entries {
                let _ = write!(text, "{:?}:", entry.key);
                write_options(&entry.value.data, text);
                text.push(',');
            }
            write!(text, "}}")
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_place_do_not_matter() {
        let written = |text: &str| {
            let mut written = String::new();
            let map = Value::text(text).to_map("x").unwrap();
            write_options(&Data::Map(map), &mut written);
            written
        };
        assert_eq!(written("size=a,image=b"), written("image=b,size=a"));
        assert_ne!(written("size=a"), written("size=b"));
    }
}
