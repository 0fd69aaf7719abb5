//! The subcommand `hitc definitions`: writes definition files for the Rhai language server.

use std::path::PathBuf;

use clap::Args;

use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind, plain},
        event::Events,
    },
    script::write_definitions,
};

#[derive(Args)]
pub(super) struct Definitions {
    /// The folder to write to
    folder: PathBuf,
}

impl Definitions {
    pub fn main(self, events: &Events) -> Result<(), Failure> {
        let folder = self.folder.display().to_string();
        write_definitions(&self.folder).map_err(|error| {
            Diagnostic::new(Kind::Failed, format!("`{folder}`: {}", plain(error)))
        })?;
        events.note(format!("wrote the definitions for editors to `{folder}`"));
        Ok(())
    }
}
