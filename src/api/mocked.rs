//! Calls of functions in a test of scripts.

use std::any::TypeId;

use rhai::{Array, Dynamic, EvalAltResult, FnPtr, Variant};

use super::{
    call::{Answer, Call},
    failure::innermost,
    functions::{Effect, Entry},
};
use crate::core::diagnostic::{Diagnostic, Kind};

/// Calls a function in a test. `own` is the function itself, which contacts nothing.
pub(super) fn call_in_test<R: Variant + Clone>(
    call: &Call,
    entry: &Entry,
    arguments: Array,
    own: impl FnOnce() -> Answer<R>,
) -> Answer<R> {
    let functions = &call.api.functions;
    functions.record(&entry.name, &arguments);
    let Some(result) = functions.result(&entry.name) else {
        if entry.effect != Effect::Asks {
            return own();
        }
        let text = format!("`{}` has no answer in this test", entry.name);
        let help = format!("test::mock(\"{}\", {})", entry.name, entry.example());
        return Err(call.unanswered(text, &help));
    };
    if entry.effect == Effect::Changes {
        // Checks the arguments, and records the change.
        own()?;
    }
    match result.clone().try_cast::<FnPtr>() {
        Some(action) => {
            let value = call_closure(call, &action, arguments)?;
            let is_ignored = TypeId::of::<R>() == TypeId::of::<()>();
            let value = if is_ignored { Dynamic::UNIT } else { value };
            convert(call, entry, value)
        }
        None => convert(call, entry, result),
    }
}

/// Calls a closure, which may have fewer parameters than the function.
fn call_closure(call: &Call, action: &FnPtr, mut arguments: Array) -> Answer<Dynamic> {
    loop {
        let called = action.call_within_context::<Dynamic>(call.script, arguments.clone());
        match called {
            Err(error) if !arguments.is_empty() && lacks(&error, action.fn_name()) => {
                arguments.pop();
            }
            other => return other,
        }
    }
}

/// Whether there is no form of a function with this number of parameters.
fn lacks(error: &EvalAltResult, name: &str) -> bool {
    matches!(innermost(error), EvalAltResult::ErrorFunctionNotFound(signature, _) if signature.starts_with(name))
}

/// Converts the answer of a test to the type of the function's result.
fn convert<R: Variant + Clone>(call: &Call, entry: &Entry, value: Dynamic) -> Answer<R> {
    #[expect(clippy::cast_precision_loss, reason = "the value of a test")]
    let value = match value.as_int() {
        Ok(number) if TypeId::of::<R>() == TypeId::of::<f64>() => (number as f64).into(),
        _ => value,
    };
    let found = value.type_name();
    value.try_cast::<R>().ok_or_else(|| {
        let expected = match entry.result.as_str() {
            "()" => "nothing",
            other => other,
        };
        let name = &entry.name;
        let text = format!("`{name}` returns {expected}, and the answer of the test is: {found}");
        call.fail(Diagnostic::new(Kind::Usage, text))
    })
}
