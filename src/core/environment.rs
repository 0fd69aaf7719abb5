//! Environment variables: those of the process, which take precedence, and the project's `.env`.

use std::{
    collections::HashMap,
    env, io,
    path::Path,
    sync::{Mutex, OnceLock},
};

use crate::core::{
    diagnostic::{Diagnostic, Kind, plain},
    sync::lock,
    text_file::{USUAL_LIMIT, read_text},
};

/// The name of the file in the project's folder.
pub const FILE: &str = ".env";

/// The most bytes of a value: Linux gives a program no longer one (`MAX_ARG_STRLEN` in execve(2)).
const MAX_VALUE: usize = 128 * 1024;
/// The most variables that the values of a file insert. Each is at most `MAX_VALUE` long, so that a file whose
/// lines each repeat the one before does not use up the memory.
const MAX_INSERTIONS: usize = 1000;

static FROM_FILE: OnceLock<HashMap<String, String>> = OnceLock::new();

/// The variables of a test of scripts, in the place of all others.
static OF_TEST: Mutex<Option<HashMap<String, String>>> = Mutex::new(None);

/// Loads the `.env` of a project's folder, if it exists. A process has one project.
pub fn load(root: &Path) -> Result<(), Diagnostic> {
    let path = root.join(FILE);
    // Other programs have a folder of this name.
    if path.is_dir() {
        return Ok(());
    }
    let text = match read_text(&path, USUAL_LIMIT) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let message = format!("`{FILE}`: {}", plain(error));
            return Err(Diagnostic::new(Kind::Usage, message));
        }
    };
    let read = parse(&text)?;
    // Fails only on a second call, which does not happen.
    let _ = FROM_FILE.set(read);
    Ok(())
}

/// Parses lines `NAME=VALUE`.
pub fn parse(text: &str) -> Result<HashMap<String, String>, Diagnostic> {
    if let Some(line) = substituted_command(text) {
        let message = format!("`{FILE}`, line {line}: `$(` would be a command, and none is run");
        return Err(Diagnostic::new(Kind::Usage, message)
            .help("put a value that contains `$(` in single quotes".to_owned()));
    }
    let wrong = |error: dotenvy::Error| {
        let message = match error {
            dotenvy::Error::LineParse(part, _) => {
                // Name the line without its content, which may be a secret.
                let at = text.lines().position(|line| line.contains(&part));
                let line = at.map_or(String::new(), |at| format!(", line {}", at + 1));
                format!("`{FILE}`{line}: invalid syntax")
            }
            other => format!("`{FILE}`: {other}"),
        };
        Diagnostic::new(Kind::Usage, message)
            .help("write NAME=VALUE, with quotes around a value that contains spaces".to_owned())
    };
    if text.matches('$').count() > MAX_INSERTIONS {
        let message = format!("`{FILE}` has more than {MAX_INSERTIONS} dollar signs");
        return Err(Diagnostic::new(Kind::Usage, message)
            .help("write values instead of `$NAME`, which inserts another variable".to_owned()));
    }
    let mut variables = HashMap::new();
    for line in dotenvy::from_read_iter(text.as_bytes()) {
        let (name, value) = line.map_err(wrong)?;
        if value.len() > MAX_VALUE {
            let message =
                format!("`{FILE}`: the value of `{name}` is longer than {MAX_VALUE} bytes");
            return Err(Diagnostic::new(Kind::Usage, message).help(
                "put it into a file, and read that with `fs::read` or `secret::file`".to_owned(),
            ));
        }
        variables.insert(name, value);
    }
    Ok(variables)
}

/// The number of the first line with `$(` outside of single quotes and comments. The parser drops
/// the dollar sign.
fn substituted_command(text: &str) -> Option<usize> {
    let (mut quote, mut line, mut before) = (None, 1, '\n');
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None | Some('"'), '\\') => {
                if chars.next_if_eq(&'\n').is_some() {
                    line += 1;
                } else {
                    chars.next();
                }
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None | Some('"'), '$') if chars.peek() == Some(&'(') => return Some(line),
            (None, '#') if before.is_whitespace() => {
                while chars.next_if(|c| *c != '\n').is_some() {}
            }
            (_, '\n') => line += 1,
            _ => {}
        }
        before = c;
    }
    None
}

/// Removes all variables: a test of scripts does not depend on the machine that it runs on.
pub fn isolate() {
    *lock(&OF_TEST) = Some(HashMap::new());
}

/// Whether a test decides which variables are set.
pub fn is_isolated() -> bool {
    lock(&OF_TEST).is_some()
}

/// Sets a variable after [`isolate`].
pub fn set(name: &str, value: &str) {
    let mut variables = lock(&OF_TEST);
    let variables = variables.get_or_insert_with(HashMap::new);
    variables.insert(name.to_owned(), value.to_owned());
}

/// Returns the value of a variable, if it is set and UTF-8.
pub fn get(name: &str) -> Option<String> {
    if let Some(variables) = &*lock(&OF_TEST) {
        return variables.get(name).cloned();
    }
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
    !is_isolated() && matches!(env::var(name), Err(env::VarError::NotUnicode(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line would be four times as long as the one before.
    #[test]
    fn values_cannot_grow_without_end() {
        let message = |text: &str| parse(text).unwrap_err().message;
        let grows = format!("A=x\n{}", "A=$A$A$A$A\n".repeat(40));
        assert_eq!(
            message(&grows),
            "`.env`: the value of `A` is longer than 131072 bytes"
        );
        let many = format!("A=x\nB={}\n", "$A".repeat(1001));
        assert_eq!(message(&many), "`.env` has more than 1000 dollar signs");
        let most = format!("A=x\nB={}\n", "$A".repeat(1000));
        assert_eq!(parse(&most).unwrap()["B"], "x".repeat(1000));
    }

    #[test]
    fn no_command_is_run_or_half_removed() {
        let line = |text| substituted_command(text);
        assert_eq!(line("A=$(id)\n"), Some(1));
        assert_eq!(
            line("# don't $(id)\n\nA=x # $(id)\nB=\"a\nb $(id)\"\n"),
            Some(5)
        );
        assert_eq!(line("A='$(id)'\nB=\\$(id)\nC=$A\nD=#$x\n"), None);
        assert_eq!(parse("A='$(id)'\n").unwrap()["A"], "$(id)");
        assert!(parse("A=$(id)\n").is_err());
    }

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
