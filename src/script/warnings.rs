//! What is valid in a script, but probably not meant.

use super::{
    discover::{TaskFilter, discover_tasks},
    doc::find_word,
    function::Function,
    task::Task,
    unit::Unit,
};

/// A warning and its line.
type Warning = (usize, String);

/// Returns the warnings about a script, each with its place, in the order of the text. `built_in` is the
/// built-in script of the same namespace, and `subcommands` are names that do not run tasks.
pub(super) fn warnings_of(
    unit: &Unit,
    tasks: &[Task],
    built_in: Option<&Unit>,
    subcommands: &[&str],
) -> Vec<String> {
    let functions = Function::all_of(&unit.ast, &unit.source);
    let mut warnings = unused_parameters(unit, tasks, &functions);
    warnings.extend(ineffective_settings(unit, &functions));
    warnings.extend(built_in.iter().flat_map(|script| replaced(tasks, script)));
    warnings.extend(unreachable(tasks, subcommands));
    warnings.sort_by_key(|(line, _)| *line);
    let file = &unit.source.name;
    let warnings = warnings.into_iter();
    warnings
        .map(|(line, text)| format!("{file}:{line}: {text}"))
        .collect()
}

/// Parameters of tasks that neither the function nor `@confirm` uses.
fn unused_parameters(unit: &Unit, tasks: &[Task], functions: &[Function<'_>]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for task in tasks {
        let Some(function) = functions.iter().find(|function| function.name == task.name) else {
            continue;
        };
        let body = &unit.source.text[function.body.clone()];
        for param in &task.params {
            let is_used = |text: &str| find_word(text, &param.name).is_some();
            if !is_used(body) && !task.confirm.as_deref().is_some_and(is_used) {
                let (task, name) = (&task.name, &param.name);
                let text = format!("`{task}` does not use its parameter `{name}`");
                warnings.push((function.line, text));
            }
        }
    }
    warnings
}

/// Calls of `config` in functions, which run too late.
fn ineffective_settings(unit: &Unit, functions: &[Function<'_>]) -> Vec<Warning> {
    let text = &unit.source.text;
    let mut warnings = Vec::new();
    for Function { body, .. } in functions {
        for (at, _) in text[body.clone()].match_indices("config(#{") {
            let before = &text[..body.start + at];
            if !before.ends_with(|c: char| c.is_alphanumeric() || "_:.".contains(c)) {
                let line = before.matches('\n').count() + 1;
                let text =
                    "`config` has no effect in a function: call it at the top of the hitcfile";
                warnings.push((line, text.to_owned()));
            }
        }
    }
    warnings
}

/// Tasks with the names of built-in ones of the same namespace.
fn replaced(tasks: &[Task], built_in: &Unit) -> Vec<Warning> {
    let (known, _) = discover_tasks(&built_in.ast, &built_in.source, None, TaskFilter::All);
    let is_known = |task: &&Task| known.iter().any(|other| other.name == task.name);
    let replaced = tasks.iter().filter(is_known);
    let warn = |task: &Task| {
        let text = format!("`{}` replaces the built-in task of this name", task.name);
        (task.lines.start, text)
    };
    replaced.map(warn).collect()
}

/// Tasks with the names of subcommands.
fn unreachable(tasks: &[Task], subcommands: &[&str]) -> Vec<Warning> {
    let hidden = tasks
        .iter()
        .filter(|task| subcommands.contains(&task.name.as_str()));
    let warn = |task: &Task| {
        let name = &task.name;
        let text = format!("`{name}` is run as `hitc run {name}`: `hitc {name}` is a subcommand");
        (task.lines.start, text)
    };
    hidden.map(warn).collect()
}
