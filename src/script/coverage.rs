//! Which functions of a project's scripts its tests call.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use rhai::{AST, Engine, FnAccess, FuncRegistration, Module, ScriptFuncDef};

use super::unit::Unit;
use crate::core::sync::lock;

/// The function that notes a call.
const NOTE: &str = "hitc_called";

/// The functions that were called, each as its script and its name.
#[derive(Default)]
pub(super) struct Coverage {
    called: Arc<Mutex<BTreeSet<(String, String)>>>,
    is_complete: AtomicBool,
}

impl Coverage {
    /// Whether a function of a script was called.
    pub fn has(&self, script: &str, function: &str) -> bool {
        lock(&self.called).contains(&(script.to_owned(), function.to_owned()))
    }

    /// Whether scripts that are loaded from now on note no calls.
    pub fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Relaxed)
    }

    /// Lets scripts that are loaded from now on note no calls: the tests themselves.
    pub fn complete(&self) {
        self.is_complete.store(true, Ordering::Relaxed);
    }

    /// Registers the function that notes a call.
    pub fn register(&self, engine: &mut Engine) {
        let called = self.called.clone();
        FuncRegistration::new(NOTE).register_into_engine(
            engine,
            move |script: &str, function: &str| {
                lock(&called).insert((script.to_owned(), function.to_owned()));
            },
        );
    }
}

/// Returns a script in which each function first notes that it is called. Everything in it keeps its
/// position. A function for which that is impossible stays as it is.
pub(super) fn instrument(engine: &Engine, unit: &Unit) -> AST {
    let ast = &unit.ast;
    let mut functions: Module = (**ast.shared_lib()).clone();
    let imports: String = unit
        .imports
        .iter()
        .map(|import| format!("import {:?} as {}; ", import.path, import.alias))
        .collect();
    for (.., definition) in ast.shared_lib().iter_script_fn_info() {
        // The engine names closures `anon$…`.
        if definition.name.contains('$') {
            continue;
        }
        let compiled =
            noting(unit, definition, &imports).and_then(|text| engine.compile(text).ok());
        for (.., new) in compiled
            .iter()
            .flat_map(|ast| ast.shared_lib().iter_script_fn_info())
        {
            functions.set_script_fn(new.clone());
        }
    }
    let statements = ast.statements().iter().cloned();
    AST::new_with_source(statements, functions, unit.source.name.as_str())
}

/// The text of a function that notes its call. What is added is on the line before the body, which is
/// empty otherwise, so that the body keeps its position.
fn noting(unit: &Unit, definition: &ScriptFuncDef, imports: &str) -> Option<String> {
    let text = &unit.source.text;
    let (open, close) = (
        definition.body.start_position(),
        definition.body.end_position(),
    );
    let (line, column) = (open.line()?, open.position()?);
    let begin = unit.source.offset(line, column);
    let end = unit.source.offset(close.line()?, close.position()?);
    let body = text.get(begin..=end)?;
    let body = body.strip_prefix('{').filter(|body| body.ends_with('}'))?;
    let params: Vec<&str> = definition.params.iter().map(AsRef::as_ref).collect();
    let is_private = definition.access == FnAccess::Private;
    let access = if is_private { "private " } else { "" };
    let this = definition.this_type.as_ref();
    let this = this.map_or_else(String::new, |this| format!("{this:?}."));
    let head = format!(
        "{imports}{access}fn {this}{}({}) {{ {NOTE}({:?}, {:?});",
        definition.name,
        params.join(", "),
        unit.source.name,
        definition.name.as_str(),
    );
    Some(match line.checked_sub(2) {
        Some(before) => {
            let (lines, columns) = ("\n".repeat(before), " ".repeat(column));
            format!("{lines}{head}\n{columns}{body}")
        }
        // There is no line before it: in the first line, the columns of errors are wrong.
        None => format!("{head} {body}"),
    })
}

#[cfg(test)]
mod tests {
    use rhai::Scope;

    use super::*;
    use crate::core::diagnostic::Source;

    #[test]
    fn functions_note_their_calls_and_keep_their_positions() {
        let coverage = Coverage::default();
        let mut engine = Engine::new();
        coverage.register(&mut engine);
        let text = "fn first() { 1 }\n\
                    private fn inner(x) { let f = |y| x + y; f.call(1) } fn other() { 2 }\n\
                    fn outer(a, b)\n{\n    inner(a) + b\n}\nfn fails() { let x = 1;\n  throw 1 }\n";
        let unit = Unit::compile(&engine, Source::new("it", text)).unwrap();
        let ast = instrument(&engine, &unit);
        let call = |name: &str, arguments: Vec<rhai::Dynamic>| {
            engine.call_fn::<rhai::Dynamic>(&mut Scope::new(), &ast, name, arguments)
        };
        let sum = call("outer", vec![1_i64.into(), 5_i64.into()]).unwrap();
        assert_eq!(sum.as_int().unwrap(), 7);
        let has =
            ["first", "inner", "other", "outer", "fails"].map(|name| coverage.has("it", name));
        assert_eq!(has, [false, true, false, true, false]);
        assert_eq!(call("first", Vec::new()).unwrap().as_int().unwrap(), 1);
        assert!(coverage.has("it", "first"));
        let original = |name: &str| {
            let called = engine.call_fn::<rhai::Dynamic>(&mut Scope::new(), &unit.ast, name, ());
            called.unwrap_err().to_string()
        };
        assert_eq!(
            call("fails", Vec::new()).unwrap_err().to_string(),
            original("fails")
        );
    }
}
