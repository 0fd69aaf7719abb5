//! The subcommand `hitc tasks`: lists tasks.

use std::{path::Path, sync::Arc};

use clap::Args;
use serde_json::json;

use super::start::Start;
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::{Event, Events},
        text::escape_controls,
    },
    script::Task,
};

#[derive(Args)]
pub(super) struct Tasks {
    /// List only tasks whose name contains this text
    pattern: Option<String>,
    /// Sort by name instead of by the order in the scripts
    #[arg(long)]
    sort: bool,
    /// Replaced by `-o json`
    #[arg(long, hide = true)]
    json: bool,
}

impl Tasks {
    pub fn main(self, hitcfile: Option<&Path>, events: &Events) -> Result<(), Failure> {
        if self.json {
            let error = Diagnostic::new(Kind::Usage, "unknown flag `--json`");
            return Err(error.help("write `hitc tasks -o json`".to_owned()).into());
        }
        let mut start = Start::new(hitcfile, events)?;
        let pattern = self.pattern.unwrap_or_default();
        let mut tasks: Vec<Arc<Task>> = start
            .scripts
            .list()?
            .into_iter()
            .filter(|task| !task.hidden && task.full_name().contains(&pattern))
            .collect();
        if self.sort {
            tasks.sort_by_key(|task| task.full_name());
        }
        if tasks.is_empty() && !pattern.is_empty() {
            let message = format!("no task name contains `{pattern}`");
            return Err(Diagnostic::new(Kind::NotFound, message).into());
        }
        events.emit(if events.shows_data() {
            let tasks: Vec<_> = tasks.iter().map(|task| describe(task)).collect();
            Event::Record {
                name: "tasks",
                data: tasks.into(),
            }
        } else {
            Event::Data(list(&tasks, !self.sort))
        });
        Ok(())
    }
}

/// Formats one line per task. With `grouped`, an empty line separates namespaces.
pub(super) fn list(tasks: &[Arc<Task>], grouped: bool) -> String {
    let width = tasks
        .iter()
        .map(|task| task.full_name().chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    let mut group = None;
    for task in tasks {
        let this = Some((&task.source.name, &task.namespace));
        if grouped && group.is_some() && group != this {
            text.push('\n');
        }
        group = this;
        let line = format!("{:width$}  {}", task.full_name(), task.summary);
        text.push_str(&escape_controls(line.trim_end()));
        text.push('\n');
    }
    text
}

/// Returns all details of a task as JSON.
fn describe(task: &Task) -> serde_json::Value {
    let params: Vec<_> = task
        .params
        .iter()
        .map(|param| {
            json!({
                "name": param.name,
                "type": param.kind,
                "default": param.default.as_ref().map(|default| &default.text),
                "doc": param.doc,
            })
        })
        .collect();
    json!({
        "name": task.full_name(),
        "namespace": task.namespace,
        "summary": task.summary,
        "doc": task.description,
        "params": params,
        "readonly": task.readonly,
        "aliases": task.aliases,
        "examples": task.examples,
        "file": task.source.name,
        "line": task.lines.start,
    })
}
