//! Output streams, and the lines of containers' logs, merged over hosts.

use std::sync::Arc;

use jiff::Timestamp;

/// The output stream of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Lines in the order in which they are shown. Many at once, because logs can be fast.
#[derive(Clone, Debug)]
pub struct LogLines {
    /// The lines.
    pub lines: Vec<LogLine>,
    /// Whether the log has several sources, so that each line needs the name of its own.
    pub has_prefix: bool,
}

/// One line of a log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// The container or engine that wrote it.
    pub source: Arc<LogSource>,
    /// When it was written, by the clock of the host.
    pub time: Timestamp,
    /// The stream to which it was written.
    pub stream: Stream,
    /// The bytes, including the line end if there is one.
    pub line: Vec<u8>,
}

/// What writes a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSource {
    /// The host.
    pub host: String,
    /// The container; none for the engine itself.
    pub container: Option<String>,
}

impl LogSource {
    /// The name before each line: `web/shop`, as `-H` selects a container, or `web`.
    pub fn name(&self) -> String {
        match &self.container {
            Some(container) => format!("{}/{container}", self.host),
            None => self.host.clone(),
        }
    }
}
