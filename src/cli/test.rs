//! The subcommand `hitc test`: runs the project's tests on mock hosts.

use std::sync::Arc;

use clap::Args;

use super::{flags::Flags, start::Start};
use crate::{
    api::Frame,
    context::{Mode, Settings},
    core::{
        diagnostic::{Diagnostic, Failure, Kind, plural},
        event::Events,
    },
    machine::Mock,
    script::call_alone,
    ui::Terminal,
};

/// The folder with the user's tests.
const FOLDER: &str = "tests/";

#[derive(Args)]
pub(super) struct Test {
    /// Run only tests whose name contains this text
    pattern: Option<String>,
}

impl Test {
    pub fn main(
        self,
        flags: &Flags,
        terminal: &Arc<Terminal>,
        events: &Events,
    ) -> Result<(), Failure> {
        let mut start = Start::new(flags.hitcfile(), events)?;
        let files = start.project.files(&["rhai"]).unwrap_or_default();
        let files: Vec<String> = files
            .into_iter()
            .filter(|file| file.starts_with(FOLDER))
            .collect();
        let pattern = self.pattern.unwrap_or_default();
        let mut tests = start.scripts.tests(&files)?;
        tests.retain(|test| test.full_name().contains(&pattern));
        if tests.is_empty() {
            return Err(Diagnostic::new(Kind::NotFound, "no tests found")
                .help(format!(
                    "write functions without parameters into `{FOLDER}NAME.rhai`"
                ))
                .into());
        }
        let settings = Settings {
            yes: true,
            ..flags.settings(start.scripts.config(&start.api)?)
        };
        let mock = Arc::new(Mock::default());
        let mode = Mode::Mock(mock.clone());
        let frame = Frame::new(&mode, false);
        let run = start.begin(settings, mode, terminal, events)?;
        let mut failed = 0;
        for test in &tests {
            mock.clear();
            let result = call_alone(&run.scripts, &frame, test, Vec::new());
            let word = if result.is_ok() { "ok" } else { "FAILED" };
            events.note(format!("{}  {word}", test.full_name()));
            if let Err(failure) = result {
                failed += 1;
                events.report(&failure);
                if failure.kind() == Kind::Interrupted {
                    break;
                }
            }
        }
        run.end();
        let passed = tests.len() - failed;
        events.note(format!(
            "{}: {passed} passed, {failed} failed",
            plural(tests.len(), "test")
        ));
        match failed {
            0 => Ok(()),
            _ => Err(
                Diagnostic::new(Kind::Failed, format!("{} failed", plural(failed, "test"))).into(),
            ),
        }
    }
}
