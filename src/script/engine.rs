//! The Rhai engine: limits, strict checks, and all functions.

use std::sync::Arc;

use rhai::{Engine, OptimizationLevel};

use super::{library::Library, limits, module::Resolver};
use crate::{
    api::{self, Api, current_host},
    core::{
        cancel::Cancel,
        event::{Event, Events, Stream},
        lines::Lines,
    },
};

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
        .disable_symbol("eval")
        .set_module_resolver(Resolver(library.clone()));
    limits::set(&mut engine, api, cancel);
    let printer = events.clone();
    engine.on_print(move |text| print(&printer, text));
    let debugger = events.clone();
    engine.on_debug(move |text, source, position| {
        let source = source.unwrap_or_default();
        debugger.note(format!("{source}:{position:?}: {text}"));
    });
    api::register(&mut engine, api);
    if let Some(coverage) = &library.coverage {
        coverage.register(&mut engine);
    }
    engine
}

/// Shows what a script prints: as it is, or for one of several hosts line by line, so that each line
/// carries the host.
fn print(events: &Events, text: &str) {
    let Some(host) = current_host() else {
        return events.emit(Event::Data(format!("{text}\n")));
    };
    let mut lines = Lines::new(events, Some(&host));
    // A text that ends with a line end, such as a page, has no empty line after it.
    let text = text.strip_suffix('\n').unwrap_or(text);
    lines.push(Stream::Stdout, text.as_bytes());
    lines.push(Stream::Stdout, b"\n");
}
