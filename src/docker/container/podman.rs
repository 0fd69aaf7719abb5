//! Reads containers in the state `stopped`, which Podman has and Docker does not: the process has
//! ended, and Podman has not cleaned up yet. For hitc it is `exited`.

use std::str::FromStr;

use bollard::models::{ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum};
use serde_json::{Value as Json, json};

const STOPPED: &str = "stopped";
const EXITED: &str = "exited";

/// Parses the engine's response to a request for the list of containers.
pub(super) fn parse_list(response: &[u8]) -> Option<Vec<ContainerSummary>> {
    if let Ok(listed) = serde_json::from_slice(response) {
        return Some(listed);
    }
    let mut listed: Vec<Json> = serde_json::from_slice(response).ok()?;
    for container in &mut listed {
        replace_state(container.get_mut("State")?);
    }
    serde_json::from_value(Json::Array(listed)).ok()
}

/// Parses the engine's response to a request for one container.
pub(super) fn parse(response: &[u8]) -> Option<ContainerInspectResponse> {
    let mut json: Json = serde_json::from_slice(response).ok()?;
    replace_state(json.pointer_mut("/State/Status")?);
    serde_json::from_value(json).ok()
}

/// Replaces a state that Docker does not have by one that it has.
fn replace_state(state: &mut Json) {
    let text = state.as_str().unwrap_or_default();
    if text == STOPPED {
        *state = json!(EXITED);
    } else if ContainerSummaryStateEnum::from_str(text).is_err() {
        *state = Json::Null;
    }
}
