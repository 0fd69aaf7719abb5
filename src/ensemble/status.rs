//! What a manifest describes, as it is now: the state of each resource, and what `up` would do with it.

use std::path::Path;

use super::{
    EngineState, Invocation, Manifest, Observed, Plan, Request,
    converge::{Converging, Goal},
    manifest::Server,
    observe::{FirewallState, ServerState},
    resource::ResourceName,
};
use crate::{
    core::diagnostic::Failure,
    docker::{Snapshot, State},
};

/// A server, firewall or container.
#[derive(Debug, Default)]
pub struct Status {
    /// Its name: `web`, `web (firewall)` or `web.shop`.
    pub resource: String,
    /// Its state, such as `running` or `missing`. If that is not known, why.
    pub state: String,
    /// Its address, while it has one.
    pub ip: String,
    /// The image that it was created from.
    pub image: String,
    /// What `up` would do, in one word: `create`, `replace`, …. Empty if it would do nothing.
    pub plan: String,
}

/// Returns the state of everything that the manifest at `path` describes, in its order, and then of what
/// exists besides it. If no plan can be made, because a server does not answer for example, returns the
/// cause, too: the plans are unknown then.
pub async fn status(
    invocation: &Invocation<'_>,
    path: &Path,
) -> Result<(Vec<Status>, Option<Failure>), Failure> {
    let (manifest, owner) = invocation.load_quietly(path, false)?;
    let request = Request::default();
    let converging = Converging::new(invocation.world, Goal::Up, &manifest, owner, &request)?;
    let (observed, planned) = converging.inspect().await?;
    let mut rows = rows(&manifest, &observed);
    let Plan { left_alone, .. } = match &planned {
        Ok(plan) => plan,
        Err(failure) => {
            for (_, row) in &mut rows {
                "unknown".clone_into(&mut row.plan);
            }
            let rows = rows.into_iter().map(|(_, row)| row).collect();
            return Ok((rows, Some(failure.clone())));
        }
    };
    if let Ok(plan) = &planned {
        let actions = plan.actions();
        for (name, row) in &mut rows {
            let action = actions.get(name).copied();
            action.unwrap_or_default().clone_into(&mut row.plan);
        }
    }
    let mut rows: Vec<Status> = rows.into_iter().map(|(_, row)| row).collect();
    rows.extend(left_alone.iter().map(|left| Status {
        resource: left.resource.to_string(),
        state: "not in the manifest".to_owned(),
        ..Status::default()
    }));
    Ok((rows, None))
}

/// The rows of what a manifest describes, with their names.
fn rows(manifest: &Manifest, observed: &Observed) -> Vec<(ResourceName, Status)> {
    let mut rows = Vec::new();
    for server in &manifest.servers {
        let state = observed.servers.get(&server.name);
        rows.extend(of_server(server, state));
    }
    rows.into_iter()
        .map(|(name, row)| {
            let resource = name.to_string();
            (name, Status { resource, ..row })
        })
        .collect()
}

/// The rows of a server of the manifest, its firewall and its containers.
fn of_server(server: &Server, state: Option<&ServerState>) -> Vec<(ResourceName, Status)> {
    let name = &server.name;
    let row = match state {
        None => Status {
            state: MISSING.to_owned(),
            ..Status::default()
        },
        Some(state) => Status {
            state: state.node.state.to_string(),
            ip: state.node.ip_text(),
            image: state.node.image.clone(),
            ..Status::default()
        },
    };
    let mut rows = vec![(ResourceName::Server(name.clone()), row)];
    if server.firewall.is_some() {
        let row = Status {
            state: state.map_or_else(|| MISSING.to_owned(), firewall_state),
            ..Status::default()
        };
        rows.push((ResourceName::Firewall(name.clone()), row));
    }
    for container in &server.containers {
        let row = container_row(&container.name, state);
        let resource = ResourceName::Container(name.clone(), container.name.clone());
        rows.push((resource, row));
    }
    rows
}

/// The state of what does not exist.
const MISSING: &str = "missing";

fn firewall_state(server: &ServerState) -> String {
    match &server.firewall {
        FirewallState::Off => "the server does not run".to_owned(),
        FirewallState::Unknown(error) => format!("unknown: {}", error.message),
        FirewallState::Missing => MISSING.to_owned(),
        FirewallState::Installed(_) => "loaded".to_owned(),
    }
}

fn container_row(name: &str, server: Option<&ServerState>) -> Status {
    let of_state = |state: &str| Status {
        state: state.to_owned(),
        ..Status::default()
    };
    let Some(server) = server else {
        return of_state(MISSING);
    };
    let Snapshot { containers, .. } = match &server.engine {
        EngineState::Off => return of_state("the server does not run"),
        EngineState::Unknown(error) => return of_state(&format!("unknown: {}", error.message)),
        EngineState::Missing => return of_state(MISSING),
        EngineState::Running(snapshot) => snapshot,
    };
    let Some(found) = containers.iter().find(|found| found.name == name) else {
        return of_state(MISSING);
    };
    Status {
        state: match found.state {
            State::Created => "created",
            State::Running => "running",
            State::Exited => "stopped",
            State::Restarting => "restarting",
            State::Other => "paused or dead",
        }
        .to_owned(),
        ip: found.ip.map(|ip| ip.to_string()).unwrap_or_default(),
        image: found.image.clone(),
        ..Status::default()
    }
}
