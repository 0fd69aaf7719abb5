//! The command line: global flags, and one file per subcommand.

mod check;
mod completions;
mod console;
mod context;
mod definitions;
mod eject;
mod flags;
mod global_flags;
mod help;
mod init;
mod run;
mod source;
mod start;
mod tasks;
mod test;

use std::{borrow::Cow, ffi::OsString, process::ExitCode, sync::Arc};

use clap::{
    CommandFactory, FromArgMatches, Parser, Subcommand,
    error::{ContextKind, ContextValue},
};
use flags::Flags;
use global_flags::{GlobalFlags, Line};

use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::{Event, Events},
    },
    fleet::alone,
    ui::{Terminal, TerminalOptions},
};

/// The exit status if the reader of standard output closes it before the end, as of a program that
/// SIGPIPE ends.
const CLOSED: u8 = 141;

/// What a newcomer needs, in one screen. `--help` shows the rest.
const SHORT_HELP: &str = include_str!("help.txt");

/// Servers at any cloud, the containers on them, and the tasks you run there.
#[derive(Parser)]
#[command(
    name = "hitc",
    version,
    disable_help_subcommand = true,
    override_usage = "hitc [FLAGS] TASK [VALUE | NAME=VALUE]...\n       hitc [FLAGS] COMMAND",
    after_help = "`hitc TASK …` is short for `hitc run TASK …`. Flags may also follow the task, unless it has a parameter of that name; after `--`, nothing is a flag. Run `hitc tasks` for a list of the tasks."
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
    /// Run the tests of the project's scripts. Nothing is contacted
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
    alone(|| run(&arguments)).unwrap_or_else(|_| ExitCode::from(Kind::Failed.exit_code()))
}

fn run(arguments: &[OsString]) -> ExitCode {
    if completions::answer(Cli::command, arguments) {
        return ExitCode::SUCCESS;
    }
    let known = GlobalFlags::new();
    let line = known.split(&Cli::command(), arguments);
    let Cli { flags, command } = match parse(line.flags.iter().chain(&line.rest)) {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    let terminal = Arc::new(Terminal::new(terminal_options(
        &flags,
        command.as_ref(),
        &known,
        &line,
    )));
    let events = Events::new(terminal.clone());
    if let Err(error) = flags.change_directory() {
        events.report(&error.into());
        return ExitCode::from(Kind::Usage.exit_code());
    }
    let hitcfile = flags.hitcfile();
    let done = |result: Result<(), Failure>| result.map(|()| ExitCode::SUCCESS);
    let result = match command {
        None => {
            events.emit(Event::Data(SHORT_HELP.to_owned()));
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Run(run)) => run.main(&known, &line.flags, parse_flags, &terminal, &events),
        Some(Command::Exec(exec)) => exec.main(&known, &flags, &terminal, &events),
        Some(Command::Task(words)) => text(words).and_then(|words| {
            run::Run { words }.main(&known, &line.flags, parse_flags, &terminal, &events)
        }),
        Some(Command::Tasks(tasks)) => done(tasks.main(hitcfile, &events)),
        Some(Command::Help(help)) => done(help.main(long_help(), hitcfile, &events)),
        Some(Command::Source(source)) => done(source.main(hitcfile, &events)),
        Some(Command::Check) => {
            let command = Cli::command();
            let names = command.get_subcommands().map(clap::Command::get_name);
            done(check::main(&flags, &names.collect::<Vec<_>>(), &events))
        }
        Some(Command::Init) => done(init::main(&events)),
        Some(Command::Test(test)) => done(test.main(&flags, &terminal, &events)),
        Some(Command::Eject(eject)) => done(eject.main(hitcfile, &events)),
        Some(Command::Console) => done(console::main(&flags, &terminal, &events)),
        Some(Command::Completions(completions)) => {
            completions.main(&events);
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Definitions(definitions)) => done(definitions.main(&events)),
    };
    let status = result.unwrap_or_else(|failure| {
        events.report(&failure);
        if terminal.is_closed()
            && failure
                .0
                .iter()
                .all(|error| error.kind == Kind::Interrupted)
        {
            return ExitCode::from(CLOSED);
        }
        ExitCode::from(failure.kind().exit_code())
    });
    if terminal.has_lost_data() {
        return ExitCode::from(Kind::Failed.exit_code());
    }
    status
}

/// How the terminal shows events while scripts are loaded. Which flags after a task are hitc's is known
/// when its script is loaded.
fn terminal_options(
    flags: &Flags,
    command: Option<&Command>,
    known: &GlobalFlags,
    line: &Line,
) -> TerminalOptions {
    let words: Vec<String> = match command {
        Some(Command::Run(run)) => run.words.clone(),
        Some(Command::Task(words)) => {
            let words = words.iter().map(|word| word.to_string_lossy());
            words.map(Cow::into_owned).collect()
        }
        _ => return flags.terminal_options(),
    };
    let possible = known.possible(&words).into_iter().map(OsString::from);
    match Cli::try_parse_from(line.flags.iter().cloned().chain(possible)) {
        Ok(cli) => cli.flags.terminal_options(),
        // Reported later, if it is one.
        Err(_) => flags.terminal_options(),
    }
}

/// Parses a command line. An error or the help is printed; then, the result is the exit status.
fn parse<'a>(words: impl Iterator<Item = &'a OsString>) -> Result<Cli, ExitCode> {
    let words: Vec<&OsString> = words.collect();
    let is = |flag: &str| words.iter().any(|word| *word == flag);
    let mut command = if is("-h") || is("--help") {
        long_help()
    } else {
        Cli::command()
    };
    if is("-h") {
        command = command.override_help(SHORT_HELP);
    }
    let read = |mut command: clap::Command| {
        let matches = command.try_get_matches_from_mut(words.iter())?;
        Cli::from_arg_matches(&matches)
    };
    read(command).map_err(|error| {
        let error = if error.use_stderr() {
            read(with_usage(Cli::command())).err().unwrap_or(error)
        } else {
            error
        };
        // A closed standard output is not an error.
        let error = name_variable(error);
        let _ = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

/// Fixes the usage lines of subcommands in errors: clap shows flags that an environment variable sets as if
/// they were required.
fn with_usage(mut command: clap::Command) -> clap::Command {
    command.build();
    for subcommand in command.get_subcommands_mut() {
        let usage = subcommand.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").to_owned();
        *subcommand = std::mem::take(subcommand).override_usage(usage);
    }
    command
}

/// Parses flags without a subcommand.
fn parse_flags(words: &[OsString]) -> Result<Flags, ExitCode> {
    parse(words.iter()).map(|cli| cli.flags)
}

/// The command line for its help: subcommands do not repeat the global flags.
fn long_help() -> clap::Command {
    let mut command = Cli::command();
    // Gives the subcommands their global flags.
    command.build();
    let hide = |argument: clap::Arg| {
        let is_hidden = argument.is_global_set() || argument.is_hide_set();
        argument.hide(is_hidden)
    };
    command.mut_subcommands(|subcommand| {
        subcommand
            .mut_args(hide)
            .after_help("`hitc --help` lists the flags of all commands.")
    })
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
