//! Converts between values of scripts and values of the layers below.

use rhai::{Array, Dynamic, Engine, FuncRegistration, Map};

use super::{
    call::{Answer, Call},
    secret,
};
use crate::core::{
    diagnostic::{Diagnostic, Kind},
    secrets::MASK,
    table::Table,
    value::{Data, SECRETS_HELP, Value},
};

/// A table, as scripts see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScriptTable(pub Table);

/// Registers the types that are more than maps and arrays.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<ScriptTable>("Table");
    for name in ["to_string", "to_debug"] {
        FuncRegistration::new(name)
            .with_comments(["/// The table as text, its columns aligned."])
            .register_into_engine(engine, |table: &mut ScriptTable| table.0.to_string());
    }
}

/// Converts a script value to options.
pub(super) fn to_value(value: &Dynamic) -> Value {
    let data = if value.is_unit() {
        Data::Null
    } else if let Ok(b) = value.as_bool() {
        Data::Bool(b)
    } else if value.is_int() || value.is_float() {
        Data::Number(value.to_string())
    } else if let Some(items) = value.read_lock::<Array>() {
        Data::List(items.iter().map(to_value).collect())
    } else if let Some(map) = value.read_lock::<Map>() {
        to_options(&map).data
    } else if let Some(secret) = value.read_lock::<secret::Secret>() {
        Data::Secret(secret.0.clone())
    } else {
        Data::Argument(value.to_string())
    };
    Value { data, span: None }
}

/// Converts JSON to a script value.
pub(super) fn from_json(value: &serde_json::Value) -> Dynamic {
    match value {
        serde_json::Value::Null => Dynamic::UNIT,
        serde_json::Value::Bool(b) => (*b).into(),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.into(),
            (None, Some(float)) => float.into(),
            (None, None) => number.to_string().into(),
        },
        serde_json::Value::String(text) => text.clone().into(),
        serde_json::Value::Array(items) => items.iter().map(from_json).collect::<Array>().into(),
        serde_json::Value::Object(entries) => {
            let entries = entries.iter();
            let map: Map = entries
                .map(|(key, value)| (key.as_str().into(), from_json(value)))
                .collect();
            map.into()
        }
    }
}

/// Converts a script value to JSON. Secrets in it are masked.
pub fn to_json(value: &Dynamic) -> serde_json::Value {
    to_value(value).to_json()
}

/// Converts a script's map to options.
pub(super) fn to_options(map: &Map) -> Value {
    Value::map(
        map.iter()
            .map(|(key, value)| (key.as_str(), to_value(value))),
    )
}

/// Writes a script value with `write`. If it contains a secret, the result is one, too.
pub(super) fn write(
    call: &Call,
    value: &Dynamic,
    write: impl FnOnce(&serde_json::Value) -> Result<String, Diagnostic>,
) -> Answer<Dynamic> {
    let value = to_value(value);
    let text = call.check(write(&value.to_revealed_json()))?;
    Ok(if value.has_secret() {
        Dynamic::from(secret::create(call, &text))
    } else {
        text.into()
    })
}

/// The items of a list as texts. A secret is an error.
pub(super) fn texts(call: &Call, list: &[Dynamic]) -> Answer<Vec<String>> {
    let function = call.script.fn_name();
    let text = |item: &Dynamic| {
        if secret::text_of(item).is_some() {
            let message = format!("{function}: a secret cannot be used here");
            let error = Diagnostic::new(Kind::Usage, message);
            return Err(call.fail(error.help(SECRETS_HELP.to_owned())));
        }
        Ok(item.to_string())
    };
    list.iter().map(text).collect()
}

/// Creates a map of texts for scripts.
pub(super) fn text_map<const N: usize>(pairs: [(&str, String); N]) -> Map {
    pairs
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

/// Returns the table if a value was created by `ui::table`.
pub fn to_table(value: &Dynamic) -> Option<Table> {
    value
        .read_lock::<ScriptTable>()
        .map(|table| table.0.clone())
}

/// Creates a table from these keys of the maps. A missing value is an empty cell.
pub(super) fn table(columns: Vec<String>, maps: &[Map]) -> Table {
    let text = |value: &Dynamic| match secret::text_of(value) {
        Some(_) => MASK.to_owned(),
        None => value.to_string(),
    };
    let cell = |map: &Map, column: &String| match map.get(column.as_str()) {
        None => String::new(),
        Some(value) if value.is_unit() => String::new(),
        Some(value) => match value.read_lock::<Array>() {
            Some(items) => {
                let items: Vec<String> = items.iter().map(text).collect();
                items.join(", ")
            }
            None => text(value),
        },
    };
    let row = |map| columns.iter().map(|column| cell(map, column)).collect();
    let rows = maps.iter().map(row).collect();
    let data = maps.iter().map(|map| match to_options(map).to_json() {
        serde_json::Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    });
    Table {
        columns,
        rows,
        data: data.collect(),
    }
}
