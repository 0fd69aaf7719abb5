//! Evaluates scripts into modules, and resolves imports.

use std::{cell::RefCell, sync::Arc};

use rhai::{Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared};

use super::{coverage::instrument, error::explain, library::Library};
use crate::{
    api::throw,
    core::diagnostic::{Diagnostic, Failure, Kind},
};

thread_local! {
    /// The scripts that this thread is importing, the outermost first.
    static IMPORTING: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl Library {
    /// Returns a script as a module. Its top level runs once.
    pub fn module(&self, engine: &Engine, name: &str) -> Result<Shared<Module>, Failure> {
        if let Some(module) = self.modules().get(name) {
            return Ok(module.clone());
        }
        let _import = Import::begin(name)?;
        let unit = self.unit(engine, name)?;
        let coverage = self.coverage.as_ref();
        let is_noted =
            coverage.is_some_and(|coverage| !coverage.is_complete()) && !Library::is_embedded(name);
        let noting = is_noted.then(|| instrument(engine, &unit));
        let ast = noting.as_ref().unwrap_or(&unit.ast);
        let module = Module::eval_ast_as_new(Scope::new(), ast, engine)
            .map_err(|error| explain(engine, self, Some(name), &error))?;
        let module: Shared<Module> = module.into();
        self.modules().insert(name.to_owned(), module.clone());
        Ok(module)
    }
}

/// A running import. Detects cycles, in which the engine would recurse until the stack overflows.
struct Import;

impl Import {
    fn begin(name: &str) -> Result<Self, Diagnostic> {
        IMPORTING.with_borrow_mut(|names| {
            if let Some(first) = names.iter().position(|other| other == name) {
                let mut cycle = names[first..].to_vec();
                cycle.push(name.to_owned());
                let message = format!("cyclic imports: {}", cycle.join(" → "));
                return Err(Diagnostic::new(Kind::Usage, message)
                    .help("move what both scripts need to a third script".to_owned()));
            }
            names.push(name.to_owned());
            Ok(Import)
        })
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        IMPORTING.with_borrow_mut(Vec::pop);
    }
}

/// Resolves imports of scripts to modules of the library.
pub(super) struct Resolver(pub Arc<Library>);

impl ModuleResolver for Resolver {
    fn resolve(
        &self,
        engine: &Engine,
        source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let located = self.0.locate(source, path).map_err(Failure::from);
        located
            .and_then(|name| self.0.module(engine, &name))
            .map_err(|failure| throw(failure, position))
    }
}
