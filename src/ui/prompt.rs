//! Questions.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::diagnostic::{Diagnostic, Kind};

/// Asks on the terminal. With `typed`, only that word is a yes. Refuses where nobody can answer.
pub(super) fn confirm(question: &str, typed: Option<&str>) -> Result<bool, Diagnostic> {
    let refused = |why: &str| {
        Diagnostic::new(Kind::Usage, format!("{why} to answer: {question}"))
            .help("answer yes beforehand with --yes".to_owned())
    };
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(refused("there is no terminal"));
    }
    let hint = if typed.is_some() { "" } else { " [y/N]" };
    let mut stderr = io::stderr();
    let mut answer = String::new();
    write!(stderr, "{question}{hint} ")
        .and_then(|()| stderr.flush())
        .and_then(|()| stdin.lock().read_line(&mut answer))
        .map_err(|_| refused("nobody is there"))?;
    let answer = answer.trim();
    Ok(match typed {
        Some(word) => answer == word,
        None => ["y", "yes"].contains(&answer.to_lowercase().as_str()),
    })
}
