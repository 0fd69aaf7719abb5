//! `yaml::`: parses and writes YAML.

use std::sync::Arc;

use rhai::{Dynamic, ImmutableString};

use super::{
    Api,
    call::Call,
    namespace::Namespace,
    value::{from_json, write},
};
use crate::{
    core::diagnostic::{Diagnostic, Kind, Source},
    ensemble,
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut yaml = Namespace::new(api, "yaml", "Parses and writes YAML.");
    yaml.function(
        "parse(text: string) -> value",
        "Parses YAML. `yes`, `no`, `on` and `off` are text.",
        |call: &Call, text: ImmutableString| {
            let source = Source::new("the text", text.as_str());
            Ok(from_json(
                &call.check(ensemble::parse_yaml(&source))?.to_json(),
            ))
        },
    );
    yaml.function(
        "write(value) -> string",
        "Returns a value as YAML. If it contains a secret, so is the result.",
        |call: &Call, value: Dynamic| {
            write(call, &value, |json| {
                let text = serde_saphyr::to_string(json);
                text.map_err(|error| Diagnostic::new(Kind::Failed, error.to_string()))
            })
        },
    );
    yaml
}
