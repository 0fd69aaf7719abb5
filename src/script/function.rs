//! The functions of a script: signature, doc comment, and place in the text.

use std::ops::Range;

use rhai::{AST, FnAccess, Position, ScriptFuncDef};

use crate::core::diagnostic::Source;

/// A function that a script defines.
pub(super) struct Function<'a> {
    /// Its name.
    pub name: &'a str,
    /// The names of its parameters.
    pub params: Vec<&'a str>,
    /// Whether other scripts can call it.
    pub is_public: bool,
    /// The lines of its doc comment.
    pub comment: Vec<CommentLine<'a>>,
    /// The line of the keyword `fn`, counted from 1.
    pub line: usize,
    /// The line of the closing brace, counted from 1.
    pub end: usize,
    /// The byte range of the body in the script, with its braces.
    pub body: Range<usize>,
}

/// One line of a doc comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommentLine<'a> {
    /// The number of the line in the script, counted from 1.
    pub number: usize,
    /// The text without the comment's marks.
    pub text: &'a str,
}

impl<'a> Function<'a> {
    /// Returns the functions of a script, in the order of the text. Closures are left out.
    pub fn all_of(ast: &'a AST, source: &Source) -> Vec<Self> {
        let lines: Vec<&str> = source.text.lines().collect();
        let definitions = ast.shared_lib().iter_script_fn_info();
        let mut functions: Vec<Function<'a>> = definitions
            .map(|(.., definition)| &**definition)
            // The engine names closures `anon$…`.
            .filter(|definition| !definition.name.contains('$'))
            .map(|definition| Function::new(definition, source, &lines))
            .collect();
        functions.sort_by_key(|function| function.line);
        functions
    }

    /// Returns the functions of a built-in script without compiling it, which takes most of the time of a
    /// list of all tasks. Only for scripts in which `fn` and the closing brace begin their lines, the
    /// parameters are in the first one, and doc comments use `///`: a test compares what this and
    /// [`Function::all_of`] return for all of ours.
    pub fn scan(source: &'a Source) -> Vec<Self> {
        let mut functions: Vec<Function<'a>> = Vec::new();
        let (mut comment, mut offset) = (Vec::new(), 0);
        for (at, text) in source.text.split_inclusive('\n').enumerate() {
            let (number, line) = (at + 1, text.trim_end());
            let public = line.strip_prefix("fn ");
            if line.starts_with("///") {
                let text = without_marks(line);
                comment.push(CommentLine { number, text });
            } else if let Some((name, params)) = public
                .or_else(|| line.strip_prefix("private fn "))
                .and_then(|signature| signature.split_once(')')?.0.split_once('('))
            {
                let brace = offset + line.rfind('{').unwrap_or(line.len());
                functions.push(Function {
                    name,
                    params: params.split(", ").filter(|name| !name.is_empty()).collect(),
                    is_public: public.is_some(),
                    comment: std::mem::take(&mut comment),
                    line: number,
                    end: number,
                    body: brace..brace,
                });
            } else if line == "}"
                && let Some(function) = functions.last_mut()
            {
                (function.end, function.body.end) = (number, offset);
            }
            offset += text.len();
        }
        functions
    }

    fn new(definition: &'a ScriptFuncDef, source: &Source, lines: &[&str]) -> Self {
        let body = &definition.body;
        let (open, close) = (body.start_position(), body.end_position());
        let offset =
            |at: Position| source.offset(at.line().unwrap_or(1), at.position().unwrap_or(1));
        let brace = offset(open);
        let line = definition_line(&source.text[..brace]);
        let comments = definition.comments.iter().map(AsRef::as_ref);
        Function {
            name: definition.name.as_str(),
            params: definition.params.iter().map(AsRef::as_ref).collect(),
            is_public: definition.access == FnAccess::Public,
            comment: comment_lines(comments, lines, line),
            line,
            end: close.line().unwrap_or(line).max(line),
            body: brace..offset(close).max(brace),
        }
    }

    /// The first line of the doc comment, or of the function if it has none.
    pub fn start(&self) -> usize {
        self.comment.first().map_or(self.line, |line| line.number)
    }
}

/// Returns the line of the last keyword `fn` in a text that ends before a function's body.
///
/// The syntax tree has the position of the body, but not that of the signature.
fn definition_line(text: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let keyword = text.rmatch_indices("fn").find(|(at, keyword)| {
        let before = text[..*at].chars().next_back();
        let after = text[at + keyword.len()..].chars().next();
        !before.is_some_and(is_word) && after.is_some_and(char::is_whitespace)
    });
    let before = &text[..keyword.map_or(text.len(), |(at, _)| at)];
    before.matches('\n').count() + 1
}

/// Finds the lines of a doc comment in the text. Other comments and empty lines may stand between
/// them and the function.
fn comment_lines<'a>(
    comments: impl DoubleEndedIterator<Item = &'a str>,
    lines: &[&str],
    definition: usize,
) -> Vec<CommentLine<'a>> {
    let mut below = definition.saturating_sub(1).min(lines.len());
    let mut found: Vec<CommentLine<'a>> = comments
        .flat_map(str::lines)
        .rev()
        .map(|text| {
            let same = |line: &&str| line.trim() == text.trim();
            below = lines[..below].iter().rposition(same).unwrap_or(below);
            CommentLine {
                number: below + 1,
                text: without_marks(text),
            }
        })
        .collect();
    found.reverse();
    found
}

/// Removes `///`, or `/**`, `*` and `*/`, and one space after them.
fn without_marks(line: &str) -> &str {
    let line = line.trim_end();
    let line = line.strip_suffix("*/").unwrap_or(line).trim_end();
    let text = line.trim_start();
    let marks = ["///", "/**", "*"];
    match marks.iter().find_map(|mark| text.strip_prefix(mark)) {
        Some(text) => text.strip_prefix(' ').unwrap_or(text),
        // A line of a block comment without a star keeps its indentation.
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::embedded::TASKS;

    /// Describes the functions of a compiled script.
    fn describe(text: &str) -> Vec<String> {
        let ast = rhai::Engine::new().compile(text).unwrap();
        describe_all(&Function::all_of(&ast, &Source::new("x", text)))
    }

    /// Describes each function: signature, first and last line, then the lines of the comment.
    fn describe_all(functions: &[Function<'_>]) -> Vec<String> {
        functions
            .iter()
            .map(|function| {
                let comment = function.comment.iter();
                let comment: String = comment
                    .map(|line| format!(" {}:{:?}", line.number, line.text))
                    .collect();
                let (start, end) = (function.start(), function.end);
                let params = function.params.join(", ");
                format!("{}({params}) {start}-{end}{comment}", function.name)
            })
            .collect()
    }

    #[test]
    fn functions_have_the_place_of_their_own_definition() {
        let text = "\
/* fn a(x) {} */
private fn a(x) { \"fn a() {\" }

/// With no parameter.
///   @indented

// Not a doc comment.
fn a() {
  let closure = |x| { x };
}
private
fn b(
  one,
  two
) { 1 }
";
        assert_eq!(
            describe(text),
            [
                "a(x) 2-2",
                "a() 4-10 4:\"With no parameter.\" 5:\"  @indented\"",
                "b(one, two) 12-15"
            ]
        );
    }

    #[test]
    fn built_in_scripts_are_read_as_they_are_compiled() {
        let mut engine = rhai::Engine::new();
        engine.set_max_expr_depths(0, 0);
        for (_, text) in TASKS {
            let source = Source::new("x", text);
            let ast = engine.compile(text).unwrap();
            let (scanned, compiled) = (Function::scan(&source), Function::all_of(&ast, &source));
            assert_eq!(describe_all(&scanned), describe_all(&compiled));
            let place = |function: &Function<'_>| (function.is_public, function.body.clone());
            let places =
                |functions: &[Function<'_>]| functions.iter().map(place).collect::<Vec<_>>();
            assert_eq!(places(&scanned), places(&compiled));
        }
    }

    #[test]
    fn block_comments_are_doc_comments() {
        assert_eq!(
            describe("/** One.\n * Two.\n */\nfn a() {}\n"),
            ["a() 1-4 1:\"One.\" 2:\"Two.\" 3:\"\""]
        );
    }
}
