//! The subcommand `hitc help`: documentation of tasks, script functions and subcommands.

use std::{path::Path, sync::Arc};

use clap::{Args, Command};

use super::{start::Start, tasks::list};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::{Event, Events},
        text::escape_controls_in_lines,
    },
    script::{Param, Place, Task, Type},
};

#[derive(Args)]
pub(super) struct Help {
    /// A task, a subcommand, or a script function or method such as ssh::run or host.run; without it, shows
    /// the help of hitc
    task: Option<String>,
}

impl Help {
    /// `command` is the whole command line.
    pub fn main(
        self,
        mut command: Command,
        hitcfile: Option<&Path>,
        events: &Events,
    ) -> Result<(), Failure> {
        let Some(name) = self.task else {
            let help = command.render_long_help();
            events.emit(Event::Data(help.to_string()));
            return Ok(());
        };
        // As on the command line, a subcommand takes precedence over a task of the same name.
        command.build();
        let text = match command.find_subcommand_mut(&name) {
            Some(subcommand) => subcommand.render_long_help().to_string(),
            None => explain(&name, hitcfile, events)?,
        };
        // The comments may stand in a script of a project that the user only looks at.
        let text = escape_controls_in_lines(&text).into_owned();
        events.emit(Event::Data(text));
        Ok(())
    }
}

/// Documents a task, a script function, or a namespace: its tasks and its functions. A task takes
/// precedence over a namespace of the same name.
fn explain(name: &str, hitcfile: Option<&Path>, events: &Events) -> Result<String, Failure> {
    let mut scripts = Start::new(hitcfile, events)?.scripts;
    if name.contains("::") || name.starts_with("std/") {
        if let Some(text) = scripts.explain(name)? {
            return Ok(text);
        }
        let message = format!("function `{name}` not found");
        let help = scripts.near_function(name)?;
        return Err(Diagnostic::new(Kind::NotFound, message).help(help).into());
    }
    match scripts.find(name) {
        Ok(task) => {
            let mut text = describe(&task);
            if scripts.explain(name)?.is_some() {
                text.push_str(&format!(
                    "\nSee also `hitc help {name}::` for the script functions.\n"
                ));
            }
            Ok(text)
        }
        Err(failure) => {
            let all = scripts.list()?;
            let has = |space: &str| {
                all.iter()
                    .any(|task| task.namespace.as_deref() == Some(space))
            };
            let object = name.split_once('.').map(|(object, _)| object);
            let is_method = object.is_some_and(|object| {
                // A namespace of the project may have the name.
                ["host", "hosts", "api"].contains(&object) && !has(object)
            });
            if is_method && scripts.explain(name)?.is_none() {
                let message = format!("method `{name}` not found");
                let help = scripts.near_function(name)?;
                return Err(Diagnostic::new(Kind::NotFound, message).help(help).into());
            }
            let is_in = |task: &Arc<Task>| !task.hidden && task.namespace.as_deref() == Some(name);
            let tasks: Vec<Arc<Task>> = all.into_iter().filter(is_in).collect();
            match (tasks.as_slice(), scripts.explain(name)?) {
                ([], functions) => functions.ok_or(failure),
                (tasks, None) => Ok(list(tasks, false)),
                (tasks, Some(functions)) => Ok(format!("{}\n{functions}", list(tasks, false))),
            }
        }
    }
}

/// Formats the documentation of a task.
pub(super) fn describe(task: &Task) -> String {
    let mut text = format!("{}\n", task.full_name());
    let mut paragraph = |title: &str, body: &str| {
        if body.is_empty() {
            return;
        }
        text.push('\n');
        if !title.is_empty() {
            text.push_str(title);
            text.push_str(":\n");
        }
        for line in body.lines() {
            if !title.is_empty() && !line.is_empty() {
                text.push_str("  ");
            }
            text.push_str(line);
            text.push('\n');
        }
    };
    paragraph("", &task.summary);
    paragraph("", &task.description);
    paragraph("Usage", &usage(task));
    paragraph("Parameters", &params(task));
    paragraph("Runs", &runs(task));
    paragraph("Asks", task.confirm.as_deref().unwrap_or_default());
    paragraph("Aliases", &task.aliases.join(", "));
    paragraph("Examples", &task.examples.join("\n"));
    text
}

fn usage(task: &Task) -> String {
    let mut words = vec!["hitc run".to_owned()];
    if task.place != Place::Here {
        words.push("[-H NAME | -R ROLE | --all]".to_owned());
    }
    words.push(task.full_name());
    for param in &task.params {
        let name = param.name.to_uppercase();
        words.push(match (&param.default, param.kind) {
            (Some(default), _) => format!("[{}={}]", param.name, default.text),
            (None, Type::Map) => "[NAME=VALUE]...".to_owned(),
            (None, _) => name,
        });
    }
    words.join(" ")
}

fn params(task: &Task) -> String {
    let width = task
        .params
        .iter()
        .map(|param| param.name.chars().count())
        .max()
        .unwrap_or(0);
    let line = |param: &Param| {
        let default = match &param.default {
            Some(default) => format!(" [default: {}]", default.text),
            None => String::new(),
        };
        let line = format!("{:width$}  {}{default}", param.name, param.doc);
        line.trim_end().to_owned()
    };
    task.params.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Says where and how often a task runs.
fn runs(task: &Task) -> String {
    let mut text = match task.place {
        Place::Here => "once, on the local machine".to_owned(),
        Place::AllHosts => "once, with all selected servers".to_owned(),
        Place::EachHost if task.serial => "on the selected servers, one at a time".to_owned(),
        Place::EachHost => "on the selected servers, in parallel".to_owned(),
    };
    if task.place != Place::Here {
        match &task.role {
            Some(role) => {
                text.push_str("; by default on the role ");
                text.push_str(role);
            }
            None if task.readonly => text.push_str("; by default on all servers"),
            None => {}
        }
    }
    text
}
