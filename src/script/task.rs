//! Tasks: what a script's public functions say about themselves.
//!
//! The signature says where a task runs, the doc comment is its interface. Both are checked
//! against each other when the script is read.

use std::{ops::Range, sync::Arc};

use rhai::{AST, FnAccess};

use super::{doc::Reader, param::Param};
use crate::core::diagnostic::{Diagnostic, Kind, Source};

/// Where a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Once, on this machine.
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
    /// The parameters that are given on the command line.
    pub params: Vec<Param>,
    /// Where it runs.
    pub place: Place,
    /// It changes nothing, so it may run on all servers without being told so.
    pub readonly: bool,
    /// It runs on one server after the other.
    pub serial: bool,
    /// The role it runs on if nothing is selected.
    pub role: Option<String>,
    /// Asked before it runs; `${NAME}` stands for a parameter or for the hosts.
    pub confirm: Option<String>,
    /// Other names.
    pub aliases: Vec<String>,
    /// Command lines to try.
    pub examples: Vec<String>,
    /// Not listed.
    pub hidden: bool,
    /// The script.
    pub source: Arc<Source>,
    /// The lines of the script that are this task's, its documentation included, from 1.
    pub lines: Range<usize>,
}

/// The last parameter of this name takes every NAME=VALUE that no other takes.
pub(super) const OPTIONS: &str = "options";

impl Task {
    /// The name on the command line: `docker.ps`.
    pub fn full_name(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}.{}", self.name),
            None => self.name.clone(),
        }
    }

    /// The script of the task.
    pub fn text(&self) -> String {
        let lines = self.source.text.lines();
        let lines: Vec<&str> = lines
            .skip(self.lines.start - 1)
            .take(self.lines.len())
            .collect();
        lines.join("\n")
    }

    /// Whether the last parameter takes all further options.
    pub(super) fn takes_options(&self) -> bool {
        self.params
            .last()
            .is_some_and(|param| param.name == OPTIONS)
    }
}

/// Which public functions of a script are tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// All of them.
    All,
    /// Those with a comment; the others are for scripts to call.
    Documented,
    /// Those without parameters.
    Plain,
}

/// The tasks of a script, in the order in which they stand in it, and what is wrong with them.
pub(super) fn tasks_of(
    ast: &AST,
    source: &Arc<Source>,
    namespace: Option<&str>,
    which: Which,
) -> (Vec<Task>, Vec<Diagnostic>) {
    let (mut tasks, mut errors) = (Vec::new(), Vec::new());
    for function in ast.iter_functions() {
        // Closures are functions too; their names cannot be written.
        if function.access == FnAccess::Private || function.name.contains('$') {
            continue;
        }
        let is_task = match which {
            Which::All => true,
            Which::Documented => !function.comments.is_empty(),
            Which::Plain => function.params.is_empty(),
        };
        if !is_task {
            continue;
        }
        let reader = Reader {
            name: function.name,
            params: &function.params,
            source,
            namespace,
        };
        match reader.read() {
            Ok(task) => tasks.push(task),
            Err(error) => errors.push(error),
        }
    }
    tasks.sort_by_key(|task| task.lines.start);
    errors.sort_by_key(|error| error.excerpts.first().map(|excerpt| excerpt.span.start));
    for (one, other) in tasks.iter().zip(tasks.iter().skip(1)) {
        if one.name == other.name {
            errors.push(twice(other));
        }
    }
    (tasks, errors)
}

fn twice(task: &Task) -> Diagnostic {
    let Task { name, source, .. } = task;
    let line = task.lines.end.saturating_sub(1);
    let start = source.offset(line, 1);
    let message = format!("there are two tasks `{name}`");
    Diagnostic::new(Kind::Usage, message)
        .at(source, start..start)
        .help("write `private fn` before the one that is not a task".to_owned())
}
