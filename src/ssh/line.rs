//! What is sent to a server to run a command there: one builder for folder, environment, user,
//! sudo and shell.

use super::Command;

/// The variable by which the processes of a command are found, to end them.
pub(super) const MARK: &str = "HITC_RUN";

/// The words by which the one who waits for sudo's question and the one who asks understand each
/// other. Random, so that no output is taken for them.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    /// sudo asks for the password.
    pub question: String,
    /// The command begins.
    pub ready: String,
}

/// What is sent, and what goes before the command's own input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wire {
    pub line: String,
    pub input: Vec<u8>,
}

/// Builds the line for a user's login shell, whichever that is.
///
/// The innermost shell reads the values of environment variables from its standard input: other
/// users can see the arguments of a process.
pub(super) fn wire(
    command: &Command,
    login_user: &str,
    mark: Option<&str>,
    tokens: Option<&Tokens>,
) -> Wire {
    let is_alone = command.environment.is_empty() && command.folder.is_none() && tokens.is_none();
    let (inner, input) = if is_alone && command.shell.is_none() && is_plain(&command.line) {
        (command.line.trim().to_owned(), Vec::new())
    } else {
        let (script, input) = script(command, tokens);
        let shell = command.shell.as_deref().unwrap_or("sh");
        (format!("{} -c {}", quote(shell), quote(&script)), input)
    };
    let wanted = command
        .user
        .as_deref()
        .or_else(|| command.sudo.then_some("root"))
        .filter(|user| *user != login_user);
    // The login shell sets the mark itself: one more program takes a server a millisecond.
    let exported = mark.map_or(String::new(), |mark| format!("export {MARK}={mark}; "));
    let line = match wanted {
        // Every shell has these itself, and means the same.
        None if inner == "true" || inner == "false" => format!("{exported}{inner}"),
        None => format!("{exported}exec {inner}"),
        // Root needs no sudo, which may not be there.
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
            let ask = match tokens {
                // `-S`: the question goes to standard error, the answer is read from standard
                // input.
                Some(tokens) => format!("-S -p {}", tokens.question),
                // sudo that wants a password fails instead of waiting for one.
                None => "-n".to_owned(),
            };
            // sudo forgets the environment.
            let mark = mark.map_or(String::new(), |mark| format!("env {MARK}={mark} "));
            format!("exec sudo {ask} -H {user}-- {mark}{inner}")
        }
    };
    Wire { line, input }
}

/// Whether a line is a program and its arguments, in which a shell would see nothing to do: it is
/// run without one.
fn is_plain(line: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@,+ ".contains(c);
    let first = line.split(' ').find(|word| !word.is_empty());
    line.chars().all(is_plain) && first.is_some_and(|word| !SHELLS_OWN.contains(&word))
}

/// What a shell does itself, or does not leave to a program of that name.
const SHELLS_OWN: [&str; 49] = [
    ".", ":", "alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "echo",
    "elif", "else", "esac", "eval", "exec", "exit", "export", "fc", "fg", "fi", "for", "getopts",
    "hash", "if", "jobs", "kill", "local", "printf", "pwd", "read", "readonly", "return", "set",
    "shift", "test", "then", "time", "times", "trap", "type", "ulimit", "umask", "unalias",
    "unset", "until", "wait", "while",
];

/// What the shell is given, and what it reads before the command does.
fn script(command: &Command, tokens: Option<&Tokens>) -> (String, Vec<u8>) {
    let mut script = String::new();
    let mut input = Vec::new();
    if let Some(tokens) = tokens {
        script.push_str(&format!("printf %s {} >&2\n", tokens.ready));
    }
    for (name, value) in &command.environment {
        // The dot keeps line ends at the end of the value, which `$(…)` would cut off.
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
        // A folder such as `-x` is no option.
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

/// Whether a command needs sudo for this user.
pub(super) fn needs_sudo(command: &Command, login_user: &str) -> bool {
    let wanted = command.user.as_deref().unwrap_or("root");
    login_user != "root" && wanted != login_user && (command.sudo || command.user.is_some())
}

/// Quotes a word for a shell: any of sh, bash, dash, ksh, zsh and fish.
///
/// Between single quotes fish, alone among them, gives the backslash a meaning; so backslashes
/// stand outside. A NUL cannot be part of an argument; it is left out.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(command: &Command, user: &str) -> String {
        wire(command, user, None, None).line
    }

    #[test]
    fn sudo_only_when_needed() {
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
    fn a_shell_only_where_there_is_something_to_do_for_it() {
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
    fn values_are_not_arguments() {
        let command = Command {
            environment: vec![("TOKEN".to_owned(), "s3cret\n".to_owned())],
            ..Command::new("env")
        };
        let wire = wire(&command, "root", Some("x1"), None);
        assert!(!wire.line.contains("s3cret"), "{}", wire.line);
        assert!(wire.line.starts_with("export HITC_RUN=x1; exec sh -c"));
        assert_eq!(wire.input, b"s3cret\\0012\n");
    }

    /// What this machine's shell makes of a command, with the values that it is given.
    fn run(command: &Command, shell: &str) -> String {
        use std::io::Write;
        let wire = wire(command, "root", Some("x"), None);
        let mut child = std::process::Command::new(shell)
            .args(["-c", &wire.line])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&wire.input).unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn any_text_survives(word in "[^\0]{0,12}", value in "[^\0]{0,12}", nasty in r#"['"\\$`!\n -]{0,8}"#) {
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
