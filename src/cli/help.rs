//! `hitc help TASK`.

use clap::{Args, CommandFactory};

use super::{Cli, start::Start};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::{Event, Events},
    },
    script::{Place, Task},
};

#[derive(Args)]
pub(super) struct Help {
    /// The task, or a function of scripts such as ssh::run; without one, help on hitc itself
    task: Option<String>,
}

impl Help {
    pub fn main(self, events: &Events) -> Result<(), Failure> {
        let Some(name) = self.task else {
            let help = Cli::command().render_long_help();
            events.emit(Event::Data(help.to_string()));
            return Ok(());
        };
        // As on the command line, a subcommand comes before a task of that name.
        let mut command = Cli::command();
        command.build();
        let text = match command.find_subcommand_mut(&name) {
            Some(subcommand) => subcommand.render_long_help().to_string(),
            None => explain(&name, events)?,
        };
        events.emit(Event::Data(text));
        Ok(())
    }
}

/// A task, or a function or a namespace of functions. Of one name, the task is meant.
fn explain(name: &str, events: &Events) -> Result<String, Failure> {
    let mut scripts = Start::new(events)?.scripts;
    if name.contains("::") || name.starts_with("std/") {
        if let Some(text) = scripts.explain(name)? {
            return Ok(text);
        }
        let message = format!("there is no function `{name}`");
        let help = scripts.near_function(name)?;
        return Err(Diagnostic::new(Kind::NotFound, message).help(help).into());
    }
    match scripts.find(name) {
        Ok(task) => {
            let mut text = describe(&task);
            if scripts.explain(name)?.is_some() {
                text.push_str(&format!(
                    "\n`hitc help {name}::` explains the functions of scripts.\n"
                ));
            }
            Ok(text)
        }
        Err(failure) => scripts.explain(name)?.ok_or(failure),
    }
}

fn describe(task: &Task) -> String {
    let mut text = format!("{}\n", task.full_name());
    let mut paragraph = |title: &str, body: &str| {
        if body.is_empty() {
            return;
        }
        text.push('\n');
        if !title.is_empty() {
            text.push_str(title);
            text.push('\n');
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
    paragraph("Also called", &task.aliases.join(", "));
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
            (None, crate::script::Type::Map) => "[NAME=VALUE]...".to_owned(),
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
    let line = |param: &crate::script::Param| {
        let default = match &param.default {
            Some(default) => format!(" [default: {}]", default.text),
            None => String::new(),
        };
        let line = format!("{:width$}  {}{default}", param.name, param.doc);
        line.trim_end().to_owned()
    };
    task.params.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn runs(task: &Task) -> String {
    let mut text = match task.place {
        Place::Here => "once, on this machine".to_owned(),
        Place::AllHosts => "once, with all selected servers".to_owned(),
        Place::EachHost if task.serial => "on one selected server after the other".to_owned(),
        Place::EachHost => "on all selected servers at once".to_owned(),
    };
    if task.place != Place::Here {
        match &task.role {
            Some(role) => {
                text.push_str("; if none is selected, on the role ");
                text.push_str(role);
            }
            None if task.readonly => text.push_str("; on all servers if none is selected"),
            None => {}
        }
    }
    text
}
