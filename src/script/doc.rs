//! Doc comments of tasks, and whether they fit the signature.

use std::sync::Arc;

use super::{
    param::{Default, Param, Type},
    task::{OPTIONS, Place, Task},
};
use crate::core::diagnostic::{Diagnostic, Kind, Source, did_you_mean};

const TAGS: [&str; 8] = [
    "param", "readonly", "serial", "role", "confirm", "alias", "example", "hidden",
];

/// One line of a doc comment.
#[derive(Clone, Copy)]
struct Line<'a> {
    /// Counted from 1.
    number: usize,
    /// Without the slashes.
    text: &'a str,
}

/// Reads what one function says about itself.
pub(super) struct Reader<'a> {
    /// The function's name.
    pub name: &'a str,
    /// The names of its parameters.
    pub params: &'a [&'a str],
    /// The script.
    pub source: &'a Arc<Source>,
    /// The namespace of the script's tasks.
    pub namespace: Option<&'a str>,
}

impl<'a> Reader<'a> {
    /// The task, or what is wrong with its comment.
    pub fn read(&self) -> Result<Task, Diagnostic> {
        let lines: Vec<&'a str> = self.source.text.lines().collect();
        let at = lines
            .iter()
            .position(|line| self.is_definition(line))
            .unwrap_or(0);
        let docs = doc_lines(&lines, at);
        let first = docs.first().map_or(at + 1, |line| line.number);
        let (place, names) = match self.params.split_first() {
            Some((&"host", rest)) => (Place::EachHost, rest),
            Some((&"hosts", rest)) => (Place::AllHosts, rest),
            _ => (Place::Here, self.params),
        };
        let mut task = Task {
            namespace: self.namespace.map(str::to_owned),
            name: self.name.to_owned(),
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
            lines: first..end_of(&lines, at) + 1,
        };
        let (prose, tags) = split_tags(&docs);
        let mut prose = prose.into_iter();
        task.summary.push_str(prose.next().unwrap_or_default());
        let rest: Vec<&str> = prose.collect();
        task.description.push_str(rest.join("\n").trim());
        for tag in tags {
            self.read_tag(&tag, names, &mut task)?;
        }
        self.order_params(names, &mut task, at + 1)?;
        Ok(task)
    }

    fn is_definition(&self, line: &str) -> bool {
        let line = line.trim_start();
        line.strip_prefix("fn ")
            .map(str::trim_start)
            .and_then(|rest| rest.strip_prefix(self.name))
            .is_some_and(|rest| rest.trim_start().starts_with('('))
    }

    fn read_tag(&self, tag: &Tag<'a>, names: &[&str], task: &mut Task) -> Result<(), Diagnostic> {
        let text = tag.text.join(" ");
        let text = text.trim();
        let needed = |what: &str| {
            if text.is_empty() {
                return Err(self.wrong(
                    tag.line,
                    tag.name,
                    format!("`@{}` needs {what}", tag.name),
                ));
            }
            Ok(text.to_owned())
        };
        match tag.name {
            "param" => {
                let param = self.read_param(tag, text, names)?;
                if task.params.iter().any(|other| other.name == param.name) {
                    let message = format!("`@param {}` stands here twice", param.name);
                    return Err(self.wrong(tag.line, &param.name, message));
                }
                task.params.push(param);
            }
            "readonly" => task.readonly = true,
            "serial" => task.serial = true,
            "hidden" => task.hidden = true,
            "role" => task.role = Some(needed("a role")?),
            "confirm" => {
                let text = needed("a question")?;
                task.confirm = Some(text.trim_matches('"').to_owned());
            }
            "alias" => task.aliases.push(needed("a name")?),
            "example" => task.examples.push(needed("a command line")?),
            unknown => {
                let message = format!("there is no tag `@{unknown}`");
                let help = did_you_mean(unknown, TAGS)
                    .unwrap_or_else(|| format!("there is @{}", TAGS.join(", @")));
                return Err(self.wrong(tag.line, unknown, message).help(help));
            }
        }
        Ok(())
    }

    /// `NAME [= DEFAULT] TEXT`.
    fn read_param(&self, tag: &Tag<'a>, text: &str, names: &[&str]) -> Result<Param, Diagnostic> {
        let end = text
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        if name.is_empty() {
            let message = "`@param` needs a name".to_owned();
            return Err(self.wrong(tag.line, "param", message));
        }
        if !names.contains(&name) {
            let message = format!("`{}` has no parameter `{name}`", self.name);
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
            self.wrong(tag.line, name, format!("the default of `{name}`: {error}"))
                .help("write text in quotes".to_owned())
        })?;
        Ok(Param {
            name: name.to_owned(),
            doc: doc.to_owned(),
            kind: default.kind(),
            default: Some(default),
        })
    }

    /// Brings the documented parameters into the order of the signature. All must be there.
    fn order_params(&self, names: &[&str], task: &mut Task, line: usize) -> Result<(), Diagnostic> {
        let mut documented = std::mem::take(&mut task.params);
        for name in names {
            let Some(at) = documented.iter().position(|param| param.name == *name) else {
                let message = format!(
                    "the parameter `{name}` of `{}` is not documented",
                    self.name
                );
                let help = format!("write `/// @param {name} …` above the function");
                return Err(self.wrong(line, name, message).help(help));
            };
            task.params.push(documented.remove(at));
        }
        Ok(())
    }

    /// An error that points at a word of a line.
    fn wrong(&self, line: usize, word: &str, message: String) -> Diagnostic {
        let start = self.source.offset(line, 1);
        let text = self.source.text[start..].lines().next().unwrap_or_default();
        let span = match find_word(text, word) {
            Some(at) => start + at..start + at + word.len(),
            None => start..start + text.len(),
        };
        Diagnostic::new(Kind::Usage, message).at(self.source, span)
    }
}

/// Where a word stands in a line, not as part of another.
fn find_word(line: &str, word: &str) -> Option<usize> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).map(|(at, _)| at).find(|at| {
        let before = line[..*at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

/// The `///` lines above a definition.
fn doc_lines<'a>(lines: &[&'a str], definition: usize) -> Vec<Line<'a>> {
    let mut docs: Vec<Line<'a>> = lines[..definition]
        .iter()
        .enumerate()
        .rev()
        .map_while(|(index, line)| {
            let text = line.trim().strip_prefix("///")?;
            Some(Line {
                number: index + 1,
                text: text.strip_prefix(' ').unwrap_or(text),
            })
        })
        .collect();
    docs.reverse();
    docs
}

/// The last line of a function, counted from 1: the first one after its beginning that is a
/// closing brace at the same indentation.
fn end_of(lines: &[&str], definition: usize) -> usize {
    let first = lines.get(definition).copied().unwrap_or_default();
    if first.trim_end().ends_with('}') {
        return definition + 1;
    }
    let indent = &first[..first.len() - first.trim_start().len()];
    lines
        .iter()
        .enumerate()
        .skip(definition + 1)
        .find(|(_, line)| {
            line.strip_prefix(indent)
                .is_some_and(|rest| rest.starts_with('}'))
        })
        .map_or(lines.len(), |(index, _)| index + 1)
}

struct Tag<'a> {
    name: &'a str,
    line: usize,
    text: Vec<&'a str>,
}

/// Separates prose from tags. A tag goes on over indented lines.
fn split_tags<'a>(docs: &[Line<'a>]) -> (Vec<&'a str>, Vec<Tag<'a>>) {
    let (mut prose, mut tags): (Vec<&str>, Vec<Tag>) = (Vec::new(), Vec::new());
    for line in docs {
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
    use crate::script::task::{Which, tasks_of};

    fn read(text: &str) -> (Vec<Task>, Vec<Diagnostic>) {
        let ast = rhai::Engine::new().compile(text).unwrap();
        tasks_of(
            &ast,
            &Source::new("hitcfile.rhai", text),
            Some("ns"),
            Which::All,
        )
    }

    #[test]
    fn a_full_comment() {
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
    fn comment_and_signature_must_agree() {
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
            "the parameter `tag` of `deploy` is not documented | tag | \
             write `/// @param tag …` above the function"
        );
        assert_eq!(
            error("/// X.\n/// @readonyl\nfn deploy() {}"),
            "there is no tag `@readonyl` | readonyl | did you mean `readonly`?"
        );
        assert_eq!(
            error("/// @param tag = latest x\nfn deploy(tag) {}"),
            "the default of `tag`: `latest` is no literal | tag | write text in quotes"
        );
        assert_eq!(
            error("fn a() {}\nfn a(host) {}"),
            "there are two tasks `a` |  | write `private fn` before the one that is not a task"
        );
    }
}
