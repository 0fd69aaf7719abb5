//! `hitc run`, `hitc exec` and `hitc TASK`: run tasks and commands.

use std::{process::ExitCode, sync::Arc};

use clap::{Args, Command};
use clap_complete::engine::ArgValueCompleter;

use super::{completions::words, flags::Flags, start::Start};
use crate::{
    context::Settings,
    core::{
        diagnostic::{Diagnostic, Failure, Kind, did_you_mean},
        event::Events,
    },
    script::{self, Bound, Task, bind},
    ssh::command_line,
    ui::Terminal,
};

/// Separates tasks on the command line.
const SEPARATOR: &str = ":::";

/// The tasks that run one command, as `hitc exec` does.
const PASS_STATUS: [&str; 2] = ["docker.exec", "docker.ssh"];

#[derive(Args)]
pub(super) struct Run {
    /// The task and its values. `:::` separates further tasks
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "TASK",
        add = ArgValueCompleter::new(words)
    )]
    pub words: Vec<String>,
}

#[derive(Args)]
pub(super) struct Exec {
    /// The command: a single word is a shell command line, several words are a program and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    words: Vec<String>,
}

impl Run {
    pub fn main(
        self,
        flags: &Flags,
        terminal: &Arc<Terminal>,
        events: &Events,
    ) -> Result<ExitCode, Failure> {
        let mut start = Start::new(events)?;
        let mut calls = Vec::new();
        // Parse all tasks before the first one runs.
        for words in self.words.split(|word| word == SEPARATOR) {
            let Some((name, words)) = words.split_first() else {
                return Err(
                    Diagnostic::new(Kind::Usage, "missing task before or after `:::`").into(),
                );
            };
            if name.starts_with('-') {
                return Err(unknown_flag(name).into());
            }
            let task = start.scripts.find(name)?;
            let bound = bind(&task, words)?;
            calls.push((task, bound));
        }
        let passes_status = match calls.as_slice() {
            [(task, _)] => PASS_STATUS.contains(&task.full_name().as_str()),
            _ => false,
        };
        let executed = execute(start, &calls, flags, terminal, events);
        if passes_status {
            return status_of_command(executed, terminal, events);
        }
        executed.map(|()| ExitCode::SUCCESS)
    }
}

/// The error for an unknown flag before the task.
fn unknown_flag(flag: &str) -> Diagnostic {
    let command = Flags::augment_args(Command::new("hitc"));
    let known: Vec<String> = command
        .get_arguments()
        .filter_map(|argument| argument.get_long())
        .map(|long| format!("--{long}"))
        .collect();
    let name = flag.split('=').next().unwrap_or(flag);
    let help = did_you_mean(name, known.iter().map(String::as_str))
        .unwrap_or_else(|| "`hitc --help` lists all flags".to_owned());
    Diagnostic::new(Kind::Usage, format!("unknown flag `{name}`")).help(help)
}

impl Exec {
    pub fn main(
        self,
        flags: &Flags,
        terminal: &Arc<Terminal>,
        events: &Events,
    ) -> Result<ExitCode, Failure> {
        let line = command_line(&self.words);
        let mut start = Start::new(events)?;
        let task = start.scripts.find("exec")?;
        let bound = Bound {
            values: vec![line.into()],
        };
        let executed = execute(start, &[(task, bound)], flags, terminal, events);
        status_of_command(executed, terminal, events)
    }
}

/// On one host, hitc exits with the status of the command.
fn status_of_command(
    executed: Result<(), Failure>,
    terminal: &Terminal,
    events: &Events,
) -> Result<ExitCode, Failure> {
    let Err(failure) = executed else {
        return Ok(ExitCode::SUCCESS);
    };
    match failure.0.as_slice() {
        [
            Diagnostic {
                code: Some(code), ..
            },
        ] if terminal.is_on_one_host() => {
            let code = u8::try_from(*code).unwrap_or(u8::MAX);
            events.report(&failure);
            Ok(ExitCode::from(code))
        }
        _ => Err(failure),
    }
}

fn execute(
    start: Start,
    calls: &[(Arc<Task>, Bound)],
    flags: &Flags,
    terminal: &Arc<Terminal>,
    events: &Events,
) -> Result<(), Failure> {
    let settings = Settings {
        selection: flags.select(&start.project)?,
        sudo_password: flags.ask_sudo_password(events)?,
        ..flags.settings(start.scripts.config(&start.api)?)
    };
    let run = start.begin(settings, flags.mode(), terminal, events)?;
    let done = script::run(&run.scripts, &run.inventory, calls);
    let late = run.inventory.context.late();
    let is_pending = run.end();
    match done {
        Ok(()) if late.is_empty() => {}
        Ok(()) => return Err(Failure(late)),
        Err(failure) => return Err(Failure([failure.0, late].concat())),
    }
    if flags.exit_code && is_pending {
        return Err(Diagnostic::new(Kind::Pending, "there are changes to make").into());
    }
    Ok(())
}
