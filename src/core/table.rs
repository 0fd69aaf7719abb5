//! Rows under named columns: the data that `nodes` and `docker.ps` print.

use std::fmt;

/// A table of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Column titles.
    pub columns: Vec<String>,
    /// One cell a column in each row.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Adds a column before the others, with the same text in every row.
    #[must_use]
    pub fn with_first(mut self, column: &str, text: &str) -> Self {
        self.columns.insert(0, column.to_owned());
        for row in &mut self.rows {
            row.insert(0, text.to_owned());
        }
        self
    }
}

impl fmt::Display for Table {
    /// Aligned columns, two spaces between them, no lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = comfy_table::Table::new();
        table
            .load_style(comfy_table::presets::NOTHING)
            .set_header(&self.columns)
            .add_rows(&self.rows);
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
        };
        assert_eq!(
            table.with_first("host", "a").to_string(),
            "host  name       ip\na     web        10.0.0.1\na     db-primär"
        );
    }
}
