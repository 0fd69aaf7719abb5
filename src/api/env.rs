//! `env::`: the environment of this process.

use std::sync::Arc;

use rhai::ImmutableString;

use super::{Api, call::Call, namespace::Namespace};
use crate::diagnostic::{Diagnostic, Kind};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut env = Namespace::new(api, "env", "The environment of this process.");
    env.function(
        "get(name: string) -> string",
        "The value of an environment variable. Throws if it is not set.",
        |call: &Call, name: ImmutableString| {
            std::env::var(name.as_str()).map_err(|_| {
                let text = format!("environment variable `{name}` is not set");
                let help = format!("set it, or write env::get(\"{name}\", \"default\")");
                call.fail(Diagnostic::new(Kind::Usage, text).help(help))
            })
        },
    );
    env.function(
        "get(name: string, default: string) -> string",
        "The value of an environment variable, or the default if it is not set.",
        |_: &Call, name: ImmutableString, default: ImmutableString| {
            Ok(std::env::var(name.as_str()).unwrap_or_else(|_| default.to_string()))
        },
    );
    env
}
