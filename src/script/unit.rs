//! A compiled script and its imports.

use std::sync::Arc;

use rhai::{AST, ASTNode, Engine, Expr, ParseError, ParseErrorType, Position, Stmt};

use super::limits;
use crate::core::diagnostic::{Diagnostic, Kind, Source, did_you_mean, plain};

/// A compiled script.
pub(super) struct Unit {
    /// Its text.
    pub source: Arc<Source>,
    /// Its syntax tree.
    pub ast: AST,
    /// Its imports at the top level.
    pub imports: Vec<Import>,
}

/// `import "PATH" as ALIAS;`
pub(super) struct Import {
    pub path: String,
    pub alias: String,
    /// The position of the path.
    pub position: Position,
}

impl Unit {
    /// Compiles a script.
    pub fn compile(engine: &Engine, source: Arc<Source>) -> Result<Self, Diagnostic> {
        // Rhai has no `#!` line. Turn it into a comment, which keeps the line numbers.
        let text = match source.text.strip_prefix("#!") {
            Some(rest) => &format!("//{rest}"),
            None => &source.text,
        };
        let mut ast = engine
            .compile(text)
            .map_err(|error| explain_parse_error(engine, &source, &error))?;
        ast.set_source(source.name.as_str());
        let mut imports = Vec::new();
        ast.walk(&mut |path: &[ASTNode<'_>]| {
            if let [ASTNode::Stmt(Stmt::Import(import, _))] = path
                && let (Expr::StringConstant(path, position), alias) = &**import
            {
                imports.push(Import {
                    path: path.to_string(),
                    alias: alias.as_str().to_owned(),
                    position: *position,
                });
            }
            true
        });
        Ok(Unit {
            source,
            ast,
            imports,
        })
    }
}

/// Returns the byte range of the word at a position of a source.
pub(super) fn span(source: &Source, position: Position) -> std::ops::Range<usize> {
    let line = position.line().unwrap_or(usize::MAX);
    let offset = source.offset(line, position.position().unwrap_or(1));
    source.word_at(offset)
}

/// Turns an error of the parser into a diagnostic.
pub(super) fn explain_parse_error(
    engine: &Engine,
    source: &Arc<Source>,
    error: &ParseError,
) -> Diagnostic {
    let kind = error.err_type();
    let mut help = None;
    let message = match kind {
        ParseErrorType::VariableUndefined(name) => {
            help = Some(format!(
                "declare it with `let {name} = …`, or write `global::{name}` for a constant of \
                 the file"
            ));
            format!("undefined variable `{name}`")
        }
        ParseErrorType::ModuleUndefined(name) => {
            help = did_you_mean(name, namespaces(engine).iter().map(String::as_str))
                .or_else(|| Some(format!("import it: `import \"…\" as {name};`")));
            format!("unknown namespace `{name}`")
        }
        ParseErrorType::WrongDocComment => {
            help = Some("use `//` for other comments".to_owned());
            "misplaced `///` comment: no function follows".to_owned()
        }
        other => match limits::explain_parse(other) {
            Some((message, advice)) => {
                help = Some(advice);
                message
            }
            None => plain(other),
        },
    };
    // Errors at the end of the text have no position.
    let span = match error.position() {
        position if position.is_none() => source.text.len()..source.text.len(),
        position => span(source, position),
    };
    Diagnostic::new(Kind::Usage, message)
        .at(source, span)
        .help(help)
}

/// Returns the names of all namespaces that are registered with the engine.
fn namespaces(engine: &Engine) -> Vec<String> {
    let mut names = engine.collect_fn_metadata(
        None,
        |info| (!info.namespace.is_empty()).then(|| info.namespace.to_string()),
        false,
    );
    names.sort();
    names.dedup();
    names
}
