//! The subcommand `hitc completions`, and the completions themselves.
//!
//! The shell runs hitc for every completion. No provider or server is contacted: host names are those
//! of the last listing.

use std::ffi::{OsStr, OsString};

use clap::{Args, Command, ValueEnum};
use clap_complete::{
    CompleteEnv, CompletionCandidate,
    engine::ArgValueCompleter,
    env::{EnvCompleter, Shells},
};

use super::start::{Start, find_project};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind, plain},
        event::{Event, Events},
        text::escape_controls,
    },
    provider::role,
    script::{Task, Type},
};

/// The environment variable with which a shell requests completions.
const VARIABLE: &str = "COMPLETE";

#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}

#[derive(Args)]
pub(super) struct Completions {
    /// The shell. For bash, add `source <(hitc completions bash)` to ~/.bashrc
    shell: Shell,
}

impl Completions {
    pub fn main(self, events: &Events) -> Result<(), Failure> {
        let shells = Shells::builtins();
        let value = self.shell.to_possible_value();
        let name = value.as_ref().map_or("", |value| value.get_name());
        let fail = |cause: String| Diagnostic::new(Kind::Failed, format!("completions: {cause}"));
        let shell: &dyn EnvCompleter = shells
            .completer(name)
            .ok_or_else(|| fail(format!("unknown shell `{name}`")))?;
        let mut script = Vec::new();
        shell
            .write_registration(VARIABLE, "hitc", "hitc", "hitc", &mut script)
            .map_err(|error| fail(plain(error)))?;
        let script = String::from_utf8_lossy(&script).into_owned();
        events.emit(Event::Data(script));
        Ok(())
    }
}

/// Prints completions of the command line `known` if a shell requested them. Returns whether it did.
pub(super) fn answer(known: fn() -> Command, arguments: &[OsString]) -> bool {
    if std::env::var_os(VARIABLE).is_none() {
        return false;
    }
    // The shell shows no errors.
    CompleteEnv::with_factory(|| with_tasks(known()))
        .var(VARIABLE)
        .try_complete(arguments.to_vec(), None)
        .unwrap_or(true)
}

/// Returns the command line with tasks as further subcommands, because `hitc TASK` is
/// `hitc run TASK`.
fn with_tasks(known: Command) -> Command {
    let names: Vec<String> = known
        .get_subcommands()
        .map(|subcommand| subcommand.get_name().to_owned())
        .collect();
    let tasks = tasks()
        .into_iter()
        .filter(|task| !names.contains(&task.full_name()));
    let subcommands = tasks.map(|task| {
        Command::new(task.full_name())
            .about(task.summary.clone())
            .arg(
                clap::Arg::new("words")
                    .num_args(0..)
                    .trailing_var_arg(true)
                    .allow_hyphen_values(true)
                    .add(ArgValueCompleter::new(words)),
            )
    });
    let subcommands: Vec<Command> = subcommands.collect();
    known.subcommands(subcommands)
}

fn tasks() -> Vec<std::sync::Arc<Task>> {
    let all = Start::new(&Events::silent()).and_then(|mut start| start.scripts.all());
    let tasks = all.unwrap_or_default().into_iter();
    tasks.filter(|task| !task.hidden).collect()
}

/// Completes the words after `hitc run`: a task, then its parameters.
pub(super) fn words(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else {
        return Vec::new();
    };
    let tasks = tasks();
    let before = before();
    // `:::` separates tasks.
    let last = before
        .rsplit(|word| word == ":::")
        .next()
        .unwrap_or_default();
    let task = last
        .iter()
        .find_map(|word| tasks.iter().find(|task| task.full_name() == *word));
    let candidates: Vec<CompletionCandidate> = match task {
        None => tasks
            .iter()
            .map(|task| candidate(&task.full_name(), &task.summary))
            .collect(),
        Some(task) => parameters(task, last),
    };
    let begins = |candidate: &CompletionCandidate| {
        candidate
            .get_value()
            .to_str()
            .is_some_and(|value| value.starts_with(current))
    };
    candidates.into_iter().filter(begins).collect()
}

fn parameters(task: &Task, given: &[String]) -> Vec<CompletionCandidate> {
    let mut candidates = Vec::new();
    for param in &task.params {
        let name = format!("{}=", param.name);
        if given.iter().any(|word| word.starts_with(&name)) || param.name == "options" {
            continue;
        }
        match param.kind {
            Type::Bool => {
                candidates.push(candidate(&format!("{name}true"), &param.doc));
                candidates.push(candidate(&format!("{name}false"), &param.doc));
            }
            _ => candidates.push(candidate(&name, &param.doc)),
        }
    }
    candidates
}

fn candidate(value: &str, help: &str) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(escape_controls(help).into_owned().into()))
}

/// Returns the words of the command line before the completed one.
fn before() -> Vec<String> {
    let words = std::env::args().skip_while(|word| word != "--").skip(2);
    let mut words: Vec<String> = words.collect();
    // Some shells tell the position of the completed word, which may be in the middle of the line.
    let index = std::env::var("_CLAP_COMPLETE_INDEX")
        .ok()
        .and_then(|text| text.parse().ok());
    let end: usize = index
        .map_or(words.len(), |index: usize| index)
        .saturating_sub(1);
    words.truncate(end);
    words
}

/// Completes names of servers, from the last listing.
pub(super) fn hosts(current: &OsStr) -> Vec<CompletionCandidate> {
    listed(current, str::to_owned)
}

/// Completes roles of servers, from the last listing.
pub(super) fn roles(current: &OsStr) -> Vec<CompletionCandidate> {
    listed(current, |name| role(name).to_owned())
}

fn listed(current: &OsStr, of: impl Fn(&str) -> String) -> Vec<CompletionCandidate> {
    let current = current.to_str().unwrap_or_default();
    // Names are separated by commas; complete the last one.
    let (before, last) = match current.rfind(',') {
        Some(at) => current.split_at(at + 1),
        None => ("", current),
    };
    let names = find_project()
        .map(|project| project.seen_servers())
        .unwrap_or_default();
    let mut values: Vec<String> = names.iter().map(|name| of(name)).collect();
    values.sort();
    values.dedup();
    let values = values.iter().filter(|value| value.starts_with(last));
    values
        .map(|value| CompletionCandidate::new(format!("{before}{value}")))
        .collect()
}
