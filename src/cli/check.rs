//! The subcommand `hitc check`: checks all scripts and manifests without contacting a server.

use std::sync::Arc;

use serde_json::json;

use super::{flags::Flags, start::find_project};
use crate::{
    context::{Context, Mode},
    core::{
        cancel::Cancel,
        diagnostic::{Diagnostic, Failure, Kind, plain, plural},
        environment,
        event::{Event, Events},
        text_file::read_text,
    },
    ensemble,
    inventory::{Inventory, Providers},
    project::Project,
    script::{Audit, audit, scripted},
    ssh::Terminations,
};

/// Runs the subcommand. `subcommands` are the names of all of them.
pub(super) fn main(flags: &Flags, subcommands: &[&str], events: &Events) -> Result<(), Failure> {
    let project = find_project(flags.hitcfile())?;
    environment::load(&project.root)?;
    let Audit {
        scripts,
        errors: mut findings,
        warnings,
        config,
    } = audit(&project, subcommands, events)?;
    for warning in warnings {
        events.warn(warning);
    }
    let settings = flags.settings(config);
    let provider = settings.provider.clone();
    // Scripted providers validate the options of their servers, as in a run.
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Diagnostic::new(Kind::Failed, format!("internal error: {error}")))?;
    let context = Arc::new(Context::new(
        runtime.handle().clone(),
        events.clone(),
        Cancel::default(),
        settings,
        project.clone(),
        Mode::Dry,
    ));
    let built_in = Arc::new(Inventory::new(context, Terminations::default()));
    let inventory = built_in.with(scripted(&built_in))?;
    if let Err(error) = inventory.providers.get(&provider) {
        let mut error = Diagnostic::from(error);
        error.message = format!("`config(#{{ provider }})`: {}", error.message);
        findings.push(error);
    }
    let manifests = check_manifests(&project, &inventory.providers, &mut findings, events)?;
    events.emit(Event::Record {
        name: "checked",
        data: json!({"scripts": scripts, "manifests": manifests, "errors": findings.len()}),
    });
    if findings.is_empty() {
        events.note(format!(
            "{}, {}: no errors found",
            plural(scripts, "script"),
            plural(manifests, "manifest")
        ));
        return Ok(());
    }
    let invalid = |finding| Diagnostic {
        kind: Kind::Usage,
        ..finding
    };
    Err(Failure(findings.into_iter().map(invalid).collect()))
}

/// Checks all manifests of a project, and returns how many there are.
fn check_manifests(
    project: &Project,
    providers: &Providers,
    findings: &mut Vec<Diagnostic>,
    events: &Events,
) -> Result<usize, Diagnostic> {
    let files = project.files(&["yml", "yaml"])?;
    let mut count = 0;
    for file in files {
        let path = project.root.join(&file);
        let text = match read_text(&path, ensemble::LARGEST) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("`{file}`: {}", plain(error));
                findings.push(Diagnostic::new(Kind::Usage, message));
                continue;
            }
        };
        if !ensemble::is_manifest(&text) {
            continue;
        }
        count += 1;
        match ensemble::load(&path, &project.root, providers, events) {
            Ok(manifest) => {
                for warning in ensemble::warnings(&manifest) {
                    events.warn(format!("{file}: {warning}"));
                }
            }
            Err(failure) => findings.extend(failure.0),
        }
    }
    Ok(count)
}
