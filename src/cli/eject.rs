//! `hitc eject NAMESPACE`.

use std::fs;

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
    /// The namespace: docker, ensemble, …; `tasks` is the top level
    namespace: String,
}

impl Eject {
    pub fn main(self, events: &Events) -> Result<(), Failure> {
        let project = find_project()?;
        let script = built_in(&self.namespace)?;
        let shown = &script.ejected;
        let path = project.root.join(shown);
        let fail = |cause: String| Diagnostic::new(Kind::Failed, format!("`{shown}`: {cause}"));
        if path.exists() {
            let error = Diagnostic::new(Kind::Usage, format!("`{shown}` is there already"));
            return Err(error
                .help("remove it to have the built-in tasks again".to_owned())
                .into());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| fail(plain(error)))?;
        }
        fs::write(&path, script.text).map_err(|error| fail(plain(error)))?;
        events.note(format!(
            "`{shown}` takes the place of the built-in tasks now"
        ));
        Ok(())
    }
}
