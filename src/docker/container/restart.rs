//! Restart policies.

use serde::{Deserialize, Serialize};

/// When the engine restarts a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    No,
    /// When it fails.
    OnFailure,
    /// Always, unless the user stopped it.
    #[default]
    UnlessStopped,
    /// Always.
    Always,
}

impl Restart {
    /// All policies.
    pub(super) const ALL: [Restart; 4] = [
        Restart::No,
        Restart::OnFailure,
        Restart::UnlessStopped,
        Restart::Always,
    ];

    /// The name of the policy in the engine's API.
    pub fn name(self) -> &'static str {
        match self {
            Restart::No => "no",
            Restart::OnFailure => "on-failure",
            Restart::UnlessStopped => "unless-stopped",
            Restart::Always => "always",
        }
    }
}
