//! The subcommand `hitc console`: an interactive prompt for scripts.

use std::sync::Arc;

use super::{flags::Flags, start::Start};
use crate::{
    context::Settings,
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::{Event, Events},
    },
    script::Console,
    ui::{LineReader, Terminal},
};

/// Runs the subcommand.
pub(super) fn main(
    flags: &Flags,
    terminal: &Arc<Terminal>,
    events: &Events,
) -> Result<(), Failure> {
    let start = Start::new(flags.hitcfile(), events)?;
    let settings = Settings {
        selection: flags.select(&start.project)?,
        sudo_password: flags.ask_sudo_password(events)?,
        ..flags.settings(start.scripts.config(&start.api)?)
    };
    let history = start.project.data.join("console_history");
    let mut run = start.begin(settings, flags.mode(), terminal, events)?;
    let mut console = Console::new(&mut run.scripts)?;
    let mut reader = LineReader::new(&history, console.words())
        .map_err(|error| Diagnostic::new(Kind::Failed, format!("console: {error}")))?;
    let mut text = String::new();
    while let Some(line) = reader.read(if text.is_empty() { "hitc> " } else { "  ... " }) {
        text.push_str(&line);
        text.push('\n');
        if console.is_incomplete(&text) {
            continue;
        }
        match console.eval(&std::mem::take(&mut text)) {
            Ok(Some(shown)) => events.emit(Event::Data(format!("{shown}\n"))),
            Ok(None) => {}
            Err(failure) if failure.kind() == Kind::Interrupted => return Err(failure),
            Err(failure) => events.report(&failure),
        }
    }
    run.end();
    Ok(())
}
