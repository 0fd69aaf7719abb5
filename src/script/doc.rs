//! Reads the doc comment of a task and checks it against the function's signature.

use std::{ops::Range, sync::Arc};

use super::{
    function::{CommentLine, Function},
    param::{Default, Param, Type},
    task::{OPTIONS, Place, Task},
};
use crate::core::diagnostic::{Diagnostic, Kind, Source, did_you_mean};

const TAGS: [&str; 8] = [
    "param", "readonly", "serial", "role", "confirm", "alias", "example", "hidden",
];

/// Turns a function of a script into a task.
pub(super) struct TaskReader<'a> {
    /// The function.
    pub function: &'a Function<'a>,
    /// The script.
    pub source: &'a Arc<Source>,
    /// The namespace of the script's tasks.
    pub namespace: Option<&'a str>,
}

impl<'a> TaskReader<'a> {
    /// Reads the task. Fails if the doc comment is wrong or does not fit the signature.
    pub fn read(&self) -> Result<Task, Diagnostic> {
        let function = self.function;
        let (place, names) = match function.params.split_first() {
            Some((&"host", rest)) => (Place::EachHost, rest),
            Some((&"hosts", rest)) => (Place::AllHosts, rest),
            _ => (Place::Here, function.params.as_slice()),
        };
        let mut task = Task {
            namespace: self.namespace.map(str::to_owned),
            name: function.name.to_owned(),
            summary: String::new(),
            description: String::new(),
            params: Vec::new(),
            place,
            readonly: false,
            serial: false,
            role: None,
            confirm: None,
            aliases: Vec::new(),
            examples: Vec::new(),
            hidden: false,
            source: self.source.clone(),
            lines: function.start()..function.end + 1,
        };
        let (prose, tags) = split_tags(&function.comment);
        let mut prose = prose.into_iter().skip_while(|line| line.is_empty());
        task.summary.push_str(prose.next().unwrap_or_default());
        let rest: Vec<&str> = prose.collect();
        task.description.push_str(rest.join("\n").trim());
        for tag in tags {
            self.read_tag(&tag, names, &mut task)?;
        }
        self.order_params(names, &mut task)?;
        Ok(task)
    }

    fn read_tag(&self, tag: &Tag<'a>, names: &[&str], task: &mut Task) -> Result<(), Diagnostic> {
        let text = tag.text.join(" ");
        let text = text.trim();
        let required = |what: &str| {
            if text.is_empty() {
                return Err(self.wrong(
                    tag.line,
                    tag.name,
                    format!("`@{}`: missing {what}", tag.name),
                ));
            }
            Ok(text.to_owned())
        };
        match tag.name {
            "param" => {
                let param = self.read_param(tag, text, names)?;
                if task.params.iter().any(|other| other.name == param.name) {
                    let message = format!("duplicate `@param {}`", param.name);
                    return Err(self.wrong(tag.line, &param.name, message));
                }
                task.params.push(param);
            }
            "readonly" | "serial" | "hidden" if !text.is_empty() => {
                let message = format!("`@{}` takes no value", tag.name);
                let word = text.split_whitespace().next().unwrap_or_default();
                return Err(self
                    .wrong(tag.line, word, message)
                    .help(format!("write `/// @{}`, or leave it out", tag.name)));
            }
            "readonly" => task.readonly = true,
            "serial" => task.serial = true,
            "hidden" => task.hidden = true,
            "role" => task.role = Some(required("role")?),
            "confirm" => {
                let text = required("question")?;
                task.confirm = Some(text.trim_matches('"').to_owned());
            }
            "alias" => task.aliases.push(required("name")?),
            "example" => task.examples.push(required("command line")?),
            unknown => {
                let message = format!("unknown tag `@{unknown}`");
                let help = did_you_mean(unknown, TAGS)
                    .unwrap_or_else(|| format!("the tags are @{}", TAGS.join(", @")));
                return Err(self.wrong(tag.line, unknown, message).help(help));
            }
        }
        Ok(())
    }

    /// Reads `NAME [= DEFAULT] TEXT`.
    fn read_param(&self, tag: &Tag<'a>, text: &str, names: &[&str]) -> Result<Param, Diagnostic> {
        let end = text
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        if name.is_empty() {
            let message = "`@param`: missing name".to_owned();
            return Err(self.wrong(tag.line, "param", message));
        }
        if !names.contains(&name) {
            let message = format!("`{}` has no parameter `{name}`", self.function.name);
            return Err(self
                .wrong(tag.line, name, message)
                .help(did_you_mean(name, names.iter().copied())));
        }
        let rest = rest.trim_start();
        let Some(rest) = rest.strip_prefix('=') else {
            let kind = if name == OPTIONS {
                Type::Map
            } else {
                Type::Text
            };
            return Ok(Param {
                name: name.to_owned(),
                doc: rest.to_owned(),
                kind,
                default: None,
            });
        };
        let (default, doc) = Default::parse(rest.trim_start()).map_err(|error| {
            self.wrong(tag.line, name, format!("default of `{name}`: {error}"))
                .help("put text in quotes".to_owned())
        })?;
        Ok(Param {
            name: name.to_owned(),
            doc: doc.to_owned(),
            kind: default.kind(),
            default: Some(default),
        })
    }

    /// Sorts the documented parameters by the signature. Fails if one is not documented.
    fn order_params(&self, names: &[&str], task: &mut Task) -> Result<(), Diagnostic> {
        let mut documented = std::mem::take(&mut task.params);
        for name in names {
            if matches!(*name, "host" | "hosts") {
                let message = format!(
                    "`{name}` is not the first parameter of `{}`",
                    self.function.name
                );
                let help = format!(
                    "a task runs on servers if its first parameter is `host` or `hosts`: move `{name}` there, or rename it"
                );
                return Err(self.wrong(self.function.line, name, message).help(help));
            }
            let Some(at) = documented.iter().position(|param| param.name == *name) else {
                let message = format!(
                    "undocumented parameter `{name}` of `{}`",
                    self.function.name
                );
                let help = format!("add `/// @param {name} …` above the function");
                let line = self.function.line;
                return Err(self.wrong(line, name, message).help(help));
            };
            task.params.push(documented.remove(at));
        }
        Ok(())
    }

    /// Creates an error that points at a word of a line.
    fn wrong(&self, line: usize, word: &str, message: String) -> Diagnostic {
        Diagnostic::new(Kind::Usage, message).at(self.source, self.span_of(line, word))
    }

    /// Returns the byte range of a word in a line, or of the line if it does not contain the word.
    pub fn span_of(&self, line: usize, word: &str) -> Range<usize> {
        let start = self.source.offset(line, 1);
        let text = self.source.text[start..].lines().next().unwrap_or_default();
        match find_word(text, word) {
            Some(at) => start + at..start + at + word.len(),
            None => start..start + text.len(),
        }
    }
}

/// Returns the byte offset of a word in a text. A part of a longer word does not count.
pub(super) fn find_word(line: &str, word: &str) -> Option<usize> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).map(|(at, _)| at).find(|at| {
        let before = line[..*at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

/// A tag of a doc comment: `@NAME TEXT`.
struct Tag<'a> {
    name: &'a str,
    /// The line in the script, counted from 1.
    line: usize,
    /// The lines of its text.
    text: Vec<&'a str>,
}

/// Separates prose from tags. Indented lines continue a tag.
fn split_tags<'a>(comment: &[CommentLine<'a>]) -> (Vec<&'a str>, Vec<Tag<'a>>) {
    let (mut prose, mut tags): (Vec<&str>, Vec<Tag>) = (Vec::new(), Vec::new());
    for line in comment {
        let trimmed = line.text.trim();
        if let Some(rest) = trimmed.strip_prefix('@') {
            let (name, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            tags.push(Tag {
                name,
                line: line.number,
                text: vec![text.trim()],
            });
        } else if let Some(tag) = tags.last_mut().filter(|_| line.text.starts_with("  ")) {
            tag.text.push(trimmed);
        } else {
            prose.push(line.text.trim_end());
        }
    }
    (prose, tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::discover::{TaskFilter, discover_tasks};

    fn read(text: &str) -> (Vec<Task>, Vec<Diagnostic>) {
        let ast = rhai::Engine::new().compile(text).unwrap();
        discover_tasks(
            &ast,
            &Source::new("hitcfile.rhai", text),
            Some("ns"),
            TaskFilter::All,
        )
    }

    #[test]
    fn every_tag_is_read() {
        let text = r#"
private fn helper() {}

/// Deploy a version.
///
/// It goes on
/// over lines.
/// @param tag = "latest"   image tag
///        to run
/// @param drain = 10
/// @param options  whatever else
/// @role web
/// @confirm "Deploy ${tag}?"
/// @example hitc run deploy tag=v1
/// @serial
fn deploy(hosts, tag, drain, options) {
    hosts.map(|host| tag);
}
"#;
        let (tasks, errors) = read(text);
        assert_eq!(errors, []);
        let [task] = tasks.as_slice() else {
            panic!("{tasks:?}")
        };
        assert_eq!(task.full_name(), "ns.deploy");
        assert_eq!(task.summary, "Deploy a version.");
        assert_eq!(task.description, "It goes on\nover lines.");
        assert_eq!(task.place, Place::AllHosts);
        assert_eq!(task.role.as_deref(), Some("web"));
        assert_eq!(task.confirm.as_deref(), Some("Deploy ${tag}?"));
        assert_eq!(task.examples, ["hitc run deploy tag=v1"]);
        assert!(task.serial && !task.readonly && task.takes_options());
        let params: Vec<_> = task
            .params
            .iter()
            .map(|p| (p.name.as_str(), p.kind, p.doc.as_str()))
            .collect();
        assert_eq!(
            params,
            [
                ("tag", Type::Text, "image tag to run"),
                ("drain", Type::Int, ""),
                ("options", Type::Map, "whatever else"),
            ]
        );
        assert_eq!(task.lines, 4..19);
        assert!(task.text().starts_with("/// Deploy a version."));
        assert!(task.text().ends_with('}'));
    }

    #[test]
    fn the_comment_must_fit_the_signature() {
        let error = |text: &str| {
            let (_, errors) = read(text);
            let error = &errors[0];
            let excerpt = &error.excerpts[0];
            let at = &excerpt.source.text[excerpt.span.clone()];
            let help = error.help.clone().unwrap_or_default();
            format!("{} | {at} | {help}", error.message)
        };
        assert_eq!(
            error("/// X.\n/// @param tga x\nfn deploy(tag) {}"),
            "`deploy` has no parameter `tga` | tga | did you mean `tag`?"
        );
        assert_eq!(
            error("/// X.\nfn deploy(tag) {}"),
            "undocumented parameter `tag` of `deploy` | tag | \
             add `/// @param tag …` above the function"
        );
        assert_eq!(
            error("/// X.\n/// @readonyl\nfn deploy() {}"),
            "unknown tag `@readonyl` | readonyl | did you mean `readonly`?"
        );
        assert_eq!(
            error("/// @param tag = latest x\nfn deploy(tag) {}"),
            "default of `tag`: invalid literal `latest` | tag | put text in quotes"
        );
        assert_eq!(
            error("fn a() {}\nfn a(host) {}"),
            "duplicate task `a` | a | write `private fn` for the function that is not a task"
        );
    }

    /// The comment is that of the function with these parameters, not of the first one of the name.
    #[test]
    fn overloads_have_their_own_comments() {
        let (tasks, errors) = read(
            "/* fn a() {} */\n/// Not a task.\nprivate fn a(x) { x }\n/// A task.\nfn a() {\n}\n",
        );
        assert_eq!(errors, []);
        let [task] = tasks.as_slice() else {
            panic!("{tasks:?}")
        };
        assert_eq!(task.summary, "A task.");
        assert_eq!(task.lines, 4..7);
    }
}
