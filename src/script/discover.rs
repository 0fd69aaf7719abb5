//! Finds the tasks of a script.

use std::sync::Arc;

use rhai::AST;

use super::{doc::TaskReader, function::Function, task::Task};
use crate::core::diagnostic::{Diagnostic, Kind, Source};

/// Which public functions of a script are tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskFilter {
    /// All of them.
    All,
    /// Those with a doc comment. The others are only for scripts to call.
    Documented,
    /// Those without parameters.
    WithoutParameters,
}

impl TaskFilter {
    fn accepts(self, function: &Function<'_>) -> bool {
        function.is_public
            && match self {
                TaskFilter::All => true,
                TaskFilter::Documented => !function.comment.is_empty(),
                TaskFilter::WithoutParameters => function.params.is_empty(),
            }
    }
}

/// Returns the tasks of a script in the order of the text, and the errors of their doc comments.
pub(super) fn discover_tasks(
    ast: &AST,
    source: &Arc<Source>,
    namespace: Option<&str>,
    filter: TaskFilter,
) -> (Vec<Task>, Vec<Diagnostic>) {
    let functions = Function::all_of(ast, source);
    read_tasks(&functions, source, namespace, filter)
}

/// Returns the tasks among the functions of a script, and the errors of their doc comments.
pub(super) fn read_tasks(
    functions: &[Function<'_>],
    source: &Arc<Source>,
    namespace: Option<&str>,
    filter: TaskFilter,
) -> (Vec<Task>, Vec<Diagnostic>) {
    let (mut tasks, mut errors) = (Vec::<Task>::new(), Vec::new());
    for function in functions.iter().filter(|function| filter.accepts(function)) {
        let reader = TaskReader {
            function,
            source,
            namespace,
        };
        match reader.read() {
            Ok(task) => {
                if tasks.iter().any(|other| other.name == task.name) {
                    errors.push(duplicate(&reader));
                }
                tasks.push(task);
            }
            Err(error) => errors.push(error),
        }
    }
    (tasks, errors)
}

fn duplicate(reader: &TaskReader<'_>) -> Diagnostic {
    let Function { name, line, .. } = reader.function;
    let message = format!("duplicate task `{name}`");
    let span = reader.span_of(*line, name);
    Diagnostic::new(Kind::Usage, message)
        .at(reader.source, span)
        .help("write `private fn` for the function that is not a task".to_owned())
}
