//! Asks questions on the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::core::diagnostic::{Diagnostic, Kind};

/// Asks a yes/no question. With `typed`, only typing that word counts as yes. Fails without a
/// terminal.
pub(super) fn confirm(question: &str, typed: Option<&str>) -> Result<bool, Diagnostic> {
    let hint = if typed.is_some() { "" } else { " [y/N]" };
    let help = "use --yes to answer every question with yes";
    let answer = ask(question, &format!("{question}{hint} "), false, help)?;
    Ok(match typed {
        Some(word) => answer == word,
        None => ["y", "yes"].contains(&answer.to_lowercase().as_str()),
    })
}

/// Asks for a text. With `hidden`, typed characters are not shown. Fails without a terminal.
pub(super) fn text(question: &str, hidden: bool) -> Result<String, Diagnostic> {
    let help = "pass the value as a parameter or in the environment";
    ask(question, &format!("{question} "), hidden, help)
}

/// Shows `shown` and reads an answer. `help` says how to answer `question` without a terminal.
fn ask(question: &str, shown: &str, hidden: bool, help: &str) -> Result<String, Diagnostic> {
    let refused = |why: &str| {
        Diagnostic::new(Kind::Usage, format!("{why} to answer: {question}")).help(help.to_owned())
    };
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(refused("no terminal"));
    }
    let mut stderr = io::stderr();
    let mut answer = String::new();
    write!(stderr, "{shown}")
        .and_then(|()| stderr.flush())
        .and_then(|()| {
            if hidden {
                answer = rpassword::read_password()?;
                return Ok(answer.len());
            }
            stdin.lock().read_line(&mut answer)
        })
        .map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => interrupted(),
            _ => refused("the terminal was closed: unable"),
        })?;
    Ok(answer.trim().to_owned())
}

/// The error of a question that is not answered because of Ctrl-C.
pub(super) fn interrupted() -> Diagnostic {
    Diagnostic::new(Kind::Interrupted, "interrupted")
}
