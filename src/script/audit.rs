//! Checks all scripts of a project without running them.

use std::{collections::HashMap, sync::Arc};

use super::{
    Bound, Config, Scripts, bind,
    check::check,
    discover::{TaskFilter, discover_tasks},
    embedded::{TASKS, TOP, file_name},
    engine,
    library::Library,
    unit::Unit,
    warnings::warnings_of,
};
use crate::{
    api::Api,
    core::{
        cancel::Cancel,
        diagnostic::{Diagnostic, Failure, Kind, Source},
        event::Events,
    },
    project::{HITCFILE, Project},
};

/// What the check of a project's scripts found.
pub struct Audit {
    /// The number of scripts.
    pub scripts: usize,
    /// What is wrong.
    pub errors: Vec<Diagnostic>,
    /// What is probably not meant, with its place.
    pub warnings: Vec<String>,
    /// The settings of the hitcfile, if they can be read.
    pub config: Config,
}

/// Checks all scripts of a project, including those that no script imports. `subcommands` are names that
/// do not run tasks on the command line.
pub fn audit(project: &Project, subcommands: &[&str], events: &Events) -> Result<Audit, Failure> {
    let files = project.files(&["rhai"])?;
    let cancel = Cancel::default();
    let (mut config, mut warnings) = (Config::default(), Vec::new());
    let mut findings: Vec<Diagnostic> = Vec::new();
    let mut note = |failure: Failure| {
        for finding in failure.0 {
            // Report an error in a script once, even if several scripts import it.
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    };
    // Load the scripts as a run does: finds wrong doc comments and cyclic imports.
    let api = Arc::new(Api::default());
    match Scripts::load(&api, project, events, &cancel) {
        Ok(mut scripts) => {
            if let Err(failure) = scripts.all() {
                note(failure);
            }
            match scripts.config(&api) {
                Ok(read) => config = read,
                Err(error) => note(error.into()),
            }
        }
        Err(failure) => note(failure),
    }
    let library = Arc::new(Library::new(project.root.clone()));
    let engine = engine::new(&Arc::new(Api::default()), &library, events, &cancel);
    for file in &files {
        if let Err(failure) = library.unit(&engine, file) {
            note(failure);
        }
    }
    // Check doc comments of tasks also in scripts with other errors.
    let hitcfile = project.script().and_then(|name| library.compiled(&name));
    let namespaces = hitcfile.as_ref().map(|unit| library.namespaces(unit));
    let imported = namespaces.unwrap_or_default().into_iter();
    let imported = imported.filter_map(|(name, alias)| {
        Some((library.compiled(&name)?, alias, TaskFilter::Documented))
    });
    let own = hitcfile.map(|unit| (unit, TOP.to_owned(), TaskFilter::All));
    for (unit, namespace, filter) in imported.chain(own) {
        let (tasks, errors) = discover_tasks(&unit.ast, &unit.source, None, filter);
        note(Failure(errors));
        let built_in = TASKS.iter().any(|(name, _)| *name == namespace);
        let built_in = built_in.then(|| library.unit(&engine, &file_name(&namespace)));
        let names = if namespace == TOP { subcommands } else { &[] };
        warnings.extend(warnings_of(
            &unit,
            &tasks,
            built_in.transpose()?.as_deref(),
            names,
        ));
    }
    Ok(Audit {
        scripts: files.len(),
        errors: findings,
        warnings,
        config,
    })
}

/// Returns the errors in the text of a task script that imports nothing.
pub fn audit_text(text: &str) -> Vec<Diagnostic> {
    let library = Arc::new(Library::new("/nowhere".into()));
    let (events, cancel) = (Events::silent(), Cancel::default());
    let engine = engine::new(&Arc::new(Api::default()), &library, &events, &cancel);
    let source = Source::new(HITCFILE, text);
    match Unit::compile(&engine, source) {
        Err(error) => vec![error],
        Ok(unit) => {
            let mut findings = check(
                &unit,
                &HashMap::new(),
                || library.names(&engine),
                || library.signatures(&engine),
            );
            findings.extend(discover_tasks(&unit.ast, &unit.source, None, TaskFilter::All).1);
            findings
        }
    }
}

/// Binds words of the command line to the parameters of the task in a script.
pub fn bind_words(script: &str, words: &[String]) -> Result<Bound, Diagnostic> {
    let source = Source::new(HITCFILE, script);
    let wrong = || Diagnostic::new(Kind::Usage, "the script has no task");
    let ast = rhai::Engine::new().compile(script).map_err(|_| wrong())?;
    let (tasks, _) = discover_tasks(&ast, &source, None, TaskFilter::All);
    bind(tasks.first().ok_or_else(wrong)?, words)
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::OnceLock};

    use proptest::prelude::*;

    use super::*;
    use crate::script::embedded::{STDLIB, TASKS};

    /// Checks one text as `hitc check` does with a hitcfile.
    fn check(text: &str) {
        static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
        let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap());
        fs::write(folder.path().join(HITCFILE), text).unwrap();
        let project = Project {
            root: folder.path().to_owned(),
            hitcfile: Some(folder.path().join(HITCFILE)),
            data: folder.path().to_owned(),
            home: folder.path().to_owned(),
            is_test: false,
        };
        let audit = audit(&project, &[], &Events::silent()).unwrap();
        assert_eq!(audit.scripts, 1);
    }

    /// Pieces of real scripts, and unusual characters.
    fn piece() -> impl Strategy<Value = String> {
        let texts = TASKS.iter().chain(&STDLIB).map(|(_, text)| *text);
        let mut pieces: Vec<String> = texts
            .flat_map(|text| text.split_inclusive([' ', '\n', '(', ')', '{', '}']))
            .map(str::to_owned)
            .collect();
        pieces.sort();
        pieces.dedup();
        let odd = [
            "é",
            "\u{0}",
            "`${",
            "\"",
            "/*",
            "/// @param ",
            "import \"",
            "#{",
            "|x| ",
            "🦀\n",
        ];
        prop_oneof![
            8 => proptest::sample::select(pieces),
            1 => proptest::sample::select(odd.map(str::to_owned).to_vec()),
            1 => ".{0,8}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_panics(pieces in proptest::collection::vec(piece(), 0..60)) {
            check(&pieces.concat());
        }

        /// Real scripts from which a part is removed.
        #[test]
        fn no_broken_script_panics(index in 0..TASKS.len(), start in 0_usize..4000, length in 0_usize..200) {
            let text = TASKS[index].1;
            let kept = text.char_indices().filter(|(at, _)| *at < start || *at >= start + length);
            check(&kept.map(|(_, c)| c).collect::<String>());
        }
    }
}
