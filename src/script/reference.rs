//! The documentation of the functions that scripts can call.
//!
//! It is made from the comments of the functions, and shown by `hitc help`, the generated
//! `docs/reference.md` and completion.

use rhai::{AST, Engine, FnAccess};

/// A namespace of functions, or a module of the standard library.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// `ssh`, or `std/retry`.
    pub name: String,
    /// Its purpose.
    pub doc: String,
    /// Its functions, by name.
    pub functions: Vec<Function>,
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its signature: `run(host: Host, command: string) -> string`.
    pub signature: String,
    /// Its documentation.
    pub doc: String,
    /// Whether it can be called as a method of its first parameter.
    pub is_method: bool,
}

impl Function {
    /// Returns the name of a method with its object: `host.run`. None for a function that is no method.
    pub fn method_name(&self) -> Option<String> {
        let text = self.is_method.then(|| method(self))?;
        text.split_once('(').map(|(name, _)| name.to_owned())
    }
}

impl Namespace {
    /// Returns the name of a function with its namespace.
    pub fn full_name(&self, function: &Function) -> String {
        match self.name.strip_prefix("std/") {
            Some(alias) => format!("{alias}::{}", function.name),
            None => format!("{}::{}", self.name, function.name),
        }
    }
}

/// Returns the namespaces that are written in Rust. `docs` has the purpose of each.
pub(super) fn native(engine: &Engine, docs: Vec<(&'static str, String)>) -> Vec<Namespace> {
    let all = engine.collect_fn_metadata(
        None,
        |info| {
            let metadata = info.metadata;
            let function = Function {
                name: metadata.name.to_string(),
                signature: metadata.gen_signature(Into::into),
                doc: prose(metadata.comments.iter().map(AsRef::as_ref)),
                is_method: metadata.namespace.is_global_namespace(),
            };
            (!info.namespace.is_empty()).then(|| (info.namespace.to_string(), function))
        },
        false,
    );
    let namespaces = docs.into_iter().map(|(name, doc)| {
        let own = all.iter().filter(|(namespace, _)| namespace == name);
        let mut functions: Vec<Function> = own.map(|(_, function)| function.clone()).collect();
        functions.sort_by(|a, b| (&a.name, &a.signature).cmp(&(&b.name, &b.signature)));
        functions.dedup_by(|a, b| a.signature == b.signature);
        Namespace {
            name: name.to_owned(),
            doc,
            functions,
        }
    });
    namespaces.collect()
}

/// Returns a namespace that is written in Rhai.
pub(super) fn scripted(name: &str, ast: &AST) -> Namespace {
    let mut functions: Vec<Function> = ast
        .iter_functions()
        .filter(|function| function.access == FnAccess::Public && !function.name.contains('$'))
        .map(|function| Function {
            name: function.name.to_owned(),
            signature: format!("{}({})", function.name, function.params.join(", ")),
            doc: prose(function.comments.iter().copied()),
            is_method: false,
        })
        .collect();
    functions.sort_by(|a, b| a.signature.cmp(&b.signature));
    let doc = ast.doc().lines();
    let doc: Vec<&str> = doc
        .map(|line| line.trim_start_matches("//!").trim())
        .collect();
    Namespace {
        name: name.to_owned(),
        doc: doc.join("\n").trim().to_owned(),
        functions,
    }
}

/// Removes the slashes of comments.
fn prose<'a>(comments: impl Iterator<Item = &'a str>) -> String {
    let lines = comments.flat_map(str::lines).map(|line| {
        let line = line.trim_start().trim_start_matches("///");
        line.strip_prefix(' ').unwrap_or(line).trim_end()
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// Returns the help text of a function (`ssh::run`) or method (`host.run`) with all its signatures, or of
/// a namespace. None if the name is unknown.
pub(super) fn explain(namespaces: &[Namespace], name: &str) -> Option<String> {
    let name = name.strip_suffix("::").unwrap_or(name);
    let has_name =
        |known: &&Namespace| known.name == name || known.name.strip_prefix("std/") == Some(name);
    if let Some(namespace) = namespaces.iter().find(has_name) {
        return Some(overview(namespace));
    }
    let mut text = String::new();
    for namespace in namespaces {
        for function in &namespace.functions {
            if namespace.full_name(function) == name
                || function.method_name().as_deref() == Some(name)
            {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(&details(namespace, function));
            }
        }
    }
    (!text.is_empty()).then_some(text)
}

/// The width of the sentences in the list of a namespace.
const WIDTH: usize = 74;

/// The first sentence of a comment.
fn first_sentence(doc: &str) -> String {
    let paragraph: Vec<&str> = doc.lines().take_while(|line| !line.is_empty()).collect();
    let text = paragraph.join(" ");
    match text.find(". ") {
        Some(end) => text[..=end].to_owned(),
        None => text,
    }
}

/// Breaks a text into lines of at most this many characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Lists the functions of a namespace.
fn overview(namespace: &Namespace) -> String {
    let mut text = format!("{}\n\n{}\n\n", namespace.name, namespace.doc);
    for function in &namespace.functions {
        text.push_str(&format!("  {}\n", function.signature));
        for line in wrapped(&first_sentence(&function.doc), WIDTH) {
            text.push_str(&format!("      {line}\n"));
        }
    }
    text
}

/// Documents a function.
fn details(namespace: &Namespace, function: &Function) -> String {
    let prefix = namespace.full_name(function);
    let prefix = prefix.strip_suffix(&function.name).unwrap_or_default();
    let mut text = format!("{prefix}{}\n", function.signature);
    if let Some(import) = namespace.name.strip_prefix("std/") {
        text.push_str(&format!("import \"std/{import}\" as {import};\n"));
    }
    if function.is_method {
        text.push_str(&format!("{}\n", method(function)));
    }
    for line in function.doc.lines() {
        text.push_str(format!("    {line}").trim_end());
        text.push('\n');
    }
    text
}

/// Returns the signature of a method: `host.run(command: string) -> string`.
fn method(function: &Function) -> String {
    let (_, rest) = function.signature.split_once('(').unwrap_or_default();
    let (first, rest) = match rest.split_once(", ") {
        Some((first, rest)) if !first.contains(')') => (first, rest),
        _ => rest
            .split_once(')')
            .map_or((rest, ""), |(first, _)| (first, &rest[first.len()..])),
    };
    let object = first.split(':').next().unwrap_or_default();
    format!("{object}.{}({rest}", function.name)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::script::Scripts;

    /// Formats the reference as Markdown.
    fn markdown(namespaces: &[Namespace]) -> String {
        let mut text = "# Reference of script functions\n\nGenerated from the comments of the functions; `hitc help NAME` shows the same. Functions written as\n`host.…` and `hosts.…` are methods of a server and of a list of servers.\n".to_owned();
        for namespace in namespaces {
            text.push_str(&format!("\n## `{}`\n\n{}\n", namespace.name, namespace.doc));
            for function in &namespace.functions {
                let written = if function.is_method {
                    method(function)
                } else {
                    let prefix = namespace.full_name(function);
                    let prefix = prefix.strip_suffix(&function.name).unwrap_or_default();
                    format!("{prefix}{}", function.signature)
                };
                text.push_str(&format!("\n### `{written}`\n\n{}\n", function.doc));
            }
        }
        text
    }

    /// `BLESS=1` writes the page instead of comparing it.
    #[test]
    fn the_page_is_up_to_date() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
        let text = markdown(&Scripts::without_project().unwrap().reference().unwrap());
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(page.parent().unwrap()).unwrap();
            fs::write(page, text).unwrap();
        } else {
            let is_current = fs::read_to_string(page).unwrap() == text;
            assert!(
                is_current,
                "docs/reference.md is outdated: run BLESS=1 cargo test --lib reference"
            );
        }
    }

    #[test]
    fn every_function_is_documented() {
        for namespace in Scripts::without_project().unwrap().reference().unwrap() {
            assert!(!namespace.doc.is_empty(), "{}", namespace.name);
            for function in &namespace.functions {
                assert!(!function.doc.is_empty(), "{}", function.signature);
            }
        }
    }

    #[test]
    fn sentences_are_whole() {
        let doc = "Copies a file to\na server. It is checked.\n\nMore.";
        assert_eq!(first_sentence(doc), "Copies a file to a server.");
        assert_eq!(first_sentence("Only\none"), "Only one");
        assert_eq!(wrapped("aa bb cc", 5), ["aa bb", "cc"]);
    }

    #[test]
    fn signatures_of_methods() {
        let function = |signature: &str| Function {
            name: signature.split('(').next().unwrap().to_owned(),
            signature: signature.to_owned(),
            doc: String::new(),
            is_method: true,
        };
        let text = |signature| method(&function(signature));
        assert_eq!(
            text("run(host: Host, a: int) -> string"),
            "host.run(a: int) -> string"
        );
        assert_eq!(text("terminal(host: Host)"), "host.terminal()");
        assert_eq!(text("name(host: Host) -> map"), "host.name() -> map");
    }
}
