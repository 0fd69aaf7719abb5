//! `ui::`: talking to the user.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rhai::{Array, Dynamic, Engine, FuncRegistration, ImmutableString, Map};

use super::{
    Api,
    call::{Answer, Call},
    namespace::Namespace,
    value::{ScriptTable, table},
};
use crate::core::{
    diagnostic::{Diagnostic, Kind},
    event::{Activity, Event},
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut ui = Namespace::new(api, "ui", "Talking to the user.");
    ui.function(
        "table(columns: array, rows: array) -> Table",
        "A table of maps: the columns in this order. Print it, or return it from a task.",
        |call: &Call, columns: Array, rows: Array| make_table(call, &columns, &rows),
    );
    ui.function(
        "heading(text: string)",
        "Says what comes next, on a line that stands out. It goes to standard error.",
        |call: &Call, text: ImmutableString| {
            call.context.events.emit(Event::Heading(text.to_string()));
            Ok(())
        },
    );
    ui.function(
        "note(text: string)",
        "Says something beside the data: it goes to standard error.",
        |call: &Call, text: ImmutableString| {
            // The script's line breaks are meant; a note is one line.
            for line in text.lines() {
                call.context.events.note(line);
            }
            Ok(())
        },
    );
    ui.function(
        "prompt(question: string) -> string",
        "Asks for a text. Refused without a terminal. For a secret, see `secret::prompt`.",
        |call: &Call, question: ImmutableString| {
            call.check(call.context.events.prompt(&question, false))
        },
    );
    ui.function(
        "prompt(question: string, default: string) -> string",
        "The same; an empty answer is the default, and so is `--yes`.",
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
        "Says that something begins that takes a while: `let p = ui::progress(\"web\",
         \"copying\");`, then `p.update(\"checking\");` and `p.done(\"copied\");`.",
        |call: &Call, thing: ImmutableString, what: ImmutableString| {
            let activity = call.context.events.start(thing.as_str(), what.as_str());
            Ok(Progress(Arc::new(Mutex::new(Some(activity)))))
        },
    );
    ui.function(
        "confirm(question: string)",
        "Asks, and goes on only after a yes. `--yes` answers it; without a terminal it is refused.",
        |call: &Call, question: ImmutableString| {
            call.check(call.context.events.confirm(&question, None))
        },
    );
    ui.function(
        "confirm(question: string, word: string)",
        "Asks for a word to be typed, and goes on only after just that.",
        |call: &Call, question: ImmutableString, word: ImmutableString| {
            call.check(call.context.events.confirm(&question, Some(&word)))
        },
    );
    ui
}

/// Something that goes on, in the hands of a script.
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
        .with_comments(["/// Says what is being done now."])
        .register_into_engine(engine, |progress: &mut Progress, what: &str| {
            if let Some(activity) = &*progress.lock() {
                activity.update(what);
            }
        });
    FuncRegistration::new("done")
        .with_comments(["/// Ends with a line about how it went."])
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
    let columns = columns.iter().map(ToString::to_string).collect();
    Ok(ScriptTable(table(columns, &maps)))
}
