//! Loads the project and its scripts, as most subcommands do first.

use std::{env, path::Path, sync::Arc};

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

/// Finds the project: that of the hitcfile which `--file` names, else that of the current folder. Fails
/// if another user could have written its files.
pub(super) fn find_project(hitcfile: Option<&Path>) -> Result<Project, Diagnostic> {
    let project = match hitcfile {
        Some(file) => Project::of_hitcfile(file)?,
        None => {
            let folder = env::current_dir().map_err(|error| {
                Diagnostic::new(Kind::Usage, format!("the current folder: {error}"))
            })?;
            Project::find(&folder)?
        }
    };
    project.check_trusted()?;
    Ok(project)
}

impl Start {
    /// Loads the project of this hitcfile, else that of the current folder.
    pub fn new(hitcfile: Option<&Path>, events: &Events) -> Result<Self, Failure> {
        let project = find_project(hitcfile)?;
        environment::load(&project.root)?;
        Start::of(project, events, Scripts::load)
    }

    /// Loads the project for a test of its scripts. hitc's own files are in `folder`.
    pub fn for_test(
        hitcfile: Option<&Path>,
        folder: &Path,
        events: &Events,
    ) -> Result<Self, Failure> {
        let project = find_project(hitcfile)?.of_test(folder);
        environment::isolate();
        Start::of(project, events, Scripts::load_for_test)
    }

    fn of(
        project: Project,
        events: &Events,
        load: impl FnOnce(&Arc<Api>, &Project, &Events, &Cancel) -> Result<Scripts, Failure>,
    ) -> Result<Self, Failure> {
        let api = Arc::new(Api::default());
        let cancel = Cancel::default();
        let scripts = load(&api, &project, events, &cancel)?;
        Ok(Start {
            project,
            api,
            scripts,
            cancel,
        })
    }
}
