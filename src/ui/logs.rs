//! Shows the lines of containers' logs: many at once, each with its source.

use super::{Terminal, color, output::OutputStyle, safe_line};
use crate::core::{
    event::Stream,
    log::{LogLine, LogLines},
    text::escape_controls,
};

impl Terminal {
    /// Shows lines in their order. If there are several sources, each line is text with the name of
    /// its own; else, and with `-o raw`, bytes are passed through unchanged.
    pub(super) fn logs(&self, logs: &LogLines) {
        let has_prefix = logs.has_prefix && self.options().style != OutputStyle::Raw;
        let mut buffer = Vec::new();
        for part in logs.lines.chunk_by(|a, b| a.stream == b.stream) {
            for line in part {
                if has_prefix {
                    buffer.extend_from_slice(self.prefix(line).as_bytes());
                    buffer.push(b' ');
                    buffer.extend_from_slice(safe_line(&line.line).as_bytes());
                    buffer.push(b'\n');
                } else {
                    buffer.extend_from_slice(&line.line);
                }
            }
            match part.first().map(|line| line.stream) {
                Some(Stream::Stderr) => self.err(&buffer),
                _ => self.out(&buffer),
            }
            buffer.clear();
        }
    }

    fn prefix(&self, line: &LogLine) -> String {
        let name = line.source.name();
        let style = color::of_host(&line.source.host);
        self.paint(style, &format!("[{}]", escape_controls(&name)))
    }
}
