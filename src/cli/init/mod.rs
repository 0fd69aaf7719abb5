//! The subcommand `hitc init`: creates the files of a new project.

use std::{fs, io::Write};

use super::start::find_project;
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind, plain},
        event::{Event, Events},
    },
    project::HITCFILE,
};

/// The files of a new project, and their content.
const FILES: [(&str, &str); 4] = [
    (HITCFILE, include_str!("hitcfile.rhai")),
    ("servers.yml", include_str!("servers.yml")),
    (
        "unmanaged_servers.txt",
        include_str!("unmanaged_servers.txt"),
    ),
    // Everything else is committed, also hitc.id.
    (".gitignore", include_str!("gitignore")),
];

/// Runs the subcommand.
pub(super) fn main(events: &Events) -> Result<(), Failure> {
    if fs::exists(HITCFILE).unwrap_or(false) {
        let message = format!("`{HITCFILE}` already exists");
        return Err(Diagnostic::new(Kind::Usage, message)
            .help("run `hitc check` to check it".to_owned())
            .into());
    }
    for (name, text) in FILES {
        let made = fs::File::create_new(name).and_then(|mut file| file.write_all(text.as_bytes()));
        match made {
            Ok(()) => events.note(format!("wrote `{name}`")),
            // Never overwrite the user's files.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                events.note(format!("kept `{name}`"));
            }
            Err(error) => {
                let message = format!("`{name}`: {}", plain(error));
                return Err(Diagnostic::new(Kind::Failed, message).into());
            }
        }
    }
    find_project(None)?.ensure_manifest_id(events)?;
    events.emit(Event::Heading("Next:".to_owned()));
    for step in [
        "hitc run local.setup              prepare this machine for local servers",
        "hitc run create name=web count=2  create two servers",
        "hitc run -R web hello             run a task of hitcfile.rhai on them",
        "hitc tasks                        list all tasks",
    ] {
        events.note(format!("  {step}"));
    }
    Ok(())
}
