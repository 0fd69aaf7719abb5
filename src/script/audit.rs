//! Everything that can be found wrong with a project's scripts without running them.

use std::sync::Arc;

use super::{Scripts, engine, library::Library, task::tasks_of};
use crate::{
    api::Api,
    cancel::Cancel,
    diagnostic::{Diagnostic, Failure, Kind},
    event::Events,
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
    for unit in tasks
        .filter_map(|name| library.compiled(&name))
        .chain(hitcfile)
    {
        let (_, errors) = tasks_of(&unit.ast, &unit.source, None);
        note(Failure(errors));
    }
    Ok((files.len(), findings))
}
