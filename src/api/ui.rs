//! `ui::`: talking to the user.

use std::sync::Arc;

use rhai::{Array, Dynamic, ImmutableString, Map};

use super::{
    Api,
    call::{Answer, Call},
    namespace::Namespace,
    value::{ScriptTable, table},
};
use crate::{
    diagnostic::{Diagnostic, Kind},
    event::Event,
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
            call.session.events.emit(Event::Heading(text.to_string()));
            Ok(())
        },
    );
    ui.function(
        "note(text: string)",
        "Says something beside the data: it goes to standard error.",
        |call: &Call, text: ImmutableString| {
            call.session.events.note(text.as_str());
            Ok(())
        },
    );
    ui.function(
        "confirm(question: string)",
        "Asks, and goes on only after a yes. `--yes` answers it; without a terminal it is refused.",
        |call: &Call, question: ImmutableString| {
            call.check(call.session.events.confirm(&question, None))
        },
    );
    ui.function(
        "confirm(question: string, word: string)",
        "Asks for a word to be typed, and goes on only after just that.",
        |call: &Call, question: ImmutableString, word: ImmutableString| {
            call.check(call.session.events.confirm(&question, Some(&word)))
        },
    );
    ui
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
