//! The subcommand `hitc source`: prints the script of a task.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::{completions::words, start::Start};
use crate::core::{
    diagnostic::Failure,
    event::{Event, Events},
    text::escape_controls_in_lines,
};

#[derive(Args)]
pub(super) struct Source {
    /// The task
    #[arg(add = ArgValueCompleter::new(words))]
    task: String,
}

impl Source {
    pub fn main(self, events: &Events) -> Result<(), Failure> {
        let mut start = Start::new(events)?;
        let task = start.scripts.find(&self.task)?;
        let (name, line) = (&task.source.name, task.lines.start);
        let text = format!("// {name}, line {line}\n{}\n", task.text());
        // The script may be that of a project that the user only looks at.
        let text = escape_controls_in_lines(&text).into_owned();
        events.emit(Event::Data(text));
        Ok(())
    }
}
