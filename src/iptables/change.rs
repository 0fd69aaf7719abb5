//! Changes the firewall of a server in place: for tasks.

use std::{future::Future, sync::Arc};

use super::{Firewall, Installed, apply, clear, observe};
use crate::{
    core::{
        change::Change,
        diagnostic::{Diagnostic, Kind},
        owner::{Owner, Ownership},
    },
    machine::Machine,
};

/// Changes the firewall of a server as `edit` says, which gets the one that the server has. Returns the
/// changed rules. Unless `adopt` is set, the firewall must be of the project of `owner`. The caller holds
/// the lock of the server.
///
/// # Errors
/// Those of [`apply`], and of `edit`.
pub async fn change<F>(
    machine: &dyn Machine,
    owner: &Owner,
    adopt: bool,
    edit: impl FnOnce(Option<&Installed>) -> Result<Firewall, Diagnostic>,
    reconnect: impl FnOnce() -> F,
) -> Result<Vec<Change>, Diagnostic>
where
    F: Future<Output = Result<Arc<dyn Machine>, Diagnostic>>,
{
    let installed = observe(machine).await?;
    refuse_foreign(machine.name(), installed.as_ref(), owner, adopt)?;
    let wanted = edit(installed.as_ref())?;
    let current = installed
        .as_ref()
        .and_then(|found| found.rules.as_ref().ok());
    if current == Some(&wanted) {
        return Ok(Vec::new());
    }
    // The firewall of a manifest stays one of the manifest.
    let kept = match installed.as_ref().map(|found| &found.owner) {
        Some(Ownership::Owner(found)) if found.project == owner.project => found,
        _ => owner,
    };
    apply(machine, &wanted, kept, reconnect).await?;
    Ok(wanted.changes_from(current.unwrap_or(&Firewall::default())))
}

/// Removes the firewall of a server. Returns whether there was one. Unless `adopt` is set, it must be of
/// the project of `owner`; if it is set, whatever is left of a firewall is removed, also if it cannot be
/// read. The caller holds the lock of the server.
pub async fn remove(machine: &dyn Machine, owner: &Owner, adopt: bool) -> Result<bool, Diagnostic> {
    if adopt {
        clear(machine).await?;
        return Ok(true);
    }
    let installed = observe(machine).await?;
    refuse_foreign(machine.name(), installed.as_ref(), owner, adopt)?;
    if installed.is_some() {
        clear(machine).await?;
    }
    Ok(installed.is_some())
}

fn refuse_foreign(
    host: &str,
    installed: Option<&Installed>,
    owner: &Owner,
    adopt: bool,
) -> Result<(), Diagnostic> {
    match installed.map(|found| &found.owner) {
        Some(found) if !adopt && !found.is_of_project(&owner.project) => {
            let message = format!("host `{host}`: its firewall {found}");
            Err(Diagnostic::new(Kind::Failed, message)
                .on(host)
                .help("add adopt=true to take it over".to_owned()))
        }
        _ => Ok(()),
    }
}
