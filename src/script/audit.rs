//! Everything that can be found wrong with a project's scripts without running them.

use std::{collections::HashMap, sync::Arc};

use super::{
    Scripts,
    check::check,
    engine,
    library::Library,
    task::{Which, tasks_of},
    unit::Unit,
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

/// Checks all scripts of a project, also those that nothing imports. Returns how many there are,
/// and what is wrong with them.
pub fn audit(project: &Project, events: &Events) -> Result<(usize, Vec<Diagnostic>), Failure> {
    let files = project.files(&["rhai"]).map_err(|error| {
        Diagnostic::new(
            Kind::Failed,
            format!("`{}`: {error}", project.root.display()),
        )
    })?;
    let cancel = Cancel::default();
    let mut findings: Vec<Diagnostic> = Vec::new();
    let mut note = |failure: Failure| {
        for finding in failure.0 {
            // What several scripts import is wrong once.
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    };
    // As a run begins: with the comments of tasks, and circles of imports.
    let loaded = Scripts::load(&Arc::new(Api::default()), project, events, &cancel);
    if let Err(failure) = loaded.and_then(|mut scripts| scripts.all().map(drop)) {
        note(failure);
    }
    let library = Arc::new(Library::new(project.root.clone()));
    let engine = engine::new(&Arc::new(Api::default()), &library, events, &cancel);
    for file in &files {
        if let Err(failure) = library.unit(&engine, file) {
            note(failure);
        }
    }
    // Comments of tasks, also where calls are wrong.
    let hitcfile = library.compiled(HITCFILE);
    let namespaces = hitcfile.as_ref().map(|unit| library.namespaces(unit));
    let tasks = namespaces
        .unwrap_or_default()
        .into_iter()
        .map(|(name, _)| name);
    let imported = tasks.filter_map(|name| library.compiled(&name));
    let imported = imported.map(|unit| (unit, Which::Documented));
    for (unit, which) in imported.chain(hitcfile.map(|unit| (unit, Which::All))) {
        let (_, errors) = tasks_of(&unit.ast, &unit.source, None, which);
        note(Failure(errors));
    }
    Ok((files.len(), findings))
}

/// What is wrong with the text of a task script that imports nothing.
pub fn audit_text(text: &str) -> Vec<Diagnostic> {
    let library = Arc::new(Library::new("/nowhere".into()));
    let (events, cancel) = (Events::silent(), Cancel::default());
    let engine = engine::new(&Arc::new(Api::default()), &library, &events, &cancel);
    let source = Source::new(HITCFILE, text);
    match Unit::compile(&engine, source) {
        Err(error) => vec![error],
        Ok(unit) => {
            let mut findings = check(&unit, &HashMap::new(), || library.known(&engine));
            findings.extend(tasks_of(&unit.ast, &unit.source, None, Which::All).1);
            findings
        }
    }
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
        };
        let (count, _) = audit(&project, &Events::silent()).unwrap();
        assert_eq!(count, 1);
    }

    /// Pieces of real scripts, and what is not usual in them.
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

        /// Real scripts from which something is missing.
        #[test]
        fn no_broken_script_panics(index in 0..TASKS.len(), start in 0_usize..4000, length in 0_usize..200) {
            let text = TASKS[index].1;
            let kept = text.char_indices().filter(|(at, _)| *at < start || *at >= start + length);
            check(&kept.map(|(_, c)| c).collect::<String>());
        }
    }
}
