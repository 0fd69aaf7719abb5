//! Decides what has to be done to the firewall of a server.
//!
//! Ports are opened before the containers that need them, and closed after everything else.

use super::{Cause, Decision, Draft, ResourceName, View};
use crate::{
    core::{
        change::Change,
        diagnostic::{Diagnostic, plural},
        owner::{Owner, Ownership},
        value::Value,
    },
    ensemble::{
        Manifest, Request,
        manifest::Variable,
        observe::FirewallState,
        operation::{self, Operation, Options},
    },
    iptables::{Firewall, Installed},
    provision::Difference,
};

/// Decides about the firewall of a server of the manifest, and the cloud's in front of it.
pub fn decision(server: &str, view: &View<'_>) -> Result<Decision, Diagnostic> {
    let mut decision = decision_on_server(server, view)?;
    let state = view.observed.servers.get(server);
    match state.map(|state| &state.cloud_firewall) {
        Some(Difference::Behind(changes)) => {
            if decision.what.is_empty() {
                "the cloud's in front of it".clone_into(&mut decision.what);
            }
            decision.closing.push(Draft {
                operation: Operation::KeepCloudFirewall,
                cause: Cause::Changed,
                changes: changes.clone(),
            });
        }
        Some(Difference::Unknown(cause)) => {
            let text = format!("the cloud's firewall in front of `{server}`: {cause}");
            decision.unchecked.get_or_insert(text);
        }
        // The warnings come with the plan.
        Some(Difference::Lacks(_) | Difference::None) | None => {}
    }
    Ok(decision)
}

fn decision_on_server(server: &str, view: &View<'_>) -> Result<Decision, Diagnostic> {
    let state = view.observed.servers.get(server);
    let state = state.map(|state| &state.firewall);
    let on_server = ResourceName::Server(server.to_owned());
    let is_new = view.decisions.get(&on_server).is_some_and(|decided| {
        let mut kinds = decided
            .operations
            .iter()
            .map(|draft| draft.operation.kind());
        kinds.any(|kind| kind == operation::Kind::CreateServer)
    });
    let tree = view
        .manifest
        .server(server)
        .and_then(|server| server.firewall.as_ref());
    let Some(tree) = tree else {
        return Ok(unwanted(server, state.filter(|_| !is_new), view.owner));
    };
    let options = Options::from(tree);
    let facts = |variable: &Variable| view.facts.value(server, variable);
    let wanted = match options.resolve(&facts) {
        Ok(value) => Ok(decode(view.manifest, server, &value)?),
        Err(unknown) => Err(unknown),
    };
    let what = match &wanted {
        Ok(rules) if rules.is_empty() => "everything is closed but SSH".to_owned(),
        Ok(rules) => plural(rules.len(), "rule"),
        Err(_) => "rules with addresses of other servers".to_owned(),
    };
    let mut decision = Decision {
        what,
        ..Decision::default()
    };
    let installed = match state {
        _ if is_new => None,
        None | Some(FirewallState::Missing) => None,
        Some(FirewallState::Installed(installed)) => Some(installed),
        Some(FirewallState::Unknown(error)) => return Err(error.clone()),
        Some(FirewallState::Off) => {
            let on = vec!["its server is started first".to_owned()];
            defer(&mut decision, &options, on);
            return Ok(decision);
        }
    };
    if let Some(installed) = installed {
        refuse_foreign(server, installed, view.owner, view.request)?;
    }
    match wanted {
        Ok(wanted) => decide(&mut decision, &options, &wanted, installed, view.owner),
        Err(unknown) if installed.is_none() => {
            let names = unknown
                .iter()
                .map(Variable::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            let operation = apply(&options, Vec::new());
            let change = Change::new("known later", None, Some(names));
            decision.operations.push(Draft {
                changes: vec![change],
                ..Draft::new(operation, Cause::Missing)
            });
        }
        Err(unknown) => {
            let on = unknown.iter().map(Variable::to_string).collect();
            defer(&mut decision, &options, on);
        }
    }
    Ok(decision)
}

/// A firewall that the manifest does not have is removed if it was the manifest's.
fn unwanted(server: &str, state: Option<&FirewallState>, owner: &Owner) -> Decision {
    match state {
        Some(FirewallState::Installed(installed)) if installed.owner.is(owner) => Decision {
            what: "all ports are open then".to_owned(),
            operations: vec![Draft::new(Operation::ClearFirewall, Cause::NotInManifest)],
            ..Decision::default()
        },
        Some(FirewallState::Unknown(error)) => Decision {
            unchecked: Some(format!("firewall of `{server}`: {}", error.message)),
            ..Decision::default()
        },
        // Its server is started first.
        Some(FirewallState::Off) => Decision {
            what: "removed if there is one of this manifest".to_owned(),
            operations: vec![Draft::new(Operation::ClearFirewall, Cause::Unknown)],
            ..Decision::default()
        },
        _ => Decision::default(),
    }
}

/// Decides about a firewall whose rules are known.
fn decide(
    decision: &mut Decision,
    options: &Options,
    wanted: &Firewall,
    installed: Option<&Installed>,
    owner: &Owner,
) {
    let draft = |keep: Vec<String>, cause: Cause, changes: Vec<Change>| Draft {
        operation: apply(options, keep),
        cause,
        changes,
    };
    let Some(installed) = installed else {
        let changes = wanted.changes_from(&Firewall::default());
        decision
            .operations
            .push(draft(Vec::new(), Cause::Missing, changes));
        return;
    };
    let old = match &installed.rules {
        Ok(old) => old,
        // Nothing is known about what is open now.
        Err(cause) => {
            let change = Change::new(
                "rules",
                Some(cause.clone()),
                Some("loaded again".to_owned()),
            );
            decision
                .operations
                .push(draft(Vec::new(), Cause::Changed, vec![change]));
            return;
        }
    };
    let mut changes = wanted.changes_from(old);
    let mut cause = Cause::Changed;
    if !installed.owner.is(owner) {
        cause = Cause::Adopted;
        let new = format!("belongs to {owner}");
        changes.push(Change::new(
            "owner",
            Some(installed.owner.to_string()),
            Some(new),
        ));
    }
    if changes.is_empty() {
        return;
    }
    let both = wanted.and(old);
    let removed: Vec<String> = old
        .rules()
        .filter(|(ports, source)| !wanted.sources(*ports).any(|known| known.includes(source)))
        .map(|(ports, source)| format!("{ports} {source}"))
        .collect();
    if removed.is_empty() {
        decision.operations.push(draft(removed, cause, changes));
    } else if both.rules().eq(old.rules()) {
        decision.closing.push(draft(Vec::new(), cause, changes));
    } else {
        decision
            .operations
            .push(draft(removed, cause.clone(), changes));
        decision.closing.push(draft(Vec::new(), cause, Vec::new()));
    }
}

fn apply(options: &Options, keep: Vec<String>) -> Operation {
    Operation::ApplyFirewall {
        options: options.clone(),
        keep,
    }
}

/// Opens what is missing when the rules are known, and closes the rest after everything else.
fn defer(decision: &mut Decision, options: &Options, on: Vec<String>) {
    let operation = Operation::Deferred {
        options: options.clone(),
        on,
        may: vec![operation::Kind::ApplyFirewall],
    };
    decision
        .operations
        .push(Draft::new(operation, Cause::Unknown));
    let closing = apply(options, Vec::new());
    decision.closing.push(Draft::new(closing, Cause::Unknown));
}

/// Decodes the rules of a server whose variables are resolved. An error points into the manifest.
pub fn decode(manifest: &Manifest, server: &str, value: &Value) -> Result<Firewall, Diagnostic> {
    let what = format!("firewall of `{server}`");
    Firewall::decode(value, &what).map_err(|error| {
        let span = error.span.clone();
        let diagnostic = Diagnostic::from(error);
        match span {
            Some(span) => diagnostic.at(&manifest.source, span),
            None => diagnostic,
        }
    })
}

/// Fails if a firewall belongs to another project or manifest, and the user does not adopt it. That of a
/// task of the same project is taken over.
pub fn refuse_foreign(
    server: &str,
    installed: &Installed,
    owner: &Owner,
    request: &Request,
) -> Result<(), Diagnostic> {
    let is_shared = match &installed.owner {
        Ownership::Owner(found) => found.project == owner.project && found.manifest.is_none(),
        _ => false,
    };
    if installed.owner.is(owner) || is_shared || request.adopts(server, None) {
        return Ok(());
    }
    let message = format!("server `{server}`: its firewall {}", installed.owner);
    Err(
        Diagnostic::new(crate::core::diagnostic::Kind::Usage, message)
            .help(format!("take it over with adopt={server}")),
    )
}
