//! hitc's own flags among the words of a command line: they are understood before and after a subcommand
//! or task.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Args, Command};

use super::flags::{CONNECTION, Flags, PROJECT, SELECTION};
use crate::{
    core::diagnostic::{Diagnostic, Kind, did_you_mean, nearest},
    script::Task,
};

/// Separates tasks on the command line.
pub(super) const SEPARATOR: &str = ":::";
/// Ends the flags: the words after it are a command.
const END: &str = "--";
/// The subcommands whose words follow their flags.
const WITH_WORDS: [&str; 2] = ["run", "exec"];

/// All global flags.
pub(super) struct GlobalFlags(Vec<Arg>);

/// A flag at the beginning of words.
pub(super) struct Found<'a> {
    pub arg: &'a Arg,
    /// How many words it takes, with its value.
    pub len: usize,
    /// Whether its value is in the same word.
    pub is_attached: bool,
}

/// A command line, with the flags that belong to hitc in front.
pub(super) struct Line {
    /// The program's name, and the flags.
    pub flags: Vec<OsString>,
    /// The subcommand or task, and its words.
    pub rest: Vec<OsString>,
}

/// The words of a task, sorted.
#[derive(Default)]
pub(super) struct Sorted {
    /// Those of the task.
    pub own: Vec<String>,
    /// Those of hitc.
    pub flags: Vec<String>,
    /// Whether one of them asks for the help of the task.
    pub help: bool,
}

impl GlobalFlags {
    pub fn new() -> Self {
        let command = Flags::augment_args(Command::new("hitc"));
        GlobalFlags(command.get_arguments().cloned().collect())
    }

    pub fn all(&self) -> &[Arg] {
        &self.0
    }

    /// The flag at the beginning of these words, if the first one is a flag of hitc.
    pub fn at<T: AsRef<OsStr>>(&self, words: &[T]) -> Option<Found<'_>> {
        let word = words.first()?.as_ref().to_string_lossy();
        if let Some(name) = word.strip_prefix("--") {
            let (name, is_attached) = match name.split_once('=') {
                Some((name, _)) => (name, true),
                None => (name, false),
            };
            let arg = self.0.iter().find(|arg| arg.get_long() == Some(name))?;
            return Some(found(arg, is_attached));
        }
        // Switches may share a dash: `-ny`.
        let mut letters = word.strip_prefix('-')?.chars();
        loop {
            let letter = letters.next()?;
            let arg = self.0.iter().find(|arg| arg.get_short() == Some(letter))?;
            let is_last = letters.as_str().is_empty();
            if is_last || takes_value(arg) {
                return Some(found(arg, !is_last));
            }
        }
    }

    /// Splits a command line, and moves the flags in front that follow the subcommand. Those that follow
    /// a task are left where they are: only the task knows which are its own.
    pub fn split(&self, command: &Command, arguments: &[OsString]) -> Line {
        let mut flags: Vec<OsString> = arguments.iter().take(1).cloned().collect();
        let mut words = arguments.get(1..).unwrap_or_default();
        while let Some(found) = self.at(words) {
            let (taken, others) = words.split_at(found.len.min(words.len()));
            flags.extend_from_slice(taken);
            words = others;
        }
        let mut rest = Vec::new();
        let is_known = |name: &OsString| {
            command
                .get_subcommands()
                .any(|sub| *sub.get_name() == **name)
        };
        if let Some((name, mut others)) = words.split_first().filter(|(name, _)| is_known(name)) {
            let has_words = WITH_WORDS.iter().any(|with| **with == **name);
            rest.push(name.clone());
            while let Some(word) = others.first() {
                if let Some(found) = self.at(others) {
                    let (taken, behind) = others.split_at(found.len.min(others.len()));
                    flags.extend_from_slice(taken);
                    others = behind;
                } else if has_words || word == END {
                    break;
                } else {
                    rest.push(word.clone());
                    others = &others[1..];
                }
            }
            words = others;
        }
        rest.extend_from_slice(words);
        Line { flags, rest }
    }

    /// All words that can be flags of hitc after these tasks, whatever the tasks are.
    pub fn possible(&self, words: &[String]) -> Vec<String> {
        let mut flags = Vec::new();
        for words in words.split(|word| word == SEPARATOR) {
            let mut words = words;
            while words.first().is_some_and(|word| word != END) {
                let len = match self.at(words) {
                    Some(found) if !is_of_project(found.arg) => {
                        flags.extend(words.iter().take(found.len).cloned());
                        found.len
                    }
                    _ => 1,
                };
                words = words.get(len..).unwrap_or_default();
            }
        }
        flags
    }

    /// Sorts the words that follow a task. A flag is the task's if it has a parameter of that name, else
    /// hitc's. After `--`, nothing is a flag.
    pub fn sort(&self, task: &Task, words: &[String]) -> Result<Sorted, Diagnostic> {
        let mut sorted = Sorted::default();
        let mut words = words;
        while let Some(word) = words.first() {
            let len = if word == END {
                sorted.own.extend_from_slice(words);
                break;
            } else if let Some(len) = task.flag_len(word) {
                len
            } else if word == "-h" || word == "--help" {
                sorted.help = true;
                words = &words[1..];
                continue;
            } else if let Some(found) = self.at(words) {
                check(task, word, &found)?;
                let (taken, others) = words.split_at(found.len.min(words.len()));
                sorted.flags.extend_from_slice(taken);
                words = others;
                continue;
            } else {
                self.check_unknown(task, word)?;
                let is_option = word.len() > 2 && word.starts_with("--") && !word.contains('=');
                if is_option { 2 } else { 1 }
            };
            let (taken, others) = words.split_at(len.min(words.len()));
            if let [name, value] = taken {
                self.refuse_as_value(name, value)?;
            }
            sorted.own.extend_from_slice(taken);
            words = others;
        }
        Ok(sorted)
    }

    /// Refuses a flag of hitc in the place of a value: `deploy --tag -n` would not be a dry run.
    fn refuse_as_value(&self, name: &str, value: &str) -> Result<(), Diagnostic> {
        if self.at(&[value]).is_none() {
            return Ok(());
        }
        let message = format!("missing value for `{name}`: `{value}` is a flag of hitc");
        let help = format!("to pass it as the value, write `{name}={value}`");
        Err(Diagnostic::new(Kind::Usage, message).help(help))
    }

    /// Refuses flags after one task of several that would select servers, or confirm, for all of them.
    pub fn refuse_for_several(&self, flags: &[String]) -> Result<(), Diagnostic> {
        let mut words = flags;
        while let Some(found) = self.at(words) {
            let arg = found.arg;
            if arg.get_help_heading() == Some(SELECTION) || arg.get_id() == "yes" {
                let message = format!(
                    "`{}` stands after one task of several, and would hold for all of them",
                    words[0]
                );
                let help = "write it before the first task, or run the tasks one by one".to_owned();
                return Err(Diagnostic::new(Kind::Usage, message).help(help));
            }
            words = words.get(found.len..).unwrap_or_default();
        }
        Ok(())
    }

    /// The error for an unknown flag.
    pub fn unknown(&self, flag: &str) -> Diagnostic {
        let name = flag.split('=').next().unwrap_or(flag);
        let help = self
            .near(name)
            .unwrap_or_else(|| "`hitc --help` lists all flags".to_owned());
        Diagnostic::new(Kind::Usage, format!("unknown flag `{name}`")).help(help)
    }

    /// A suggestion: a flag with a similar name.
    fn near(&self, name: &str) -> Option<String> {
        let known = self.0.iter().filter_map(Arg::get_long);
        let known: Vec<String> = known.map(|long| format!("--{long}")).collect();
        did_you_mean(name, known.iter().map(String::as_str))
    }

    /// Refuses a word that looks like a mistyped flag of hitc. Binding refuses other unknown flags.
    fn check_unknown(&self, task: &Task, word: &str) -> Result<(), Diagnostic> {
        let Some(name) = word.strip_prefix("--").filter(|_| !task.takes_options()) else {
            return Ok(());
        };
        let name = name.split('=').next().unwrap_or(name).replace('-', "_");
        let own = task.params.iter().map(|param| param.name.as_str());
        if nearest(&name, own).is_none() && self.near(word).is_some() {
            return Err(self.unknown(word));
        }
        Ok(())
    }
}

fn found(arg: &Arg, is_attached: bool) -> Found<'_> {
    Found {
        arg,
        len: if takes_value(arg) && !is_attached {
            2
        } else {
            1
        },
        is_attached,
    }
}

pub(super) fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

/// Whether a flag says where the tasks come from.
pub(super) fn is_of_project(arg: &Arg) -> bool {
    arg.get_help_heading() == Some(PROJECT)
}

/// Whether a flag after a task could as well be one of the task's options. Containers and servers have
/// users and ports, too.
pub(super) fn is_ambiguous(task: &Task, arg: &Arg) -> bool {
    task.takes_options() && takes_value(arg) && arg.get_help_heading() == Some(CONNECTION)
}

/// Refuses flags that must stand before the task.
fn check(task: &Task, word: &str, found: &Found<'_>) -> Result<(), Diagnostic> {
    let name = task.full_name();
    let flag = word.split('=').next().unwrap_or(word);
    if is_of_project(found.arg) {
        let message = format!("`{flag}` comes before the task: it decides which tasks there are");
        let value = found.arg.get_value_names().and_then(<[_]>::first);
        let value = value.map_or("", |value| value.as_str());
        let help = format!("write `hitc {flag} {value} {name} …`");
        return Err(Diagnostic::new(Kind::Usage, message).help(help));
    }
    if is_ambiguous(task, found.arg) {
        let long = found.arg.get_long().unwrap_or_default();
        let message = format!(
            "{name}: `{flag}` is a flag of hitc, and may be meant as an option of the task"
        );
        return Err(Diagnostic::new(Kind::Usage, message).help(format!(
            "write `{}=…` for the option, or the flag before the task: `hitc --{long} … {name}`",
            long.replace('-', "_")
        )));
    }
    Ok(())
}
