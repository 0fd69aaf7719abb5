//! Decides which operations a server needs.

use super::{Cause, Decision, Draft, View, decision::Known};
use crate::{
    core::{
        change::Change,
        diagnostic::{Diagnostic, Kind},
        owner::{Owner, Ownership},
    },
    ensemble::{
        manifest::{Server, Variable},
        observe::{EngineState, ServerState},
        operation::{self, Operation, ServerId},
    },
    provider::{Node, NodeState, ServerChange, refuse_protected},
};

/// Decides about a server of the manifest.
pub fn decision(name: &str, view: &View<'_>) -> Result<Decision, Diagnostic> {
    let Some(server) = view.manifest.server(name) else {
        return Ok(Decision::default());
    };
    let mut decision = Decision {
        what: match &server.docker_mount {
            Some(device) => format!("server, {}, Docker's data on {device}", server.provider),
            None => format!("server, {}", server.provider),
        },
        ..Decision::default()
    };
    let options = server.options.resolve(&|v| view.facts.value(name, v));
    let place = |error: Diagnostic| match &server.span {
        Some(span) if error.kind == Kind::Usage && error.excerpts.is_empty() => {
            error.at(&view.manifest.source, span.clone())
        }
        _ => error,
    };
    match view.observed.servers.get(name) {
        None => decision.operations.push(create(server, None)),
        Some(state) => {
            let unknown = options.err().unwrap_or_default();
            decision.operations = existing(server, state, &unknown, view).map_err(place)?;
            if keeps_its_values(&decision.operations) {
                decision.known = Some(Known::Server(state.node.clone()));
            }
        }
    }
    Ok(decision)
}

/// Whether a server keeps its address during these operations.
fn keeps_its_values(operations: &[Draft]) -> bool {
    operations.iter().all(|draft| {
        matches!(
            draft.operation,
            Operation::SetUpDocker { .. } | Operation::AdoptServer { .. }
        )
    })
}

fn create(server: &Server, unfinished: Option<String>) -> Draft {
    let cause = match unfinished {
        Some(_) => Cause::Interrupted,
        None => Cause::Missing,
    };
    let operation = Operation::CreateServer {
        provider: server.provider.clone(),
        options: (&server.options).into(),
        docker: !server.containers.is_empty() || server.docker_mount.is_some(),
        unfinished,
    };
    Draft::new(operation, cause)
}

/// Decides about an existing server, some of whose options may be unknown.
fn existing(
    server: &Server,
    state: &ServerState,
    unknown: &[Variable],
    view: &View<'_>,
) -> Result<Vec<Draft>, Diagnostic> {
    let ServerState { node, engine, .. } = state;
    let name = &server.name;
    let mut drafts = Vec::new();
    let id = ServerId::of(node);
    let is_owned = node.is_unmanaged() || node.owner.is(view.owner);
    let adopts = !is_owned && view.request.adopts(name, None);
    if !is_owned && !adopts && !is_shared(node, view.owner) {
        return Err(not_owned(name, state));
    }
    if adopts {
        drafts.push(Draft {
            operation: Operation::AdoptServer { server: id.clone() },
            cause: Cause::Adopted,
            changes: vec![Change::new(
                "owner",
                Some(node.owner.to_string()),
                Some(format!("belongs to {}", view.owner)),
            )],
        });
    }
    let changes = match view.observed.differences.get(name) {
        _ if view.is_kept => &[],
        Some(Ok(changes)) => changes.as_slice(),
        Some(Err(invalid)) => return Err(invalid.clone().into()),
        None => &[],
    };
    let is_ours = is_owned || adopts;
    if view.request.replace.contains(name) {
        if !is_ours {
            return Err(not_owned(name, state));
        }
        refuse_protected([node])?;
        drafts.push(Draft {
            operation: Operation::TerminateServer { server: id },
            cause: Cause::Requested,
            changes: changes.iter().map(|change| change.change.clone()).collect(),
        });
        drafts.push(Draft {
            cause: Cause::Requested,
            ..create(server, None)
        });
        return Ok(drafts);
    }
    match node.state {
        NodeState::Creating | NodeState::Unfinished | NodeState::Failed => {
            if !is_ours {
                return Err(not_owned(name, state));
            }
            drafts.push(create(server, Some(node.id.clone())));
            return Ok(drafts);
        }
        NodeState::Stopping | NodeState::Suspended | NodeState::Stopped => {
            drafts.push(Draft::new(
                Operation::StartServer { server: id },
                Cause::Stopped,
            ));
            return Ok(drafts);
        }
        NodeState::Running => {}
    }
    if let EngineState::Unknown(error) = engine {
        return Err(error.clone());
    }
    if !unknown.is_empty() && !view.is_kept {
        let operation = Operation::Deferred {
            options: (&server.options).into(),
            on: unknown.iter().map(ToString::to_string).collect(),
            may: vec![operation::Kind::ResizeServer],
        };
        drafts.push(Draft::new(operation, Cause::Unknown));
    } else if !changes.is_empty() {
        if !is_ours {
            return Err(not_owned(name, state));
        }
        refuse_fixed(name, changes)?;
        drafts.push(Draft {
            operation: Operation::ResizeServer {
                server: id.clone(),
                options: (&server.options).into(),
            },
            cause: Cause::Changed,
            changes: changes.iter().map(|change| change.change.clone()).collect(),
        });
    }
    if matches!(engine, EngineState::Missing) && !server.containers.is_empty() {
        drafts.push(Draft {
            operation: Operation::SetUpDocker { server: id },
            cause: Cause::Missing,
            changes: vec![Change::new("docker", None, Some("set up".to_owned()))],
        });
    }
    Ok(drafts)
}

/// Whether a task of the same project created the server. Manifests of the project may run
/// containers on it, and do not change it.
fn is_shared(node: &Node, owner: &Owner) -> bool {
    match &node.owner {
        Ownership::Owner(found) => found.project == owner.project && found.manifest.is_none(),
        Ownership::Legacy(_) | Ownership::Copied(_) | Ownership::Foreign => false,
    }
}

fn not_owned(name: &str, state: &ServerState) -> Diagnostic {
    let owner = &state.node.owner;
    let message = format!("server `{name}` ({}) {owner}", state.node.id);
    Diagnostic::new(Kind::Usage, message).help(format!(
        "rename one of the two servers, or take it over with adopt={name}; in a copy of that project, use its hitc.id"
    ))
}

/// Fails if a change cannot be made to an existing server.
pub fn refuse_fixed(name: &str, changes: &[ServerChange]) -> Result<(), Diagnostic> {
    let Some(fixed) = changes.iter().find(|change| !change.in_place) else {
        return Ok(());
    };
    let Change { field, old, new } = &fixed.change;
    let text = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
    let message = format!(
        "server `{name}`: `{field}` cannot be changed from {} to {}",
        text(old),
        text(new)
    );
    Err(Diagnostic::new(Kind::Usage, message).help(format!(
        "restore the old value, or replace the server with replace={name}: all data on it is lost"
    )))
}
