//! Environment variables: those of the process, which take precedence, and the project's `.env`.

use std::{collections::HashMap, env, fs, path::Path, sync::OnceLock};

use crate::core::diagnostic::{Diagnostic, Kind};

/// The name of the file in the project's folder.
const FILE: &str = ".env";

static FROM_FILE: OnceLock<HashMap<String, String>> = OnceLock::new();

/// Loads the `.env` of a project's folder, if it exists. A process has one project.
pub fn load(root: &Path) -> Result<(), Diagnostic> {
    let path = root.join(FILE);
    if path.is_file() {
        // Fails only on a second call, which does not happen.
        let _ = FROM_FILE.set(read(&path)?);
    }
    Ok(())
}

/// Reads lines `NAME=VALUE`.
pub fn read(path: &Path) -> Result<HashMap<String, String>, Diagnostic> {
    let wrong = |error: dotenvy::Error| {
        let message = match error {
            dotenvy::Error::LineParse(part, _) => {
                // Name the line without its content, which may be a secret.
                let text = fs::read_to_string(path).unwrap_or_default();
                let at = text.lines().position(|line| line.contains(&part));
                let line = at.map_or(String::new(), |at| format!(", line {}", at + 1));
                format!("`{FILE}`{line}: invalid syntax")
            }
            other => format!("`{FILE}`: {other}"),
        };
        Diagnostic::new(Kind::Usage, message)
            .help("write NAME=VALUE, with quotes around a value that contains spaces".to_owned())
    };
    let lines = dotenvy::from_path_iter(path).map_err(wrong)?;
    lines.collect::<Result<_, _>>().map_err(wrong)
}

/// Returns the value of a variable, if it is set and UTF-8.
pub fn get(name: &str) -> Option<String> {
    let from_file = || FROM_FILE.get()?.get(name).cloned();
    env::var(name).ok().or_else(from_file)
}

/// Whether a variable is set to bytes that are not UTF-8, which [`get`] does not return.
pub fn is_not_utf8(name: &str) -> bool {
    matches!(env::var(name), Err(env::VarError::NotUnicode(_)))
}
