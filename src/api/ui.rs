//! `ui::`: tables, messages, questions and progress.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rhai::{Array, Dynamic, Engine, FuncRegistration, ImmutableString, Map};

use super::{
    Api,
    call::{Answer, Call},
    namespace::Namespace,
    value::{ScriptTable, table, texts, to_table},
};
use crate::core::{
    diagnostic::{Diagnostic, Kind},
    event::{Activity, Event},
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut ui = Namespace::new(api, "ui", "Tables, messages, questions and progress.");
    ui.function(
        "table(columns: array, rows: array) -> Table",
        "Creates a table from maps, with the columns in this order. Print it, or return it from a
         task.",
        |call: &Call, columns: Array, rows: Array| make_table(call, &columns, &rows),
    );
    ui.function(
        "show(table: Table)",
        "Prints a table, for a task that prints several of them or fails afterwards.",
        |call: &Call, table: Dynamic| {
            let table = to_table(&table).ok_or_else(|| {
                let text = "ui::show: expected a table, as `ui::table` creates it";
                call.fail(Diagnostic::new(Kind::Usage, text))
            })?;
            call.context.events.emit(Event::Table(table));
            Ok(())
        },
    );
    ui.function(
        "heading(text: string)",
        "Prints a heading to standard error.",
        |call: &Call, text: ImmutableString| {
            call.context.events.emit(Event::Heading(text.to_string()));
            Ok(())
        },
    );
    ui.function(
        "note(text: string)",
        "Prints a message to standard error, where it does not mix with data.",
        |call: &Call, text: ImmutableString| {
            // A note is one line. The line ends of the script are intended.
            for line in text.lines() {
                call.context.events.note(line);
            }
            Ok(())
        },
    );
    ui.function(
        "prompt(question: string) -> string",
        "Asks the user for a text. Fails without a terminal. For secrets, use `secret::prompt`.",
        |call: &Call, question: ImmutableString| {
            call.check(call.context.events.prompt(&question, false))
        },
    );
    ui.function(
        "prompt(question: string, default: string) -> string",
        "Asks the user for a text. Returns the default for an empty answer, and with `--yes`.",
        |call: &Call, question: ImmutableString, default: ImmutableString| {
            if call.context.settings.yes {
                return Ok(default.to_string());
            }
            let question = format!("{question} [{default}]");
            let answer = call.check(call.context.events.prompt(&question, false))?;
            Ok(if answer.is_empty() {
                default.to_string()
            } else {
                answer
            })
        },
    );
    ui.function(
        "progress(thing: string, what: string) -> Progress",
        "Shows the progress of something that takes a while:
         `let p = ui::progress(\"web\", \"copying\");`, then `p.update(\"checking\");` and
         `p.done(\"copied\");`.",
        |call: &Call, thing: ImmutableString, what: ImmutableString| {
            let activity = call.context.events.start(thing.as_str(), what.as_str());
            Ok(Progress(Arc::new(Mutex::new(Some(activity)))))
        },
    );
    ui.function(
        "confirm(question: string)",
        "Asks a yes/no question, and stops the task unless the answer is yes. `--yes` answers it.
         Fails without a terminal.",
        |call: &Call, question: ImmutableString| {
            call.check(call.context.events.confirm(&question, None))
        },
    );
    ui.function(
        "confirm(question: string, word: string)",
        "Asks the user to type this word, and stops the task unless it is typed. `--yes` answers it.
         Fails without a terminal.",
        |call: &Call, question: ImmutableString, word: ImmutableString| {
            call.check(call.context.events.confirm(&question, Some(&word)))
        },
    );
    ui
}

/// A running activity, as scripts see it.
#[derive(Clone)]
struct Progress(Arc<Mutex<Option<Activity>>>);

impl Progress {
    fn lock(&self) -> MutexGuard<'_, Option<Activity>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registers the type.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Progress>("Progress");
    FuncRegistration::new("update")
        .with_comments(["/// Shows the next step."])
        .register_into_engine(engine, |progress: &mut Progress, what: &str| {
            if let Some(activity) = &*progress.lock() {
                activity.update(what);
            }
        });
    FuncRegistration::new("done")
        .with_comments(["/// Ends the activity and shows its result."])
        .register_into_engine(engine, |progress: &mut Progress, what: &str| {
            if let Some(activity) = progress.lock().take() {
                activity.done(what);
            }
        });
}

fn make_table(call: &Call, columns: &[Dynamic], rows: &[Dynamic]) -> Answer<ScriptTable> {
    let maps: Option<Vec<Map>> = rows
        .iter()
        .map(|row| row.read_lock::<Map>().map(|map| map.clone()))
        .collect();
    let maps = maps.ok_or_else(|| {
        let text = "ui::table: a row is not a map";
        call.fail(Diagnostic::new(Kind::Usage, text))
    })?;
    // Masked before it is laid out, which a script may do.
    let secrets = call.context.events.secrets();
    let table = table(texts(call, columns)?, &maps);
    Ok(ScriptTable(table.map(|cell| secrets.masked(cell))))
}
