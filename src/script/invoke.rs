//! Calls a function of a script with a frame.

use rhai::{CallFnOptions, Dynamic, Engine, EvalAltResult, Scope};

use super::{error::explain, library::Library, recursion::recursive_call, task::Task, unit::span};
use crate::{
    api::Frame,
    core::diagnostic::{Diagnostic, Failure, Kind},
};

/// The function that makes the call.
const ENTRY: &str = "hitc_entry";

/// Calls `function`, which is `MODULE::NAME` of a registered module, on the thread of the caller. `task` is
/// the task that it is, if it is one.
pub(super) fn call(
    engine: &Engine,
    library: &Library,
    frame: &Frame,
    function: &str,
    task: Option<&Task>,
    arguments: Vec<Dynamic>,
) -> Result<Dynamic, Failure> {
    // The engine calls functions of a module by script only, and takes a tag for functions only.
    let names: Vec<String> = (0..arguments.len()).map(|at| format!("a{at}")).collect();
    let names = names.join(", ");
    let text = format!("fn {ENTRY}({names}) {{ {function}({names}) }}");
    let ast = engine
        .compile(text)
        .map_err(|error| Diagnostic::new(Kind::Failed, error.to_string()))?;
    let options = CallFnOptions::new().eval_ast(false).with_tag(frame.clone());
    engine
        .call_fn_with_options(options, &mut Scope::new(), &ast, ENTRY, arguments)
        .map_err(|error| {
            let mut failure = explain(engine, library, None, &error);
            if let (EvalAltResult::ErrorStackOverflow(_), Some(task)) = (&*error, task) {
                locate_recursion(&mut failure, library, task);
            }
            failure
        })
}

/// Adds the place of a call that nests without end to an error that has none.
fn locate_recursion(failure: &mut Failure, library: &Library, task: &Task) {
    let file = &task.source.name;
    let unit = library.compiled(file);
    let Some(unit) = unit.filter(|_| !Library::is_embedded(file)) else {
        return;
    };
    let Some(position) = recursive_call(&unit, &task.name) else {
        return;
    };
    for error in failure
        .0
        .iter_mut()
        .filter(|error| error.excerpts.is_empty())
    {
        *error = error.clone().at(&unit.source, span(&unit.source, position));
    }
}
