//! `json::`: text in JSON, and values.

use std::sync::Arc;

use rhai::{Dynamic, ImmutableString};

use super::{
    Api,
    call::Call,
    namespace::Namespace,
    value::{from_json, to_json},
};
use crate::core::diagnostic::{Diagnostic, Kind};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut json = Namespace::new(api, "json", "Text in JSON, and values.");
    json.function(
        "parse(text: string) -> value",
        "The value that a text in JSON stands for; null is `()`.",
        |call: &Call, text: ImmutableString| {
            let parsed = serde_json::from_str(&text)
                .map_err(|error| Diagnostic::new(Kind::Failed, format!("no JSON: {error}")));
            Ok(from_json(&call.check(parsed)?))
        },
    );
    json.function(
        "write(value) -> string",
        "A value as JSON, on one line.",
        |_: &Call, value: Dynamic| Ok(to_json(&value).to_string()),
    );
    json.function(
        "pretty(value) -> string",
        "A value as JSON, indented.",
        |_: &Call, value: Dynamic| Ok(format!("{:#}", to_json(&value))),
    );
    json
}
