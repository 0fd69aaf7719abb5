//! Encodes a command as one line for the login shell: working directory, environment, user, sudo and
//! shell.

use super::Command;

/// The environment variable that identifies the processes of a command, to terminate them.
pub const RUN_ID_VARIABLE: &str = "HITC_RUN";

/// Strings that sudo and the script print to standard error, to tell when the password is requested
/// and when the command starts. Random, so that output of the command is not mistaken for them.
#[derive(Clone, Debug)]
pub(super) struct SudoMarkers {
    /// The password prompt of sudo.
    pub prompt: String,
    /// Printed before the command starts.
    pub started: String,
}

/// An encoded command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedCommand {
    /// The line for the login shell.
    pub line: String,
    /// What is written to the standard input before the command's own input.
    pub input: Vec<u8>,
}

impl EncodedCommand {
    /// Encodes a command for a shell of a user, who needs no password for sudo. With a `run_id`,
    /// [`super::termination_script`] finds its processes.
    pub fn new(command: &Command, login_user: &str, run_id: Option<&str>) -> Self {
        encode(command, login_user, run_id, None)
    }
}

/// Encodes a command for the login shell of a user, which may be any common shell.
///
/// The values of environment variables are read from standard input by the innermost shell: other
/// users can see the arguments of a process.
pub(super) fn encode(
    command: &Command,
    login_user: &str,
    run_id: Option<&str>,
    sudo: Option<&SudoMarkers>,
) -> EncodedCommand {
    let needs_script = !command.environment.is_empty()
        || command.folder.is_some()
        || command.shell.is_some()
        || sudo.is_some();
    let (inner, input) = if !needs_script && is_plain(&command.line) {
        (command.line.trim().to_owned(), Vec::new())
    } else {
        let (script, input) = script(command, sudo);
        let shell = command.shell.as_deref().unwrap_or("sh");
        (format!("{} -c {}", quote(shell), quote(&script)), input)
    };
    let wanted = command
        .user
        .as_deref()
        .or_else(|| command.sudo.then_some("root"))
        .filter(|user| *user != login_user);
    // The login shell exports the run id: another program, `env`, costs the server a millisecond.
    let exported = run_id.map_or(String::new(), |run_id| {
        format!("export {RUN_ID_VARIABLE}={run_id}; ")
    });
    let line = match wanted {
        // Built into every shell, with the same meaning.
        None if inner == "true" || inner == "false" => format!("{exported}{inner}"),
        None => format!("{exported}exec {inner}"),
        // Root needs no sudo, which may not be installed.
        Some(user) if login_user == "root" => {
            let inner = quote(&format!("exec {inner}"));
            format!("{exported}exec su -s /bin/sh -c {inner} -- {}", quote(user))
        }
        Some(user) => {
            let user = if user == "root" {
                String::new()
            } else {
                format!("-u {} ", quote(user))
            };
            let mode = match sudo {
                // `-S`: writes the prompt to standard error, and reads the password from standard
                // input.
                Some(markers) => format!("-S -p {}", markers.prompt),
                // Fails if a password is required, instead of waiting for it.
                None => "-n".to_owned(),
            };
            // sudo resets the environment.
            let run_id = run_id.map_or(String::new(), |run_id| {
                format!("env {RUN_ID_VARIABLE}={run_id} ")
            });
            format!("exec sudo {mode} -H {user}-- {run_id}{inner}")
        }
    };
    EncodedCommand { line, input }
}

/// Whether a line is only a program and its arguments, without anything that a shell would expand or
/// execute itself, so that it can be run without another shell.
fn is_plain(line: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@,+ ".contains(c);
    let first = line.split(' ').find(|word| !word.is_empty());
    line.chars().all(is_plain) && first.is_some_and(|word| !SHELL_BUILTINS.contains(&word))
}

/// Keywords and built-in commands of shells, and commands that shells implement differently from the
/// program of that name.
const SHELL_BUILTINS: [&str; 49] = [
    ".", ":", "alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "echo",
    "elif", "else", "esac", "eval", "exec", "exit", "export", "fc", "fg", "fi", "for", "getopts",
    "hash", "if", "jobs", "kill", "local", "printf", "pwd", "read", "readonly", "return", "set",
    "shift", "test", "then", "time", "times", "trap", "type", "ulimit", "umask", "unalias",
    "unset", "until", "wait", "while",
];

/// Builds the script for the innermost shell, and the input that the script reads before the command
/// does.
fn script(command: &Command, sudo: Option<&SudoMarkers>) -> (String, Vec<u8>) {
    let mut script = String::new();
    let mut input = Vec::new();
    if let Some(markers) = sudo {
        script.push_str(&format!("printf %s {} >&2\n", markers.started));
    }
    for (name, value) in &command.environment {
        // The dot preserves trailing newlines, which `$(…)` strips.
        script.push_str(&format!(
            "IFS= read -r {name} && {name}=$(printf %b. \"${name}\") && {name}=${{{name}%.}} && export {name} || exit 125\n"
        ));
        for byte in value.bytes().filter(|byte| *byte != 0) {
            if byte.is_ascii_alphanumeric() {
                input.push(byte);
            } else {
                input.extend(format!("\\0{byte:03o}").bytes());
            }
        }
        input.push(b'\n');
    }
    if let Some(folder) = &command.folder {
        // A folder such as `-x` must not be taken for an option.
        let folder = if folder.starts_with('-') {
            format!("./{folder}")
        } else {
            folder.clone()
        };
        script.push_str(&format!("cd {} || exit\n", quote(&folder)));
    }
    script.push_str(&command.line);
    (script, input)
}

/// Whether a command needs sudo if it is run by this login user.
pub(super) fn needs_sudo(command: &Command, login_user: &str) -> bool {
    let wanted = command.user.as_deref().unwrap_or("root");
    login_user != "root" && wanted != login_user && (command.sudo || command.user.is_some())
}

/// Quotes a word for a shell: sh, bash, dash, ksh, zsh or fish.
///
/// Backslashes are quoted separately, because fish interprets them between single quotes. NUL
/// characters are dropped, because an argument cannot contain them.
pub fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@,+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("'");
    for c in word.chars() {
        match c {
            '\0' => {}
            '\'' => quoted.push_str("'\\''"),
            '\\' => quoted.push_str("'\\\\'"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// The shell command line of words from the command line of hitc: a single word is a line already,
/// several words are a program and its arguments.
pub fn command_line(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        words => {
            let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
            quoted.join(" ")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(command: &Command, user: &str) -> String {
        encode(command, user, None, None).line
    }

    #[test]
    fn sudo_is_used_only_if_needed() {
        let command = Command::root("echo 'a b'");
        assert_eq!(line(&command, "root"), r"exec sh -c 'echo '\''a b'\'''");
        assert_eq!(
            line(&command, "admin"),
            r"exec sudo -n -H -- sh -c 'echo '\''a b'\'''"
        );
        let other = Command {
            user: Some("www".to_owned()),
            ..Command::new("id")
        };
        assert_eq!(line(&other, "admin"), "exec sudo -n -H -u www -- id");
        assert_eq!(line(&other, "www"), "exec id");
        assert_eq!(
            line(&other, "root"),
            "exec su -s /bin/sh -c 'exec id' -- www"
        );
    }

    #[test]
    fn plain_lines_are_run_without_another_shell() {
        let line = |text: &str| line(&Command::new(text), "root");
        assert_eq!(line("df -h /srv"), "exec df -h /srv");
        assert_eq!(line("true"), "true");
        for text in [
            "echo a", "a=b c", "ls *", "a | b", "$HOME/x", "", "cd /", "x\ny", "~/x",
        ] {
            assert_eq!(line(text), format!("exec sh -c {}", quote(text)));
        }
    }

    #[test]
    fn environment_values_are_not_in_the_arguments() {
        let command = Command {
            environment: vec![("TOKEN".to_owned(), "s3cret\n".to_owned())],
            ..Command::new("env")
        };
        let encoded = encode(&command, "root", Some("x1"), None);
        assert!(!encoded.line.contains("s3cret"), "{}", encoded.line);
        assert!(encoded.line.starts_with("export HITC_RUN=x1; exec sh -c"));
        assert_eq!(encoded.input, b"s3cret\\0012\n");
    }

    /// Runs an encoded command with a local shell, and returns its output.
    fn run(command: &Command, shell: &str) -> String {
        use std::io::Write;
        let encoded = encode(command, "root", Some("x"), None);
        let mut child = std::process::Command::new(shell)
            .args(["-c", &encoded.line])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(&encoded.input)
            .unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn any_text_is_passed_unchanged(word in "[^\0]{0,12}", value in "[^\0]{0,12}", nasty in r#"['"\\$`!\n -]{0,8}"#) {
            let word = format!("{word}{nasty}");
            let command = Command {
                environment: vec![("VALUE".to_owned(), format!("{nasty}{value}"))],
                folder: Some("/".to_owned()),
                ..Command::new(format!("printf %s {} \"$VALUE\"; pwd", quote(&word)))
            };
            let expected = format!("{word}{nasty}{value}/\n");
            prop_assert_eq!(run(&command, "sh"), expected.clone());
            prop_assert_eq!(run(&command, "bash"), expected);
        }
    }
}
