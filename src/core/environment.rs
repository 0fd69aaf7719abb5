//! Environment variables: those of the process, which take precedence, and the project's `.env`.

use std::{collections::HashMap, env, fs, path::Path, sync::OnceLock};

use crate::core::diagnostic::{Diagnostic, Kind};

/// The name of the file in the project's folder.
const FILE: &str = ".env";

static FROM_FILE: OnceLock<HashMap<String, String>> = OnceLock::new();

/// Loads the `.env` of a project's folder, if it exists. A process has one project.
pub fn load(root: &Path) -> Result<(), Diagnostic> {
    let path = root.join(FILE);
    if !path.is_file() {
        return Ok(());
    }
    let wrong = |error: dotenvy::Error| {
        let message = match error {
            dotenvy::Error::LineParse(part, _) => {
                // Name the line without its content, which may be a secret.
                let text = fs::read_to_string(&path).unwrap_or_default();
                let at = text.lines().position(|line| line.contains(&part));
                let line = at.map_or(String::new(), |at| format!(", line {}", at + 1));
                format!("`{FILE}`{line}: invalid syntax")
            }
            other => format!("`{FILE}`: {other}"),
        };
        Diagnostic::new(Kind::Usage, message)
            .help("write NAME=VALUE, with quotes around a value that contains spaces".to_owned())
    };
    let lines = dotenvy::from_path_iter(&path).map_err(wrong)?;
    let read: HashMap<String, String> = lines.collect::<Result<_, _>>().map_err(wrong)?;
    // Fails only on a second call, which does not happen.
    let _ = FROM_FILE.set(read);
    Ok(())
}

/// Returns the value of a variable, if it is set and UTF-8.
pub fn get(name: &str) -> Option<String> {
    let from_file = || FROM_FILE.get()?.get(name).cloned();
    env::var(name).ok().or_else(from_file)
}

/// The parts of names of variables whose values are secrets.
const SECRET_NAMES: [&str; 8] = [
    "PASS",
    "SECRET",
    "TOKEN",
    "KEY",
    "CREDENTIAL",
    "PWD",
    "AUTH",
    "DSN",
];
/// The shortest value that is a secret under another name, in bytes.
const MIN_SECRET: usize = 8;

/// Whether the value of a variable, as programs get it, may be a secret. A number, an address or a
/// word is none unless the name says so: such a value occurs in other output.
pub fn may_be_secret(name: &str, value: &str) -> bool {
    let name = name.to_uppercase();
    if SECRET_NAMES.iter().any(|part| name.contains(part)) {
        return true;
    }
    let has_letter = value.contains(char::is_alphabetic);
    let has_other = value.contains(|c: char| !c.is_alphabetic() && !"-_./".contains(c));
    value.len() >= MIN_SECRET && has_letter && has_other
}

/// Whether a variable is set to bytes that are not UTF-8, which [`get`] does not return.
pub fn is_not_utf8(name: &str) -> bool {
    matches!(env::var(name), Err(env::VarError::NotUnicode(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_by_name_or_by_value() {
        for (name, value) in [
            ("DB_PASSWORD", "word"),
            ("API_KEY", "1234567890"),
            ("DATABASE_URL", "postgres://shop:pw@db/shop"),
            ("X", "correct horse"),
            ("X", "aB3dE5fG"),
        ] {
            assert!(may_be_secret(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("MODE", "production"),
            ("PORT", "8080"),
            ("LISTEN", "0.0.0.0:8080"),
            ("HOST", "db.example.com"),
            ("USER", "postgres"),
            ("DEBUG", "true"),
        ] {
            assert!(!may_be_secret(name, value), "{name}={value}");
        }
    }
}
