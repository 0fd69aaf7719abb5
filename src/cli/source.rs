//! The subcommand `hitc source`: prints the script of a task.

use std::path::Path;

use clap::Args;

use super::start::Start;
use crate::{
    core::{
        diagnostic::Failure,
        event::{Event, Events},
        text::escape_controls_in_lines,
    },
    script::{missing_module, standard_module},
};

#[derive(Args)]
pub(super) struct Source {
    /// The task, or a module of the standard library such as std/deploy
    task: String,
}

impl Source {
    pub fn main(self, hitcfile: Option<&Path>, events: &Events) -> Result<(), Failure> {
        if let Some(text) = standard_module(&self.task) {
            events.emit(Event::Data(text.to_owned()));
            return Ok(());
        }
        if self.task.starts_with("std/") {
            return Err(missing_module(&self.task).into());
        }
        let mut start = Start::new(hitcfile, events)?;
        let task = start.scripts.find(&self.task)?;
        let (name, line) = (&task.source.name, task.lines.start);
        let text = format!("// {name}, line {line}\n{}\n", task.text());
        // The script may be that of a project that the user only looks at.
        let text = escape_controls_in_lines(&text).into_owned();
        events.emit(Event::Data(text));
        Ok(())
    }
}
