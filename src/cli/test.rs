//! The subcommand `hitc test`: runs the tests of the project's scripts. Nothing is contacted.

use std::{collections::BTreeSet, env, fs, path::Path, sync::Arc};

use clap::Args;
use serde_json::json;

use super::{flags::Flags, start::Start};
use crate::{
    api::Frame,
    context::{Mode, Settings},
    core::{
        diagnostic::{Diagnostic, Failure, Kind, did_you_mean, plain, plural},
        environment,
        event::{Event, Events},
    },
    fleet::Selection,
    mock::Mock,
    project::Project,
    script::{Scripts, Task, call_alone},
    ui::Terminal,
};

/// The folder with the user's tests.
const FOLDER: &str = "tests/";

#[derive(Args)]
pub(super) struct Test {
    /// Run only the tests in these files
    #[arg(value_name = "FILE")]
    files: Vec<String>,
    /// Run only tests whose name contains this text
    #[arg(short = 'k', value_name = "NAME")]
    name: Option<String>,
}

/// What the runs of the tests gave.
#[derive(Default)]
struct Tally {
    run: usize,
    failed: usize,
}

impl Test {
    pub fn main(
        self,
        flags: &Flags,
        terminal: &Arc<Terminal>,
        events: &Events,
    ) -> Result<(), Failure> {
        let folder = tempfile::tempdir().map_err(|error| {
            let message = format!("cannot create a temporary folder: {}", plain(error));
            Diagnostic::new(Kind::Failed, message)
        })?;
        let mut start = Start::for_test(flags.hitcfile(), folder.path(), events)?;
        let files = self.files(&start.project)?;
        let own: BTreeSet<String> = names(&start.scripts);
        let mut tests = start.scripts.tests(&files)?;
        let name = self.name.unwrap_or_default();
        tests.retain(|test| test.full_name().contains(&name));
        if tests.is_empty() {
            return Err(none_found(&name).into());
        }
        let settings = Settings {
            yes: false,
            selection: Selection::default(),
            ..flags.settings(start.scripts.config(&start.api)?)
        };
        let mock = Arc::new(Mock::new(start.project.root.clone()));
        let mode = Mode::Mock(mock.clone());
        let frame = Frame::new(&mode, false);
        let api = start.api.clone();
        let run = start.begin(settings, mode, terminal, events)?;
        let mut tally = Tally::default();
        for test in &tests {
            mock.clear();
            environment::isolate();
            api.forget_mocks();
            run.inventory.forget_mocks();
            let result = call_alone(&run.scripts, &frame, test, Vec::new());
            // Also if the script caught the error.
            let unanswered = mock.all_unanswered().into_iter().next();
            let result = match (result, unanswered) {
                (Ok(_), Some(error)) => Err(error.into()),
                (result, _) => result,
            };
            tally.run += 1;
            tally.failed += usize::from(result.is_err());
            report(test, result.as_ref().err(), events);
            if result.is_err_and(|failure| failure.kind() == Kind::Interrupted) {
                break;
            }
        }
        let tasks: Vec<(Arc<Task>, bool)> = run
            .scripts
            .covered()
            .into_iter()
            .filter(|(task, _)| own.contains(&task.full_name()) && !is_test(task))
            .collect();
        run.end();
        tally.report(&tasks, events);
        match tally.failed {
            0 => Ok(()),
            failed => {
                let message = format!("{} failed", plural(failed, "test"));
                Err(Diagnostic::new(Kind::Failed, message).into())
            }
        }
    }

    /// The files with the tests to run, and the namespaces of their tests: all files in [`FOLDER`], or those
    /// that the user names.
    fn files(&self, project: &Project) -> Result<Vec<(String, String)>, Diagnostic> {
        let all = project.files(&["rhai"]).unwrap_or_default();
        let mut files = Vec::new();
        if self.files.is_empty() {
            files.extend(test_files(project).unwrap_or_default());
        }
        for name in &self.files {
            let file = within(project, name);
            if !file.as_ref().is_some_and(|file| all.contains(file)) {
                let tests = all.iter().filter(|file| file.starts_with(FOLDER));
                let help = did_you_mean(name, tests.map(String::as_str)).unwrap_or_else(|| {
                    format!("to run tests by their name, write `hitc test -k {name}`")
                });
                let message = format!("test file `{name}` not found");
                return Err(Diagnostic::new(Kind::NotFound, message).help(help));
            }
            files.extend(file.filter(|file| !files.contains(file)));
        }
        Ok(files.into_iter().map(namespaced).collect())
    }
}

/// The files with the tests of a project: those in [`FOLDER`].
pub(super) fn test_files(project: &Project) -> Result<Vec<String>, Diagnostic> {
    let mut files = project.files(&["rhai"])?;
    files.retain(|file| file.starts_with(FOLDER));
    Ok(files)
}

/// The names of all tests of the project of a hitcfile, else of the current folder.
pub(super) fn test_names(hitcfile: Option<&Path>) -> Result<Vec<String>, Failure> {
    let mut start = Start::new(hitcfile, &Events::silent())?;
    let files = test_files(&start.project)?.into_iter().map(namespaced);
    let tests = start.scripts.tests(&files.collect::<Vec<_>>())?;
    Ok(tests.iter().map(|test| test.full_name()).collect())
}

/// A file with tests, and the namespace that they get.
fn namespaced(file: String) -> (String, String) {
    let name = file.strip_prefix(FOLDER).unwrap_or(&file);
    let name = name.strip_suffix(".rhai").unwrap_or(name).to_owned();
    (file, name)
}

/// The path of a file within the project, if it is there: relative to the current folder, else to the
/// project's.
fn within(project: &Project, name: &str) -> Option<String> {
    let folder = env::current_dir().unwrap_or_default();
    let root = fs::canonicalize(&project.root).ok()?;
    let paths = [folder, root.clone()].map(|folder| fs::canonicalize(folder.join(name)));
    paths.into_iter().flatten().find_map(|path| {
        let path = path.strip_prefix(&root).ok()?;
        Some(path.to_string_lossy().into_owned())
    })
}

/// The names of the tasks that are loaded.
fn names(scripts: &Scripts) -> BTreeSet<String> {
    let tasks = scripts.covered();
    tasks.iter().map(|(task, _)| task.full_name()).collect()
}

fn is_test(task: &Task) -> bool {
    task.source.name.starts_with(FOLDER)
}

fn none_found(name: &str) -> Diagnostic {
    if name.is_empty() {
        let help = format!("write functions without parameters into `{FOLDER}NAME.rhai`");
        return Diagnostic::new(Kind::NotFound, "no tests found").help(help);
    }
    let message = format!("no test with `{name}` in its name found");
    Diagnostic::new(Kind::NotFound, message).help("`hitc test` runs all tests".to_owned())
}

/// Shows the result of a test.
fn report(test: &Task, failure: Option<&Failure>, events: &Events) {
    let (name, is_ok) = (test.full_name(), failure.is_none());
    let word = if is_ok { "ok" } else { "FAILED" };
    events.note(format!("{name}  {word}"));
    events.emit(Event::Record {
        name: "test",
        data: json!({"name": name, "ok": is_ok}),
    });
    if let Some(failure) = failure {
        events.report(failure);
    }
}

impl Tally {
    /// Shows the results, and which tasks of the project were called.
    fn report(&self, tasks: &[(Arc<Task>, bool)], events: &Events) {
        let Tally { run, failed } = *self;
        let passed = run - failed;
        events.note(format!(
            "{}: {passed} passed, {failed} failed",
            plural(run, "test")
        ));
        let names = |is_called: bool| -> Vec<String> {
            let tasks = tasks.iter().filter(|(_, called)| *called == is_called);
            tasks.map(|(task, _)| task.full_name()).collect()
        };
        let (called, missed) = (names(true), names(false));
        if !tasks.is_empty() {
            let mut text = format!("tasks covered: {} of {}", called.len(), tasks.len());
            if !missed.is_empty() {
                text.push_str(&format!("; not called: {}", missed.join(", ")));
            }
            events.note(text);
        }
        events.emit(Event::Record {
            name: "tested",
            data: json!({
                "passed": passed, "failed": failed, "covered": called, "not_covered": missed
            }),
        });
    }
}
