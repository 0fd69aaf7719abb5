//! The command line: global flags, and one file per subcommand.

mod check;
mod completions;
mod console;
mod context;
mod definitions;
mod eject;
mod flags;
mod help;
mod init;
mod run;
mod source;
mod start;
mod tasks;
mod test;

use std::{ffi::OsString, process::ExitCode, sync::Arc};

use clap::{
    CommandFactory, Parser, Subcommand,
    error::{ContextKind, ContextValue},
};
use flags::Flags;

use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::{Event, Events},
    },
    fleet::alone,
    ui::Terminal,
};

/// Servers at any cloud, the containers on them, and the tasks you run there.
#[derive(Parser)]
#[command(
    name = "hitc",
    version,
    disable_help_subcommand = true,
    after_help = "`hitc TASK …` is short for `hitc run TASK …`. Run `hitc tasks` for a list of the tasks."
)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run tasks: TASK [VALUE | NAME=VALUE | --name VALUE]... [::: TASK ...]
    Run(run::Run),
    /// Run a command on the selected servers
    Exec(run::Exec),
    /// List all tasks
    Tasks(tasks::Tasks),
    /// Show the documentation of a task or script function
    Help(help::Help),
    /// Show the script of a task
    Source(source::Source),
    /// Check all scripts and manifests without contacting any server
    Check,
    /// Create a project: a hitcfile, a manifest and a list of servers
    Init,
    /// Run the tests of the project's scripts on mock hosts
    Test(test::Test),
    /// Copy built-in tasks into the project, to change them
    Eject(eject::Eject),
    /// Start an interactive prompt with the script functions
    Console,
    /// Print a completion script for a shell: tasks, parameters, roles and hosts
    Completions(completions::Completions),
    /// Write definition files of the script functions for editors
    Definitions(definitions::Definitions),
    /// A task
    #[command(external_subcommand)]
    Task(Vec<OsString>),
}

/// Runs the program: parses the command line, runs the subcommand, reports errors.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // The top level of a hitcfile is evaluated here, and values that tasks return are freed here: both
    // need the stack of a script's thread. It fails only if the system allows no thread.
    alone(|| run(arguments)).unwrap_or_else(|_| ExitCode::from(Kind::Failed.exit_code()))
}

fn run(arguments: Vec<OsString>) -> ExitCode {
    if completions::answer(Cli::command, &arguments) {
        return ExitCode::SUCCESS;
    }
    let Cli { flags, command } = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed standard output is not an error.
            let error = name_variable(error);
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let terminal = Arc::new(Terminal::new(flags.terminal_options()));
    let events = Events::new(terminal.clone());
    let done = |result: Result<(), Failure>| result.map(|()| ExitCode::SUCCESS);
    let result = match command {
        None => {
            let help = Cli::command().render_help();
            events.emit(Event::Data(help.to_string()));
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Run(run)) => run.main(&flags, &terminal, &events),
        Some(Command::Exec(exec)) => exec.main(&flags, &terminal, &events),
        Some(Command::Task(words)) => {
            text(words).and_then(|words| run::Run { words }.main(&flags, &terminal, &events))
        }
        Some(Command::Tasks(tasks)) => done(tasks.main(&events)),
        Some(Command::Help(help)) => done(help.main(Cli::command(), &events)),
        Some(Command::Source(source)) => done(source.main(&events)),
        Some(Command::Check) => done(check::main(&flags, &events)),
        Some(Command::Init) => done(init::main(&events)),
        Some(Command::Test(test)) => done(test.main(&flags, &terminal, &events)),
        Some(Command::Eject(eject)) => done(eject.main(&events)),
        Some(Command::Console) => done(console::main(&flags, &terminal, &events)),
        Some(Command::Completions(completions)) => done(completions.main(&events)),
        Some(Command::Definitions(definitions)) => done(definitions.main(&events)),
    };
    let status = result.unwrap_or_else(|failure| {
        events.report(&failure);
        ExitCode::from(failure.kind().exit_code())
    });
    if terminal.has_lost_data() {
        return ExitCode::from(Kind::Failed.exit_code());
    }
    status
}

/// The same error, with the name of the environment variable in place of the flag if the invalid value
/// comes from there.
fn name_variable(mut error: clap::Error) -> clap::Error {
    if let Some(variable) = variable_of(&error) {
        error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
    }
    error
}

fn variable_of(error: &clap::Error) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    };
    let value = text(ContextKind::InvalidValue)?;
    let flag = text(ContextKind::InvalidArg)?.split_whitespace().next()?;
    let command = Cli::command();
    let variable = command
        .get_arguments()
        .find(|known| known.get_long() == flag.strip_prefix("--"))?
        .get_env()?
        .to_str()?;
    (std::env::var(variable).as_ref() == Ok(value)).then(|| variable.to_owned())
}

fn text(words: Vec<OsString>) -> Result<Vec<String>, Failure> {
    words
        .into_iter()
        .map(|word| {
            word.into_string().map_err(|word| {
                let message = format!("`{}` is not UTF-8 text", word.display());
                Diagnostic::new(Kind::Usage, message).into()
            })
        })
        .collect()
}
