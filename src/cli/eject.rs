//! The subcommand `hitc eject`: copies built-in tasks into the project.

use std::{fs, path::Path};

use clap::Args;

use super::start::find_project;
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind, plain},
        event::Events,
    },
    script::built_in,
};

#[derive(Args)]
pub(super) struct Eject {
    /// The namespace: docker, ensemble, …; `tasks` for the tasks without namespace
    namespace: String,
}

impl Eject {
    pub fn main(self, hitcfile: Option<&Path>, events: &Events) -> Result<(), Failure> {
        let project = find_project(hitcfile)?;
        let script = built_in(&self.namespace)?;
        let shown = &script.ejected;
        let path = project.root.join(shown);
        let fail = |cause: String| Diagnostic::new(Kind::Failed, format!("`{shown}`: {cause}"));
        if path.exists() {
            let error = Diagnostic::new(Kind::Usage, format!("`{shown}` already exists"));
            return Err(error
                .help("remove the file to use the built-in tasks again".to_owned())
                .into());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| fail(plain(error)))?;
        }
        fs::write(&path, script.text).map_err(|error| fail(plain(error)))?;
        events.note(format!(
            "wrote `{shown}`, which replaces the built-in tasks"
        ));
        Ok(())
    }
}
