//! `hitc run`, `hitc exec` and `hitc TASK`: run tasks and commands.

use std::{ffi::OsString, path::Path, process::ExitCode, sync::Arc};

use clap::Args;

use super::{
    flags::{Flags, SELECTION},
    global_flags::{GlobalFlags, SEPARATOR},
    help::describe,
    start::Start,
};
use crate::{
    context::Settings,
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::{Event, Events},
        text::escape_controls_in_lines,
    },
    script::{self, Bound, Task, bind},
    ssh::command_line,
    ui::Terminal,
};

/// The tasks that run one command, as `hitc exec` does.
const PASS_STATUS: [&str; 2] = ["docker.exec", "docker.ssh"];

/// The task that shows a plan, also without `--dry-run`.
const PLAN: &str = "ensemble.plan";

/// Parses flags, which follow the program's name. An error is printed; then, the result is the exit status.
pub(super) type ParseFlags = fn(&[OsString]) -> Result<Flags, ExitCode>;

#[derive(Args)]
pub(super) struct Run {
    /// The task and its values. `:::` separates further tasks
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "TASK"
    )]
    pub words: Vec<String>,
}

#[derive(Args)]
pub(super) struct Exec {
    /// The command: a single word is a shell command line, several words are a program and its arguments.
    /// Flags of hitc come before it
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    words: Vec<String>,
}

impl Run {
    /// `given` is the program's name and the flags before the task.
    pub fn main(
        self,
        known: &GlobalFlags,
        given: &[OsString],
        parse: ParseFlags,
        terminal: &Arc<Terminal>,
        events: &Events,
    ) -> Result<ExitCode, Failure> {
        let hitcfile = match parse(given) {
            Ok(flags) => flags.hitcfile().map(Path::to_owned),
            Err(status) => return Ok(status),
        };
        let mut start = Start::new(hitcfile.as_deref(), events)?;
        let mut calls = Vec::new();
        let mut line = given.to_vec();
        // Parse all tasks before the first one runs.
        for words in self.words.split(|word| word == SEPARATOR) {
            let Some((name, words)) = words.split_first() else {
                return Err(
                    Diagnostic::new(Kind::Usage, "missing task before or after `:::`").into(),
                );
            };
            if name.starts_with('-') {
                return Err(known.unknown(name).into());
            }
            let task = start.scripts.find(name)?;
            let sorted = known.sort(&task, words)?;
            if sorted.help {
                let text = escape_controls_in_lines(&describe(&task)).into_owned();
                events.emit(Event::Data(text));
                return Ok(ExitCode::SUCCESS);
            }
            if self.words.iter().any(|word| word == SEPARATOR) {
                known.refuse_for_several(&sorted.flags)?;
            }
            line.extend(sorted.flags.into_iter().map(OsString::from));
            let bound = bind(&task, &sorted.own)?;
            calls.push((task, bound));
        }
        let flags = match parse(&line) {
            Ok(flags) => flags,
            Err(status) => return Ok(status),
        };
        terminal.set_options(flags.terminal_options());
        let passes_status = match calls.as_slice() {
            [(task, _)] => PASS_STATUS.contains(&task.full_name().as_str()),
            _ => false,
        };
        let executed = execute(start, &calls, &flags, terminal, events);
        if passes_status {
            return status_of_command(executed, terminal, events);
        }
        executed.map(|()| ExitCode::SUCCESS)
    }
}

impl Exec {
    pub fn main(
        self,
        known: &GlobalFlags,
        flags: &Flags,
        terminal: &Arc<Terminal>,
        events: &Events,
    ) -> Result<ExitCode, Failure> {
        let line = command_line(&self.words);
        let selects = |word: &&String| {
            let flag = known.at(std::slice::from_ref(*word));
            flag.is_some_and(|flag| flag.arg.get_help_heading() == Some(SELECTION))
        };
        let late = self.words.iter().skip(1).find(selects);
        if let Some(flag) = late.filter(|_| !flags.selects()) {
            let message =
                format!("no servers are selected: `{flag}` belongs to the command `{line}`");
            return Err(Diagnostic::new(Kind::Usage, message)
                .help(
                    "flags of hitc come before the command: `hitc exec -H web uname -a`".to_owned(),
                )
                .into());
        }
        let mut start = Start::new(flags.hitcfile(), events)?;
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
    let is_plan = |(task, _): &(Arc<Task>, Bound)| task.full_name() == PLAN;
    if flags.exit_code && flags.mode().is_real() && !calls.iter().all(is_plan) {
        let error = Diagnostic::new(Kind::Usage, "`--exit-code` needs `--dry-run`");
        return Err(error.into());
    }
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
