//! The Rhai engine: limits, strict checks, and all functions.

use std::sync::Arc;

use rhai::{Dynamic, Engine, OptimizationLevel};

use super::{library::Library, module::Resolver};
use crate::{
    api::{self, Api, current_host},
    core::{
        cancel::Cancel,
        event::{Event, Events, Stream},
    },
};

/// How deep calls and expressions may nest; the stack of a script's thread has room for
/// that. The engine's own defaults differ between debug and release builds.
const DEPTH: usize = 64;

/// An engine that knows all namespaces, and finds imports in the library.
pub(super) fn new(
    api: &Arc<Api>,
    library: &Arc<Library>,
    events: &Events,
    cancel: &Cancel,
) -> Engine {
    let mut engine = Engine::new();
    engine
        // A misspelt variable or namespace is an error when the script is read.
        .set_strict_variables(true)
        // The optimizer drops statements that are wrong without saying so.
        .set_optimization_level(OptimizationLevel::None)
        .set_fail_on_invalid_map_property(true)
        .set_max_call_levels(DEPTH)
        .set_max_expr_depths(DEPTH, DEPTH)
        .disable_symbol("eval")
        .set_module_resolver(Resolver(library.clone()));
    let printer = events.clone();
    engine.on_print(move |text| printer.emit(printed(text)));
    let debugger = events.clone();
    engine.on_debug(move |text, source, position| {
        let source = source.unwrap_or_default();
        debugger.note(format!("{source}:{position:?}: {text}"));
    });
    let cancel = cancel.clone();
    engine.on_progress(move |_| cancel.is_killed().then_some(Dynamic::UNIT));
    api::register(&mut engine, api);
    engine
}

fn printed(text: &str) -> Event {
    match current_host() {
        None => Event::Data(format!("{text}\n")),
        host => Event::Output {
            host,
            stream: Stream::Stdout,
            line: format!("{text}\n").into_bytes(),
        },
    }
}
