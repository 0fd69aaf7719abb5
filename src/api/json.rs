//! `json::`: parses and writes JSON.

use std::sync::Arc;

use rhai::{Dynamic, ImmutableString};

use super::{
    Api,
    call::Call,
    namespace::Namespace,
    value::{from_json, write},
};
use crate::core::diagnostic::{Diagnostic, Kind};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut json = Namespace::new(api, "json", "Parses and writes JSON.");
    json.function(
        "parse(text: string) -> value",
        "Parses JSON. null becomes `()`.",
        |call: &Call, text: ImmutableString| {
            let parsed = serde_json::from_str(&text)
                .map_err(|error| Diagnostic::new(Kind::Failed, format!("invalid JSON: {error}")));
            Ok(from_json(&call.check(parsed)?))
        },
    );
    json.function(
        "write(value) -> string",
        "Returns a value as JSON, on one line. If it contains a secret, so is the result.",
        |call: &Call, value: Dynamic| write(call, &value, |json| Ok(json.to_string())),
    );
    json.function(
        "pretty(value) -> string",
        "Returns a value as JSON, indented. If it contains a secret, so is the result.",
        |call: &Call, value: Dynamic| write(call, &value, |json| Ok(format!("{json:#}"))),
    );
    json
}
