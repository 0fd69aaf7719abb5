//! `hitc tasks`.

use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::start::Start;
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::{Event, Events},
    },
    script::Task,
};

#[derive(Args)]
pub(super) struct Tasks {
    /// Only tasks whose name contains this
    pattern: Option<String>,
    /// By name, instead of in the order in which they are written
    #[arg(long)]
    sort: bool,
    /// As JSON, with everything that is known
    #[arg(long)]
    json: bool,
}

impl Tasks {
    pub fn main(self, events: &Events) -> Result<(), Failure> {
        let mut start = Start::new(events)?;
        let pattern = self.pattern.unwrap_or_default();
        let mut tasks: Vec<Arc<Task>> = start
            .scripts
            .all()?
            .into_iter()
            .filter(|task| !task.hidden && task.full_name().contains(&pattern))
            .collect();
        if self.sort {
            tasks.sort_by_key(|task| task.full_name());
        }
        if tasks.is_empty() && !pattern.is_empty() {
            let message = format!("there is no task with `{pattern}` in its name");
            return Err(Diagnostic::new(Kind::NotFound, message).into());
        }
        let text = if self.json {
            let tasks: Vec<_> = tasks.iter().map(|task| describe(task)).collect();
            format!("{:#}\n", serde_json::Value::from(tasks))
        } else {
            list(&tasks, !self.sort)
        };
        events.emit(Event::Data(text));
        Ok(())
    }
}

/// One line a task; grouped, with an empty line between namespaces.
fn list(tasks: &[Arc<Task>], grouped: bool) -> String {
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
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

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
