//! Splits a command's output into lines.

use super::event::{Event, Events, Stream};

/// The longest line, in bytes. A longer one is split, so that memory stays bounded; not within a
/// secret.
const MAX_LINE: usize = 64 * 1024;

/// Splits a command's output into lines and emits each as [`Event::Output`].
///
/// Dropping it emits the rest of the output that has no line end.
pub struct Lines<'a> {
    events: &'a Events,
    host: Option<&'a str>,
    rest: [Vec<u8>; 2],
}

impl<'a> Lines<'a> {
    /// Creates a splitter for a command on this host, or on the local machine.
    pub fn new(events: &'a Events, host: Option<&'a str>) -> Self {
        Lines {
            events,
            host,
            rest: [Vec::new(), Vec::new()],
        }
    }

    /// Adds output of the command.
    pub fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let rest = &mut self.rest[stream as usize];
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            rest.extend_from_slice(part);
            let end = if part.ends_with(b"\n") {
                rest.len()
            } else if rest.len() >= MAX_LINE {
                self.events.secrets().safe_cut(rest)
            } else {
                0
            };
            if end > 0 {
                let after = rest.split_off(end);
                let line = std::mem::replace(rest, after);
                self.events.emit(output(self.host, stream, line));
            }
        }
    }
}

impl Drop for Lines<'_> {
    fn drop(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.rest[stream as usize]);
            if !rest.is_empty() {
                self.events.emit(output(self.host, stream, rest));
            }
        }
    }
}

fn output(host: Option<&str>, stream: Stream, line: Vec<u8>) -> Event {
    Event::Output {
        host: host.map(str::to_owned),
        stream,
        line,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::core::{diagnostic::Diagnostic, event::Interface};

    #[derive(Default)]
    struct Recorder(Mutex<Vec<u8>>);

    impl Interface for Recorder {
        fn show(&self, event: Event) {
            if let Event::Output { line, .. } = event {
                self.0.lock().unwrap().extend(line);
            }
        }

        fn confirm(&self, _: &str, _: Option<&str>) -> Result<bool, Diagnostic> {
            Ok(true)
        }

        fn prompt(&self, _: &str, _: bool) -> Result<String, Diagnostic> {
            Ok(String::new())
        }
    }

    #[test]
    fn a_long_line_is_not_split_within_a_secret() {
        const SECRET: &str = "hunter2-and-more";
        for before in MAX_LINE - 40..MAX_LINE + 8 {
            let recorder = Arc::new(Recorder::default());
            let events = Events::new(recorder.clone());
            events.hide(SECRET);
            let mut lines = Lines::new(&events, None);
            for part in [&"x".repeat(before), SECRET, &"y".repeat(MAX_LINE)] {
                for bytes in part.as_bytes().chunks(1000) {
                    lines.push(Stream::Stdout, bytes);
                }
            }
            drop(lines);
            let shown = String::from_utf8(recorder.0.lock().unwrap().clone()).unwrap();
            assert_eq!(shown.len(), before + 3 + MAX_LINE);
            assert!(shown.contains("x***y"));
        }
    }
}
