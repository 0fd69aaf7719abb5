//! The subcommand `hitc completions`, and the answers to the shells.
//!
//! The shell runs hitc for every completion, with the variable `COMPLETE` and the words of the command
//! line up to the cursor. No provider or server is contacted: names are those of the last listing.

mod candidates;
mod shell_words;

use std::{
    ffi::OsString,
    io::{self, Write},
    thread,
    time::Duration,
};

use candidates::{Candidate, Completer};
use clap::{Args, Command, ValueEnum};
use shell_words::{Current, split};

use crate::core::{
    event::{Event, Events},
    text::escape_controls,
};

/// The environment variable with which a shell requests completions.
const VARIABLE: &str = "COMPLETE";
/// The characters at which bash divides words.
const BREAKS: &str = "_HITC_BREAKS";
/// A shell is not kept waiting for longer, whatever the scripts of a project do.
const TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}

impl Shell {
    /// What the shell evaluates.
    fn script(self) -> &'static str {
        match self {
            Shell::Bash => include_str!("hitc.bash"),
            Shell::Zsh => include_str!("hitc.zsh"),
            Shell::Fish => include_str!("hitc.fish"),
            Shell::Elvish => include_str!("hitc.elv"),
            Shell::Powershell => include_str!("hitc.ps1"),
        }
    }

    /// Whether it shows an explanation after a tab.
    fn has_help(self) -> bool {
        matches!(self, Shell::Zsh | Shell::Fish | Shell::Powershell)
    }
}

#[derive(Args)]
pub(super) struct Completions {
    /// The shell. For bash, add `source <(hitc completions bash)` to ~/.bashrc
    shell: Shell,
}

impl Completions {
    pub fn main(self, events: &Events) {
        events.emit(Event::Data(self.shell.script().to_owned()));
    }
}

/// Prints completions of the command line if a shell requested them. Returns whether it did.
pub(super) fn answer(command: fn() -> Command, arguments: &[OsString]) -> bool {
    let Some(shell) = std::env::var_os(VARIABLE) else {
        return false;
    };
    // The shell shows no errors.
    let Some(shell) = shell
        .to_str()
        .and_then(|name| Shell::from_str(name, true).ok())
    else {
        return true;
    };
    let words = arguments.iter().skip_while(|word| *word != "--").skip(1);
    let mut words: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut current = Current::default();
    if shell == Shell::Bash {
        // Bash divides words at `=` and `:`; hitc gets the line, and divides it itself.
        (words, current) = split(&words.concat());
    }
    thread::spawn(|| {
        thread::sleep(TIMEOUT);
        #[expect(clippy::exit, reason = "the script's thread cannot be ended otherwise")]
        std::process::exit(1);
    });
    let last = words.pop().unwrap_or_default();
    let candidates = Completer::new(command()).complete(words.get(1..).unwrap_or_default(), &last);
    let breaks = std::env::var(BREAKS).unwrap_or_default();
    let mut text = String::new();
    for Candidate { value, help } in candidates {
        if value.chars().any(char::is_control) {
            continue;
        }
        match shell {
            Shell::Bash => text.push_str(&current.replacement(&last, &value, &breaks)),
            _ => text.push_str(&value),
        }
        let help = help.lines().next().unwrap_or_default();
        if shell.has_help() && !help.is_empty() {
            text.push('\t');
            text.push_str(&escape_controls(help));
        }
        text.push('\n');
    }
    // The shell may be gone.
    let _ = io::stdout().write_all(text.as_bytes());
    true
}
