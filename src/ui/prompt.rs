//! Questions.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::core::diagnostic::{Diagnostic, Kind};

/// Asks on the terminal. With `typed`, only that word is a yes. Refuses where nobody can answer.
pub(super) fn confirm(question: &str, typed: Option<&str>) -> Result<bool, Diagnostic> {
    let hint = if typed.is_some() { "" } else { " [y/N]" };
    let answer = ask(question, &format!("{question}{hint} "), false)
        .map_err(|error| error.help("answer yes beforehand with --yes".to_owned()))?;
    Ok(match typed {
        Some(word) => answer == word,
        None => ["y", "yes"].contains(&answer.to_lowercase().as_str()),
    })
}

/// Asks for a text. A `hidden` one is not shown while it is typed.
pub(super) fn text(question: &str, hidden: bool) -> Result<String, Diagnostic> {
    ask(question, &format!("{question} "), hidden)
        .map_err(|error| error.help("give it as a parameter, or in the environment".to_owned()))
}

fn ask(question: &str, shown: &str, hidden: bool) -> Result<String, Diagnostic> {
    let refused = |why: &str| Diagnostic::new(Kind::Usage, format!("{why} to answer: {question}"));
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(refused("there is no terminal"));
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
        .map_err(|_| refused("nobody is there"))?;
    Ok(answer.trim().to_owned())
}
