//! Calls a function of a script with a frame.

use rhai::{CallFnOptions, Dynamic, Engine, Scope};

use super::{error::explain, library::Library};
use crate::{
    api::Frame,
    core::diagnostic::{Diagnostic, Failure, Kind},
};

/// The function that makes the call.
const ENTRY: &str = "hitc_entry";

/// Calls `function`, which is `MODULE::NAME` of a registered module, on the thread of the caller.
pub(super) fn call(
    engine: &Engine,
    library: &Library,
    frame: &Frame,
    function: &str,
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
        .map_err(|error| explain(engine, library, None, &error))
}
