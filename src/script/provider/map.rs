//! Reads values of the maps that scripts return.

use rhai::{Array, Dynamic, Map};

use crate::provider::tag;

/// Returns the value of a key as text; empty if it is missing.
pub(super) fn text(map: &Map, key: &str) -> String {
    let found = map.get(key).filter(|value| !value.is_unit());
    found.map_or(String::new(), ToString::to_string)
}

/// Returns the items of a key; none if it is missing.
pub(super) fn array(map: &Map, key: &str) -> Array {
    let found = map.get(key).cloned();
    found.and_then(Dynamic::try_cast).unwrap_or_default()
}

/// Returns the texts of a key; none if it is missing.
pub(super) fn texts(map: &Map, key: &str) -> Vec<String> {
    array(map, key).iter().map(ToString::to_string).collect()
}

/// Returns the decoded value of a tag, if it is set.
pub(super) fn noted(map: &Map, key: &str) -> Option<String> {
    tag::decode(&text(map, key)).filter(|text| !text.is_empty())
}
