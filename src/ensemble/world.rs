//! What the ensemble looks at and changes: providers, servers, engines.
//!
//! The one seam of the ensemble. A run has a world of real servers ([`super::live`]); the tests have
//! a simulated one, which drives the same code.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    core::{cancel::Cancel, diagnostic::Diagnostic, owner::Owner},
    docker::{self, Binding, Containers, SetupOptions},
    inventory::{Access, Providers},
    iptables::{self, Firewall, Installed},
    machine::Lock,
    provider::Node,
};

/// The world that a manifest describes a part of: servers (by [`Access`]) and their engines.
#[async_trait]
pub trait World: Access {
    /// The providers.
    fn providers(&self) -> &Providers;

    /// Whether the user wants the run to end.
    fn cancel(&self) -> &Cancel;

    /// Takes the lock of a server; waits at most `wait` for another run, or another manifest of this run, to
    /// release it.
    async fn lock(&self, node: &Node, purpose: &str, wait: Duration) -> Result<Lock, Diagnostic>;

    /// The Docker Engine of a server: none if Docker is not installed there. An engine that could
    /// not be asked is an error with its cause.
    async fn engine(&self, node: &Node) -> Result<Option<Arc<dyn Containers>>, Diagnostic>;

    /// The digest that a registry has for an image now; none if the image's name contains a digest or
    /// is an id. A registry that does not answer is an error.
    async fn published_digest(&self, image: &str) -> Result<Option<String>, Diagnostic>;

    /// The firewall that hitc loaded on a server; none if there is none.
    async fn firewall(&self, node: &Node) -> Result<Option<Installed>, Diagnostic> {
        iptables::observe(self.machine(node).await?.as_ref()).await
    }

    /// Loads a firewall on a server, or removes it.
    async fn set_firewall(
        &self,
        node: &Node,
        firewall: Option<&Firewall>,
        owner: &Owner,
    ) -> Result<(), Diagnostic> {
        let machine = self.machine(node).await?;
        let machine = machine.as_ref();
        match firewall {
            None => iptables::clear(machine).await,
            Some(rules) => iptables::apply(machine, rules, owner, || self.reconnect(node)).await,
        }
    }

    /// The ports of a server's containers that were published while they ran.
    async fn bindings(&self, node: &Node) -> Result<Vec<Binding>, Diagnostic> {
        Ok(docker::bindings(self.machine(node).await?.as_ref()).await?)
    }

    /// Keeps the cloud's firewall in front of a server in step with what the server admits. Returns
    /// whether it was changed.
    async fn keep_open(&self, node: &Node) -> Result<bool, Diagnostic>;

    /// Installs and starts Docker on a server. `mount` is the device for its data.
    async fn set_up_docker(&self, node: &Node, mount: Option<&str>) -> Result<(), Diagnostic> {
        let machine = self.machine(node).await?;
        let options = SetupOptions {
            mount: mount.map(str::to_owned),
            ..SetupOptions::default()
        };
        docker::set_up(machine.as_ref(), &options).await?;
        Ok(())
    }
}
