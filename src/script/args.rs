//! Binds words of the command line, or values of a script, to the parameters of a task.

use rhai::{Dynamic, Map};

use super::{
    param::Type,
    task::{OPTIONS, Task, is_name},
};
use crate::{
    core::diagnostic::{Diagnostic, Kind, did_you_mean},
    ssh::command_line,
};

/// The arguments of a task, without its hosts, in the order of its parameters.
///
/// Created by [`bind`] and [`bind_values`].
#[derive(Clone, Debug)]
pub struct Bound {
    /// One value per parameter.
    pub values: Vec<Dynamic>,
}

/// Binds `VALUE`, `NAME=VALUE`, `--name VALUE` and `--flag` to the parameters of a task.
///
/// Values without a name fill the parameters in order. Dashes in names stand for underscores. A name of
/// one letter may have one dash only. The words after `--` are one value: a command.
pub fn bind(task: &Task, words: &[String]) -> Result<Bound, Diagnostic> {
    let mut values: Vec<Option<Dynamic>> = vec![None; task.params.len()];
    let mut options = Map::new();
    let mut next = 0;
    let mut words = words.iter();
    let mut set = |name: &str, text: &str| -> Result<(), Diagnostic> {
        let name = if is_name(name) {
            name.replace('-', "_")
        } else {
            name.to_owned()
        };
        let Some(at) = position(task, &name) else {
            if !task.takes_options() {
                return Err(unknown(task, &name));
            }
            if options
                .insert(name.as_str().into(), text.to_owned().into())
                .is_some()
            {
                return Err(duplicate(task, &name));
            }
            return Ok(());
        };
        let param = &task.params[at];
        let value = param.convert(text).map_err(|wanted| {
            let message = format!(
                "{}: `{name}` must be {wanted}, not `{text}`",
                task.full_name()
            );
            wrong(task, message)
        })?;
        match values[at].replace(value) {
            Some(_) => Err(duplicate(task, &name)),
            None => Ok(()),
        }
    };
    while let Some(word) = words.next() {
        if word == "--" {
            let rest: Vec<String> = words.by_ref().cloned().collect();
            let param = task.params.get(next).filter(|param| param.name != OPTIONS);
            let (Some(param), false) = (param, rest.is_empty()) else {
                let message = match rest.first() {
                    Some(word) => format!("{}: unexpected argument `{word}`", task.full_name()),
                    None => format!("{}: missing command after `--`", task.full_name()),
                };
                return Err(wrong(task, message));
            };
            set(&param.name.clone(), &command_line(&rest))?;
        } else if let Some(name) = flag_name(task, word) {
            if let Some((name, text)) = name.split_once('=') {
                set(name, text)?;
            } else if is_flag(task, name) {
                set(name, "true")?;
            } else {
                if position(task, &name.replace('-', "_")).is_none() && !task.takes_options() {
                    return Err(unknown(task, name));
                }
                let text = words.next().ok_or_else(|| {
                    let message = format!("{}: missing value for `{word}`", task.full_name());
                    wrong(task, message)
                })?;
                set(name, text)?;
            }
        } else if let Some((name, text)) = word.split_once('=')
            // Where no other parameter can take the word, it is an option of any name: `80/tcp=*`.
            && (is_name(name) || task.takes_options() && next + 1 == task.params.len())
        {
            set(name, text)?;
        } else if is_short_flag(word) {
            let message = format!("{}: unknown flag `{word}`", task.full_name());
            return Err(
                wrong(task, message).help(format!("to pass it as a value, write `NAME={word}`"))
            );
        } else {
            let param = task.params.get(next).filter(|param| param.name != OPTIONS);
            let Some(param) = param else {
                let message = format!("{}: unexpected argument `{word}`", task.full_name());
                return Err(wrong(task, message));
            };
            // `docker.ps all` sets the flag `all`.
            let is_own_name = param.kind == Type::Bool && *word == param.name;
            set(&param.name.clone(), if is_own_name { "true" } else { word })?;
            next += 1;
        }
    }
    let values = task.params.iter().zip(values).map(|(param, value)| {
        if task.takes_options() && param.name == OPTIONS {
            return Ok(Dynamic::from_map(std::mem::take(&mut options)));
        }
        match (value, &param.default) {
            (Some(value), _) => Ok(value),
            (None, Some(default)) => Ok(default.value.clone()),
            (None, None) => {
                let message = format!("{}: missing parameter `{}`", task.full_name(), param.name);
                let hint = format!("add `{}=…`: {}", param.name, param.doc);
                let hint = hint.trim_end_matches([':', ' ']).to_owned();
                Err(wrong(task, message).help(hint))
            }
        }
    });
    Ok(Bound {
        values: values.collect::<Result<_, _>>()?,
    })
}

/// Binds values of a script to the parameters of a task.
pub(super) fn bind_values(task: &Task, mut given: Map) -> Result<Bound, Diagnostic> {
    let mut values = Vec::new();
    for param in &task.params {
        if task.takes_options() && param.name == OPTIONS {
            // The values that no other parameter took.
            values.push(Dynamic::from_map(std::mem::take(&mut given)));
            continue;
        }
        values.push(match (given.remove(param.name.as_str()), &param.default) {
            (Some(value), _) => param.accept(value).map_err(|(wanted, value)| {
                let name = &param.name;
                let message = format!(
                    "{}: `{name}` must be {wanted}, not `{value}`",
                    task.full_name()
                );
                wrong(task, message)
            })?,
            (None, Some(default)) => default.value.clone(),
            (None, None) => {
                let message = format!("{}: missing parameter `{}`", task.full_name(), param.name);
                return Err(wrong(task, message));
            }
        });
    }
    match given.keys().next() {
        Some(name) => Err(unknown(task, name)),
        None => Ok(Bound { values }),
    }
}

fn position(task: &Task, name: &str) -> Option<usize> {
    task.params
        .iter()
        .position(|param| param.name == name && param.name != OPTIONS)
}

fn is_flag(task: &Task, name: &str) -> bool {
    position(task, &name.replace('-', "_")).is_some_and(|at| task.params[at].kind == Type::Bool)
}

/// The part of a word after its dashes, if it is a parameter written as a flag.
fn flag_name<'a>(task: &Task, word: &'a str) -> Option<&'a str> {
    match word.strip_prefix("--") {
        Some(name) => Some(name).filter(|name| !name.is_empty()),
        None => word
            .strip_prefix('-')
            .filter(|_| task.flag_len(word).is_some()),
    }
}

/// Whether a word is a flag such as `-R`. `-1` and `-` are values.
fn is_short_flag(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next() == Some('-') && chars.next().is_some_and(|c| c.is_ascii_alphabetic())
}

fn unknown(task: &Task, name: &str) -> Diagnostic {
    let names: Vec<&str> = task
        .params
        .iter()
        .map(|param| param.name.as_str())
        .collect();
    let message = format!("{}: unknown parameter `{name}`", task.full_name());
    let help = did_you_mean(name, names.iter().copied()).unwrap_or_else(|| match names.len() {
        0 => "the task has no parameters".to_owned(),
        _ => format!("the parameters are {}", names.join(", ")),
    });
    wrong(task, message).help(help)
}

fn duplicate(task: &Task, name: &str) -> Diagnostic {
    wrong(
        task,
        format!("{}: duplicate parameter `{name}`", task.full_name()),
    )
}

fn wrong(task: &Task, message: String) -> Diagnostic {
    Diagnostic::new(Kind::Usage, message).note(format!(
        "see `hitc help {}` for its parameters",
        task.full_name()
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        core::diagnostic::Source,
        script::discover::{TaskFilter, discover_tasks},
    };

    fn task(text: &str) -> Task {
        let ast = rhai::Engine::new().compile(text).unwrap();
        let (mut tasks, errors) =
            discover_tasks(&ast, &Source::new("x", text), None, TaskFilter::All);
        assert_eq!(errors, []);
        tasks.remove(0)
    }

    fn deploy() -> Task {
        task(
            "/// X.\n/// @param image the image\n/// @param count = 1\n/// @param dry_run = false\n\
             fn deploy(host, image, count, dry_run) {}",
        )
    }

    fn values(task: &Task, words: &[&str]) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        bind(task, &words)
            .map(|bound| Dynamic::from(bound.values).to_string())
            .map_err(|error| format!("{}; {}", error.message, error.help.unwrap_or_default()))
    }

    #[test]
    fn options_have_any_name() {
        let apply =
            task("/// X.\n/// @param port\n/// @param options\nfn apply(host, port, options) {}");
        let first = values(&apply, &["80/tcp=*"]).unwrap();
        assert_eq!(first, "[\"80/tcp=*\", #{}]", "another parameter takes it");
        let given = values(&apply, &["x", "a-b=c", "80/tcp=*", "8000-8100=1"]);
        let expected = r#"["x", #{"80/tcp": "*", "8000-8100": "1", "a_b": "c"}]"#;
        assert_eq!(given.unwrap(), expected);
    }

    #[test]
    fn arguments_can_be_written_in_several_forms() {
        let deploy = deploy();
        for words in [
            &["a", "2", "true"][..],
            &["a", "count=2", "dry-run=yes"],
            &["--image", "a", "--count=2", "--dry-run"],
            &["count=2", "dry_run=true", "image=a"],
        ] {
            assert_eq!(values(&deploy, words).unwrap(), "[\"a\", 2, true]");
        }
        assert_eq!(
            values(&deploy, &["r/a=b"]).unwrap(),
            "[\"r/a=b\", 1, false]"
        );
    }

    #[test]
    fn errors_name_the_parameter() {
        let deploy = deploy();
        let error = |words: &[&str]| values(&deploy, words).unwrap_err();
        assert_eq!(
            error(&["imgae=a"]),
            "deploy: unknown parameter `imgae`; did you mean `image`?"
        );
        assert_eq!(
            error(&[]),
            "deploy: missing parameter `image`; add `image=…`: the image"
        );
        assert_eq!(
            error(&["a", "count=x"]),
            "deploy: `count` must be a whole number, not `x`; "
        );
        assert_eq!(
            error(&["a", "image=b"]),
            "deploy: duplicate parameter `image`; "
        );
        assert_eq!(
            error(&["a", "1", "true", "x"]),
            "deploy: unexpected argument `x`; "
        );
        assert_eq!(error(&["--count"]), "deploy: missing value for `--count`; ");
        assert_eq!(
            error(&["a", "-R", "web"]),
            "deploy: unknown flag `-R`; to pass it as a value, write `NAME=-R`"
        );
    }

    #[test]
    fn a_name_of_one_letter_is_a_short_flag() {
        let it = task("/// X.\n/// @param n = 1\n/// @param f = false\nfn it(n, f) {}");
        assert_eq!(values(&it, &["-n", "2", "-f"]).unwrap(), "[2, true]");
        assert_eq!(values(&it, &["-n=-2", "--f"]).unwrap(), "[-2, true]");
        assert_eq!(
            values(&it, &["-n"]).unwrap_err(),
            "it: missing value for `-n`; "
        );
        assert_eq!(
            values(&it, &["-nf"]).unwrap_err(),
            "it: unknown flag `-nf`; to pass it as a value, write `NAME=-nf`"
        );
        assert_eq!(values(&it, &["-3"]).unwrap(), "[-3, false]");
    }

    #[test]
    fn a_command_after_dashes_is_one_value() {
        let exec = task(
            "/// X.\n/// @param name\n/// @param line\n/// @param tty = false\nfn exec(host, name, line, tty) {}",
        );
        for (words, expected) in [
            (
                &["a", "--", "x=1", "-R", "b c"][..],
                "[\"a\", \"x=1 -R 'b c'\", false]",
            ),
            (
                &["a", "tty=true", "--", "a | b"],
                "[\"a\", \"a | b\", true]",
            ),
        ] {
            assert_eq!(values(&exec, words).unwrap(), expected);
        }
        assert_eq!(
            values(&exec, &["a", "--"]).unwrap_err(),
            "exec: missing command after `--`; "
        );
        assert_eq!(
            values(&deploy(), &["a", "1", "true", "--", "x"]).unwrap_err(),
            "deploy: unexpected argument `x`; "
        );
    }

    #[test]
    fn options_take_all_other_names() {
        let run =
            task("/// X.\n/// @param image\n/// @param options\nfn run(host, image, options) {}");
        assert_eq!(
            values(&run, &["a", "name=x", "ports=80:8080"]).unwrap(),
            "[\"a\", #{\"name\": \"x\", \"ports\": \"80:8080\"}]"
        );
        assert_eq!(values(&run, &["image=a"]).unwrap(), "[\"a\", #{}]");
        assert_eq!(
            values(&run, &["a", "b"]).unwrap_err(),
            "run: unexpected argument `b`; "
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn binding_never_panics(words in proptest::collection::vec(".{0,12}", 0..6)) {
            let _ = bind(&deploy(), &words);
        }
    }
}
