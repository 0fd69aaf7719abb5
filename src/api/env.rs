//! `env::`: environment variables.

use std::sync::Arc;

use rhai::{EvalAltResult, ImmutableString};

use super::{Api, call::Call, namespace::Namespace};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        environment,
    },
    mock::quoted,
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut env = Namespace::new(
        api,
        "env",
        "Environment variables: those of hitc, and those in the project's `.env`. In a test, only those that
         the test sets (`test::env`).",
    );
    env.function(
        "get(name: string) -> string",
        "Returns the value of an environment variable. Throws if it is not set.",
        |call: &Call, name: ImmutableString| {
            call.check(read(&name))?.ok_or_else(|| {
                if call.mock().is_some() {
                    return unset(call, &name);
                }
                let text = format!("environment variable `{name}` is not set");
                let help = format!("set it, or write env::get(\"{name}\", \"default\")");
                call.fail(Diagnostic::new(Kind::Usage, text).help(help))
            })
        },
    );
    env.function(
        "get(name: string, default: string) -> string",
        "Returns the value of an environment variable, or the default if it is not set.",
        |call: &Call, name: ImmutableString, default: ImmutableString| {
            let value = call.check(read(&name))?;
            Ok(value.unwrap_or_else(|| default.to_string()))
        },
    );
    env
}

/// Reads an environment variable; none if it is not set. Fails if its value is not UTF-8.
pub(super) fn read(name: &str) -> Result<Option<String>, Diagnostic> {
    let value = environment::get(name);
    if value.is_none() && environment::is_not_utf8(name) {
        let text = format!("environment variable `{name}` is not valid UTF-8");
        return Err(Diagnostic::new(Kind::Usage, text));
    }
    Ok(value)
}

/// The error of a variable that a test did not set.
pub(super) fn unset(call: &Call, name: &str) -> Box<EvalAltResult> {
    let text = format!("environment variable `{name}` is not set in this test");
    call.unanswered(text, &format!("test::env({}, \"…\")", quoted(name)))
}
