//! From words on the command line to the arguments of a task.

use rhai::{Dynamic, Map};

use super::{
    param::Type,
    task::{OPTIONS, Task},
};
use crate::core::diagnostic::{Diagnostic, Kind, did_you_mean};

/// The arguments of a task, without its hosts, in the order of its parameters.
#[derive(Clone, Debug)]
pub struct Bound {
    /// One value a parameter.
    pub values: Vec<Dynamic>,
}

/// Binds `VALUE`, `NAME=VALUE`, `--name VALUE` and `--flag` to the parameters of a task.
///
/// Values without a name fill the parameters in order. Dashes in names are underscores.
pub fn bind(task: &Task, words: &[String]) -> Result<Bound, Diagnostic> {
    let mut values: Vec<Option<Dynamic>> = vec![None; task.params.len()];
    let mut options = Map::new();
    let mut next = 0;
    let mut words = words.iter();
    let mut set = |name: &str, text: &str| -> Result<(), Diagnostic> {
        let name = name.replace('-', "_");
        let Some(at) = position(task, &name) else {
            if !task.takes_options() {
                return Err(unknown(task, &name));
            }
            if options
                .insert(name.as_str().into(), text.to_owned().into())
                .is_some()
            {
                return Err(twice(task, &name));
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
            Some(_) => Err(twice(task, &name)),
            None => Ok(()),
        }
    };
    while let Some(word) = words.next() {
        if let Some(name) = word.strip_prefix("--").filter(|name| !name.is_empty()) {
            if let Some((name, text)) = name.split_once('=') {
                set(name, text)?;
            } else if is_flag(task, name) {
                set(name, "true")?;
            } else {
                if position(task, &name.replace('-', "_")).is_none() && !task.takes_options() {
                    return Err(
                        unknown(task, name).note("flags of hitc itself come before the task")
                    );
                }
                let text = words.next().ok_or_else(|| {
                    let message = format!("{}: `--{name}` needs a value", task.full_name());
                    wrong(task, message).note("flags of hitc itself come before the task")
                })?;
                set(name, text)?;
            }
        } else if let Some((name, text)) = word.split_once('=').filter(|(name, _)| is_name(name)) {
            set(name, text)?;
        } else if is_short_flag(word) {
            let message = format!("{}: `{word}` is a flag, and no value", task.full_name());
            return Err(wrong(task, message)
                .note("flags of hitc itself come before the task")
                .help(format!("as a value, write `NAME={word}`")));
        } else {
            let param = task.params.get(next).filter(|param| param.name != OPTIONS);
            let Some(param) = param else {
                let message = format!("{}: `{word}` is one value too many", task.full_name());
                return Err(wrong(task, message));
            };
            set(&param.name.clone(), word)?;
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
                let message = format!("{}: `{}` is missing", task.full_name(), param.name);
                let hint = format!("write `{}=…`: {}", param.name, param.doc);
                let hint = hint.trim_end_matches([':', ' ']).to_owned();
                Err(wrong(task, message).help(hint))
            }
        }
    });
    Ok(Bound {
        values: values.collect::<Result<_, _>>()?,
    })
}

/// Binds values that a script gives to the parameters of a task.
pub(super) fn bind_values(task: &Task, mut given: Map) -> Result<Bound, Diagnostic> {
    let mut values = Vec::new();
    for param in &task.params {
        if task.takes_options() && param.name == OPTIONS {
            // What no other parameter took.
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
                let message = format!("{}: `{}` is missing", task.full_name(), param.name);
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

/// `-R`, which somebody wrote behind the task. `-1` is a value.
fn is_short_flag(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next() == Some('-')
        && chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.next().is_none()
}

/// Whether the text before an `=` can be the name of a parameter; `a/b=c` is a value.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn unknown(task: &Task, name: &str) -> Diagnostic {
    let names: Vec<&str> = task
        .params
        .iter()
        .map(|param| param.name.as_str())
        .collect();
    let message = format!("{}: there is no parameter `{name}`", task.full_name());
    let help = did_you_mean(name, names.iter().copied()).unwrap_or_else(|| match names.len() {
        0 => "it has none".to_owned(),
        _ => format!("it has {}", names.join(", ")),
    });
    wrong(task, message).help(help)
}

fn twice(task: &Task, name: &str) -> Diagnostic {
    wrong(
        task,
        format!("{}: `{name}` is given twice", task.full_name()),
    )
}

fn wrong(task: &Task, message: String) -> Diagnostic {
    Diagnostic::new(Kind::Usage, message).note(format!(
        "`hitc help {}` says what it takes",
        task.full_name()
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        core::diagnostic::Source,
        script::task::{Which, tasks_of},
    };

    fn task(text: &str) -> Task {
        let ast = rhai::Engine::new().compile(text).unwrap();
        let (mut tasks, errors) = tasks_of(&ast, &Source::new("x", text), None, Which::All);
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
    fn all_forms() {
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
    fn what_is_wrong_is_said() {
        let deploy = deploy();
        let error = |words: &[&str]| values(&deploy, words).unwrap_err();
        assert_eq!(
            error(&["imgae=a"]),
            "deploy: there is no parameter `imgae`; did you mean `image`?"
        );
        assert_eq!(
            error(&[]),
            "deploy: `image` is missing; write `image=…`: the image"
        );
        assert_eq!(
            error(&["a", "count=x"]),
            "deploy: `count` must be a whole number, not `x`; "
        );
        assert_eq!(error(&["a", "image=b"]), "deploy: `image` is given twice; ");
        assert_eq!(
            error(&["a", "1", "true", "x"]),
            "deploy: `x` is one value too many; "
        );
        assert_eq!(error(&["--count"]), "deploy: `--count` needs a value; ");
        assert_eq!(
            error(&["a", "-R", "web"]),
            "deploy: `-R` is a flag, and no value; as a value, write `NAME=-R`"
        );
    }

    #[test]
    fn options_take_the_rest() {
        let run =
            task("/// X.\n/// @param image\n/// @param options\nfn run(host, image, options) {}");
        assert_eq!(
            values(&run, &["a", "name=x", "ports=80:8080"]).unwrap(),
            "[\"a\", #{\"name\": \"x\", \"ports\": \"80:8080\"}]"
        );
        assert_eq!(values(&run, &["image=a"]).unwrap(), "[\"a\", #{}]");
        assert_eq!(
            values(&run, &["a", "b"]).unwrap_err(),
            "run: `b` is one value too many; "
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_words_panic(words in proptest::collection::vec(".{0,12}", 0..6)) {
            let _ = bind(&deploy(), &words);
        }
    }
}
