//! The interpreter of `hitc console`: evaluates one input at a time.

use rhai::{AST, Dynamic, Engine, ParseErrorType, Scope};

use super::{
    Scripts,
    error::explain,
    library::Library,
    reference::{Namespace, explain as explain_function},
    unit::explain_parse_error,
};
use crate::{
    api::to_table,
    core::diagnostic::{Diagnostic, Failure, Kind, Source},
    fleet::alone,
};

/// The name of the input in errors.
const NAME: &str = "console";

/// An interpreter that keeps variables and functions between inputs.
pub struct Console<'a> {
    engine: &'a Engine,
    library: &'a Library,
    scope: Scope<'static>,
    functions: AST,
    words: Vec<String>,
    namespaces: Vec<Namespace>,
}

impl<'a> Console<'a> {
    /// Creates an interpreter with the functions of the hitcfile and of its imports.
    pub fn new(scripts: &'a mut Scripts) -> Result<Self, Failure> {
        let words = scripts.share_functions()?;
        let namespaces = scripts.reference()?;
        let (engine, library) = scripts.parts();
        Ok(Console {
            engine,
            library,
            scope: Scope::new(),
            functions: AST::empty(),
            words,
            namespaces,
        })
    }

    /// Returns the words to complete: the functions of all namespaces.
    pub fn words(&self) -> Vec<String> {
        self.words.clone()
    }

    /// Returns the help text of a function or namespace. None if the name is unknown.
    pub fn help(&self, name: &str) -> Option<String> {
        explain_function(&self.namespaces, name)
    }

    /// Whether more lines must follow, because a bracket or string is not closed.
    pub fn is_incomplete(&self, text: &str) -> bool {
        match self.engine.compile_with_scope(&self.scope, text) {
            Ok(_) => false,
            Err(error) => {
                let at_end = match error.position() {
                    position if position.is_none() => true,
                    position => position.line() > Some(text.trim_end().lines().count()),
                };
                let unclosed = matches!(
                    error.err_type(),
                    ParseErrorType::MissingToken(..) | ParseErrorType::UnexpectedEOF
                );
                at_end && unclosed
            }
        }
    }

    /// A value as scripts print it in lists.
    fn text_of(&self, value: Dynamic) -> String {
        let fallback = value.to_string();
        let mut scope = Scope::new();
        scope.push_dynamic("value", value);
        let text = self.engine.eval_with_scope(&mut scope, "to_debug(value)");
        text.unwrap_or(fallback)
    }

    /// Evaluates an input. Returns its value as text; none if it has no value.
    pub fn eval(&mut self, text: &str) -> Result<Option<String>, Failure> {
        let source = Source::new(NAME, text);
        let mut ast = self
            .engine
            .compile_with_scope(&self.scope, text)
            .map_err(|error| explain_parse_error(self.engine, &source, &error))?;
        ast.set_source(NAME);
        let whole = self.functions.merge(&ast);
        self.functions = self.functions.merge(&ast.clone_functions_only());
        let (engine, scope) = (self.engine, &mut self.scope);
        let value: Dynamic = alone(|| engine.eval_ast_with_scope(scope, &whole))
            .map_err(|error| Diagnostic::new(Kind::Failed, format!("internal error: {error}")))?
            .map_err(|error| explain(self.engine, self.library, None, &error))?;
        Ok(match to_table(&value) {
            Some(table) => Some(table.to_string()),
            None if value.is_unit() => None,
            None => Some(self.text_of(value)),
        })
    }
}
