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

const HELP: &str = "\
Expressions of Rhai are evaluated and shown: 1 + 1, ssh::host(\"web\").run(\"uptime\").
The functions of the hitcfile are called by their names; variables are kept.

  help ssh         the functions of a namespace
  help ssh::run    a function
  help host.run    a method
  Tab              completes names
  Ctrl-D           ends the console

https://rhai.rs/book describes the language.
";

/// What the user asks for with `help` or `help NAME`; empty without a name.
fn help_topic(line: &str) -> Option<&str> {
    let rest = line.trim().strip_prefix("help")?;
    let is_word = rest.is_empty() || rest.starts_with(' ');
    let name = rest.trim();
    let is_name = name
        .chars()
        .all(|c| c.is_alphanumeric() || "_:/.".contains(c));
    (is_word && is_name).then_some(name)
}

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
        if let Some(name) = help_topic(&line).filter(|_| text.is_empty()) {
            let help = match name {
                "" => Some(HELP.to_owned()),
                name => console.help(name),
            };
            let unknown = || format!("no function, method or namespace `{name}`\n");
            events.emit(Event::Data(help.unwrap_or_else(unknown)));
            continue;
        }
        if text.is_empty() && matches!(line.trim(), "exit" | "quit") {
            break;
        }
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
