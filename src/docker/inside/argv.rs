//! Commands without a shell: the words of a command line, and the engine's messages about programs
//! that it cannot start.

use bollard::models::ExecConfig;

use crate::ssh::{Command, RUN_ID_VARIABLE};

/// The request that runs a command without a shell, if it needs none. `workdir` is the working
/// folder of the image.
pub(super) fn direct(command: &Command, run_id: Option<&str>, workdir: &str) -> Option<ExecConfig> {
    if command.shell.is_some() {
        return None;
    }
    let words = words(&command.line)?;
    // Not in the arguments, which every user of the container can see.
    let given = command.environment.iter();
    let given = given.map(|(name, value)| format!("{name}={value}"));
    let run_id = run_id.map(|run_id| format!("{RUN_ID_VARIABLE}={run_id}"));
    let folder = command.folder.as_ref().map(|folder| {
        if folder.starts_with('/') {
            folder.clone()
        } else {
            // The engine takes only absolute paths.
            format!("{}/{folder}", workdir.trim_end_matches('/'))
        }
    });
    Some(ExecConfig {
        cmd: Some(words),
        env: Some(given.chain(run_id).collect()),
        working_dir: folder,
        ..ExecConfig::default()
    })
}

/// The words of a command line that means the same without a shell: plain words and quoted ones,
/// such as [`crate::ssh::quote`] writes them.
fn words(line: &str) -> Option<Vec<String>> {
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:=@,+%".contains(c);
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut chars = line.trim().chars();
    while let Some(c) = chars.next() {
        if c == ' ' || c == '\t' {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        match c {
            '\'' => loop {
                match chars.next()? {
                    '\'' => break,
                    c => word.push(c),
                }
            },
            '"' => loop {
                match chars.next()? {
                    '"' => break,
                    '$' | '`' | '\\' | '!' => return None,
                    c => word.push(c),
                }
            },
            '\\' => match chars.next()? {
                '\n' => return None,
                c => word.push(c),
            },
            c if is_plain(c) => word.push(c),
            _ => return None,
        }
    }
    words.extend(word);
    // `a=b program` sets a variable.
    let program: &String = words.first()?;
    (!program.is_empty() && !program.contains('=')).then_some(words)
}

/// The beginning of a command line, for messages: scripts have many lines.
pub(super) fn beginning(line: &str) -> String {
    const LONGEST: usize = 80;
    let first = line.lines().next().unwrap_or_default();
    let cut: String = first.chars().take(LONGEST).collect();
    if cut.len() == line.len() {
        cut
    } else {
        format!("{cut} …")
    }
}

/// The cause in a message of the engine about a program that it cannot start.
pub(super) fn cause(message: &str) -> &str {
    let mut cause = message.trim();
    for prefix in [
        "OCI runtime exec failed: ",
        "exec failed: ",
        "unable to start container process: ",
    ] {
        cause = cause.strip_prefix(prefix).unwrap_or(cause);
    }
    cause.strip_suffix(": unknown").unwrap_or(cause)
}

/// Whether the program was not found.
pub(super) fn is_missing(cause: &str) -> bool {
    cause.contains("not found") || cause.contains("no such file or directory")
}

/// Whether `sh` was not found.
pub(super) fn lacks_shell(cause: &str) -> bool {
    is_missing(cause) && ["\"sh\"", "`sh`"].iter().any(|name| cause.contains(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ssh::quote;

    #[test]
    fn words_that_need_no_shell() {
        for (line, expected) in [
            ("/app --port 80", vec!["/app", "--port", "80"]),
            (
                "  app  'a b' \"c d\" e\\ f ''",
                vec!["app", "a b", "c d", "e f", ""],
            ),
            ("app 'it'\\''s' x=y", vec!["app", "it's", "x=y"]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        for line in [
            "", "a | b", "a; b", "a > b", "$HOME/x", "a $x", "ls *", "~/x", "a=b c", "a &", "(a)",
            "a \"$x\"", "a 'b", "a\nb", "a `b`", "a #b", "a ?", "{a,b}",
        ] {
            assert_eq!(words(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn quoted_words_are_read_back(given in prop::collection::vec("[^\0]{0,8}", 1..4)) {
            let line: Vec<String> = given.iter().map(|word| quote(word)).collect();
            let program = &given[0];
            let read = words(&format!("p {}", line.join(" ")));
            let mut expected = vec!["p".to_owned()];
            expected.extend(given.clone());
            prop_assert_eq!(read, Some(expected), "{}", program);
        }
    }

    #[test]
    fn causes_in_messages() {
        let message = "OCI runtime exec failed: exec failed: unable to start container process: \
                       exec: \"sh\": executable file not found in $PATH: unknown\r\n";
        let found = cause(message);
        assert_eq!(found, "exec: \"sh\": executable file not found in $PATH");
        assert!(lacks_shell(found));
        assert!(!lacks_shell(
            "unable to find user sh: no matching entries in passwd file"
        ));
    }
}
