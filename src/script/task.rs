//! Tasks: functions of scripts that the command line can run.

use std::{ops::Range, sync::Arc};

use super::param::{Param, Type};
use crate::core::diagnostic::Source;

/// Where a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Once, on the local machine.
    Here,
    /// On every selected server, in parallel: the first parameter is `host`.
    EachHost,
    /// Once, with all selected servers: the first parameter is `hosts`.
    AllHosts,
}

/// A task.
#[derive(Clone, Debug)]
pub struct Task {
    /// The namespace, if it has one.
    pub namespace: Option<String>,
    /// The function's name.
    pub name: String,
    /// The first line of the documentation.
    pub summary: String,
    /// The rest of the documentation, without the tags.
    pub description: String,
    /// The parameters, without `host` and `hosts`.
    pub params: Vec<Param>,
    /// Where it runs.
    pub place: Place,
    /// Whether it changes nothing, so that it runs on all servers if none is selected.
    pub readonly: bool,
    /// Whether it runs on one server at a time.
    pub serial: bool,
    /// The role on whose servers it runs if none is selected.
    pub role: Option<String>,
    /// The question to confirm before it runs. `${NAME}` stands for a parameter or `${hosts}`.
    pub confirm: Option<String>,
    /// Other names.
    pub aliases: Vec<String>,
    /// Example command lines.
    pub examples: Vec<String>,
    /// Whether lists of tasks leave it out.
    pub hidden: bool,
    /// The script.
    pub source: Arc<Source>,
    /// The lines of the doc comment and the function in the script, counted from 1.
    pub lines: Range<usize>,
}

/// The name of a last parameter that takes all `NAME=VALUE` that belong to no other parameter.
pub(super) const OPTIONS: &str = "options";

impl Task {
    /// Returns the name on the command line: `docker.ps`.
    pub fn full_name(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}.{}", self.name),
            None => self.name.clone(),
        }
    }

    /// Returns the text of the doc comment and the function.
    pub fn text(&self) -> String {
        let lines = self.source.text.lines();
        let lines: Vec<&str> = lines
            .skip(self.lines.start - 1)
            .take(self.lines.len())
            .collect();
        lines.join("\n")
    }

    /// Whether the last parameter takes all further `NAME=VALUE`.
    pub fn takes_options(&self) -> bool {
        self.params
            .last()
            .is_some_and(|param| param.name == OPTIONS)
    }

    /// The options that the documentation of a last parameter `options` names: `size=SIZE`.
    pub fn documented_options(&self) -> impl Iterator<Item = &str> {
        let last = self.params.last().filter(|_| self.takes_options());
        let doc = last.map_or("", |param| param.doc.as_str());
        doc.split_whitespace()
            .filter_map(|word| Some(word.split_once('=')?.0))
            .filter(|name| is_name(name))
    }

    /// How many words a parameter takes that is written as a flag: two as `--tag v1`, one as `--tag=v1`
    /// and if its type is bool. None if the word is no flag of a parameter. A parameter with a name of
    /// one letter is also a short flag.
    pub fn flag_len(&self, word: &str) -> Option<usize> {
        let flag = match word.strip_prefix("--") {
            Some(flag) => flag,
            None => {
                let flag = word.strip_prefix('-')?;
                let name = flag.split('=').next().unwrap_or(flag);
                (name.chars().count() == 1).then_some(flag)?
            }
        };
        let name = flag.split('=').next().unwrap_or(flag).replace('-', "_");
        let own = self.params.iter().find(|param| param.name == name);
        let own = own.filter(|param| !(self.takes_options() && param.name == OPTIONS));
        if own.is_none() && !self.documented_options().any(|option| option == name) {
            return None;
        }
        let is_switch = own.is_some_and(|param| param.kind == Type::Bool);
        Some(if is_switch || flag.contains('=') {
            1
        } else {
            2
        })
    }
}

/// Whether the text before an `=` can be a parameter's name. `a/b=c` is a value.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}
