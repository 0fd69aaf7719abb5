//! What the ensemble looks at and changes: providers, servers, engines.
//!
//! The one seam of the ensemble. A run has a world of real servers ([`super::live`]); the tests have
//! a simulated one, which drives the same code.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    core::{
        cancel::Cancel,
        diagnostic::Diagnostic,
        event::{Activity, Events},
    },
    docker::Containers,
    inventory::Providers,
    machine::Lock,
    provider::{Create, Node, Provider},
};

/// The world that a manifest describes a part of.
#[async_trait]
pub trait World: Send + Sync {
    /// The providers.
    fn providers(&self) -> &Providers;

    /// Where progress is told.
    fn events(&self) -> &Events;

    /// Whether the user wants the run to end.
    fn cancel(&self) -> &Cancel;

    /// Creates a server, or finishes one whose creation was interrupted, and waits until it is
    /// ready for use.
    async fn create(
        &self,
        provider: &dyn Provider,
        create: &Create,
        activity: &Activity,
    ) -> Result<Node, Diagnostic>;

    /// Waits until a server that may still be starting accepts connections.
    async fn wait_for(&self, node: &Node) -> Result<(), Diagnostic>;

    /// Takes the lock of a server; waits at most `wait` for another run to release it.
    async fn lock(&self, node: &Node, purpose: &str, wait: Duration) -> Result<Lock, Diagnostic>;

    /// The Docker Engine of a server: none if Docker is not installed there. An engine that could
    /// not be asked is an error with its cause.
    async fn engine(&self, node: &Node) -> Result<Option<Arc<dyn Containers>>, Diagnostic>;

    /// Installs and starts Docker on a server.
    async fn set_up_docker(&self, node: &Node) -> Result<(), Diagnostic>;

    /// Forgets connections and listings of a server that was stopped, changed or terminated.
    async fn forget(&self, node: &Node);
}
