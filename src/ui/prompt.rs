//! Asks questions on the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::core::diagnostic::{Diagnostic, Kind};

/// Asks a yes/no question. With `typed`, only typing that word counts as yes. Fails without a
/// terminal.
pub(super) fn confirm(question: &str, typed: Option<&str>) -> Result<bool, Diagnostic> {
    let hint = if typed.is_some() { "" } else { " [y/N]" };
    let answer = ask(question, &format!("{question}{hint} "), false)
        .map_err(|error| error.help("use --yes to answer every question with yes".to_owned()))?;
    Ok(match typed {
        Some(word) => answer == word,
        None => ["y", "yes"].contains(&answer.to_lowercase().as_str()),
    })
}

/// Asks for a text. With `hidden`, typed characters are not shown. Fails without a terminal.
pub(super) fn text(question: &str, hidden: bool) -> Result<String, Diagnostic> {
    ask(question, &format!("{question} "), hidden).map_err(|error| {
        error.help("pass the value as a parameter or in the environment".to_owned())
    })
}

fn ask(question: &str, shown: &str, hidden: bool) -> Result<String, Diagnostic> {
    let refused = |why: &str| Diagnostic::new(Kind::Usage, format!("{why} to answer: {question}"));
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
        .map_err(|_| refused("the terminal was closed: unable"))?;
    Ok(answer.trim().to_owned())
}
