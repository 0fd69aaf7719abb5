//! Tables of text with named columns, such as `nodes` and `docker.ps` print.
//!
//! Cells come from clouds and servers, so that control characters in them are escaped.

use std::fmt;

use serde_json::{Map, Value};

use crate::core::text::escape_controls;

/// A table of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Column titles.
    pub columns: Vec<String>,
    /// The rows: one cell per column.
    pub rows: Vec<Vec<String>>,
    /// The rows for programs: an object each, with all fields and their types. Without them, programs get
    /// the cells.
    pub data: Vec<Map<String, Value>>,
}

impl Table {
    /// Inserts a first column with the same text in every row.
    #[must_use]
    pub fn with_first(mut self, column: &str, text: &str) -> Self {
        self.columns.insert(0, column.to_owned());
        for row in &mut self.rows {
            row.insert(0, text.to_owned());
        }
        for row in &mut self.data {
            row.insert(column.to_owned(), text.into());
        }
        self
    }

    /// Appends the rows of a table with the same columns.
    pub fn extend(&mut self, other: Table) {
        self.rows.extend(other.rows);
        self.data.extend(other.data);
    }

    /// Replaces each title, cell and text.
    #[must_use]
    pub fn map(mut self, replace: impl Fn(String) -> String) -> Self {
        let cells = self
            .columns
            .iter_mut()
            .chain(self.rows.iter_mut().flatten());
        for cell in cells {
            *cell = replace(std::mem::take(cell));
        }
        for row in &mut self.data {
            *row = replace_in_map(std::mem::take(row), &replace);
        }
        self
    }
}

/// Replaces each key and each text in an object.
fn replace_in_map(
    entries: Map<String, Value>,
    replace: &impl Fn(String) -> String,
) -> Map<String, Value> {
    let entries = entries.into_iter().map(|(key, mut value)| {
        replace_texts(&mut value, replace);
        (replace(key), value)
    });
    entries.collect()
}

/// Replaces each text in a value.
fn replace_texts(value: &mut Value, replace: &impl Fn(String) -> String) {
    match value {
        Value::String(text) => *text = replace(std::mem::take(text)),
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| replace_texts(item, replace)),
        Value::Object(entries) => *entries = replace_in_map(std::mem::take(entries), replace),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl fmt::Display for Table {
    /// Writes aligned columns, separated by two spaces, without borders.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = comfy_table::Table::new();
        table
            .load_style(comfy_table::presets::NOTHING)
            .set_header(self.columns.iter().map(|title| escape_controls(title)));
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| escape_controls(cell)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        let table = Table {
            columns: row(&["name", "ip"]),
            rows: vec![row(&["web", "10.0.0.1"]), row(&["db-primär", ""])],
            ..Table::default()
        };
        assert_eq!(
            table.with_first("host", "a").to_string(),
            "host  name       ip\na     web        10.0.0.1\na     db-primär"
        );
    }

    #[test]
    fn a_cell_cannot_forge_a_row() {
        let table = Table {
            columns: vec!["name".to_owned()],
            rows: vec![vec!["web\n- w9\u{1b}[31m".to_owned()]],
            ..Table::default()
        };
        assert_eq!(table.to_string(), "name\nweb\\n- w9\\x1b[31m");
    }
}
