//! Loads the project and its scripts, as most subcommands do first.

use std::{env, sync::Arc};

use crate::{
    api::Api,
    core::{
        cancel::Cancel,
        diagnostic::{Diagnostic, Failure, Kind},
        environment,
        event::Events,
    },
    project::Project,
    script::Scripts,
};

/// The user's project with its scripts, of which no task has run yet.
pub(super) struct Start {
    pub project: Project,
    pub api: Arc<Api>,
    pub scripts: Scripts,
    pub cancel: Cancel,
}

/// Finds the project of the current folder. Fails if another user could have written its files.
pub(super) fn find_project() -> Result<Project, Diagnostic> {
    let folder = env::current_dir()
        .map_err(|error| Diagnostic::new(Kind::Usage, format!("the current folder: {error}")))?;
    let project = Project::find(&folder)?;
    project.check_trusted()?;
    Ok(project)
}

impl Start {
    pub fn new(events: &Events) -> Result<Self, Failure> {
        let project = find_project()?;
        environment::load(&project.root)?;
        let api = Arc::new(Api::default());
        let cancel = Cancel::default();
        let scripts = Scripts::load(&api, &project, events, &cancel)?;
        Ok(Start {
            project,
            api,
            scripts,
            cancel,
        })
    }
}
