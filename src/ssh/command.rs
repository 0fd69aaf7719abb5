//! A command to run on a server, and its standard input.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bytes::Bytes;

use crate::core::process::Keep;

/// The standard input of a command.
#[derive(Clone, Debug)]
pub enum Input {
    /// These bytes.
    Bytes(Bytes),
    /// The standard input of hitc itself.
    Stdin,
    /// A local file.
    File {
        /// The path of the file.
        path: PathBuf,
        /// The offset of the first byte to send.
        from: u64,
        /// Counts the bytes that were sent.
        sent: Arc<AtomicU64>,
    },
}

impl Default for Input {
    fn default() -> Self {
        Input::Bytes(Bytes::new())
    }
}

impl Input {
    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Input::Bytes(bytes) if bytes.is_empty())
    }
}

/// A command to run on a server.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// The shell command line.
    pub line: String,
    /// Runs it as root, with sudo unless the login user is root.
    pub sudo: bool,
    /// The user to run it as, with sudo unless that is the login user.
    pub user: Option<String>,
    /// The working directory.
    pub folder: Option<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// The shell that reads the line; `sh` by default.
    pub shell: Option<String>,
    /// The standard input.
    pub stdin: Input,
    /// The time limit, after which the command is terminated.
    pub timeout: Option<Duration>,
    /// How much of its output is kept.
    pub keep: Keep,
}

impl Command {
    /// Creates a command without input and time limit, for the login user.
    pub fn new(line: impl Into<String>) -> Self {
        Command {
            line: line.into(),
            ..Command::default()
        }
    }

    /// Creates a command without input and time limit, for root.
    pub fn root(line: impl Into<String>) -> Self {
        Command {
            sudo: true,
            ..Command::new(line)
        }
    }
}
