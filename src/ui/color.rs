//! When output is coloured, and the colour of each host.

use std::env;

use anstyle::{AnsiColor, Style};

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless the environment says otherwise.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to use colours. `--color` takes precedence over `NO_COLOR` (<https://no-color.org>),
    /// then `FORCE_COLOR` (<https://force-color.org>), then whether output goes to a terminal.
    pub(super) fn is_used(self, is_terminal: bool) -> bool {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if is_set("NO_COLOR") => false,
            Color::Auto => is_set("FORCE_COLOR") || is_terminal,
        }
    }
}

/// The colour of a host's prefix. It depends on the name only, so that it is the same in every run.
pub(super) fn of_host(host: &str) -> Style {
    const COLORS: [AnsiColor; 6] = [
        AnsiColor::Cyan,
        AnsiColor::Green,
        AnsiColor::Yellow,
        AnsiColor::Magenta,
        AnsiColor::Blue,
        AnsiColor::BrightCyan,
    ];
    let sum: usize = host.bytes().map(usize::from).sum();
    COLORS[sum % COLORS.len()].on_default()
}
