//! The state of an execution of a plan: known values, current servers and locks.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Options, ServerId};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        owner::Owner,
        value::Value,
    },
    ensemble::{
        Manifest, Observed, Request, World,
        manifest::{Facts, Variable},
        resource::ResourceName,
    },
    machine::Lock,
    provider::Node,
};

/// One execution of a plan.
pub struct Execution<'a> {
    /// The servers and engines: real or simulated.
    pub world: &'a dyn World,
    /// The manifest.
    pub manifest: &'a Manifest,
    /// The owner of everything that is created.
    pub owner: &'a Owner,
    /// What the user asked for.
    pub request: &'a Request,
    /// How long to wait for the lock of a server that another run changes.
    pub wait_lock: Duration,
    facts: Mutex<Facts>,
    /// The servers by their name in the manifest.
    servers: Mutex<HashMap<String, Node>>,
    /// All servers that existed when the plan was made, as they are now.
    nodes: Mutex<HashMap<ServerId, Node>>,
    locks: Mutex<HashMap<ServerId, Lock>>,
    /// Serializes the changes of clouds' firewalls. Of two at the same time, the one that has read the
    /// ports first could be written last.
    opening: tokio::sync::Mutex<()>,
    /// The resources of operations that were cancelled in their middle.
    cut: Mutex<BTreeSet<String>>,
}

/// A running operation. Dropped before its end, it was cancelled.
pub struct Running<'a> {
    execution: &'a Execution<'a>,
    resource: &'a ResourceName,
    has_ended: bool,
}

impl Running<'_> {
    /// The operation ended.
    pub fn end(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            let mut cut = self
                .execution
                .cut
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            cut.insert(self.resource.to_string());
        }
    }
}

impl<'a> Execution<'a> {
    /// Begins an operation on a resource.
    pub fn begin(&'a self, resource: &'a ResourceName) -> Running<'a> {
        Running {
            execution: self,
            resource,
            has_ended: false,
        }
    }

    /// The resources of operations that were cancelled in their middle, sorted.
    pub fn cut(&self) -> Vec<String> {
        let cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.iter().cloned().collect()
    }

    /// Creates an execution from the observed state. `facts` are the values of resources that do
    /// not change; `locks` are held until the execution ends.
    pub fn new(
        world: &'a dyn World,
        manifest: &'a Manifest,
        owner: &'a Owner,
        request: &'a Request,
        observed: &Observed,
        facts: Facts,
        locks: HashMap<ServerId, Lock>,
    ) -> Self {
        let existing = observed.servers.values().map(|state| &state.node);
        Execution {
            world,
            manifest,
            owner,
            request,
            wait_lock: request.wait_lock,
            facts: Mutex::new(facts),
            servers: Mutex::new(
                existing
                    .clone()
                    .map(|node| (node.name.clone(), node.clone()))
                    .collect(),
            ),
            nodes: Mutex::new(
                existing
                    .chain(&observed.extra)
                    .map(|node| (ServerId::of(node), node.clone()))
                    .collect(),
            ),
            locks: Mutex::new(locks),
            cut: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
        }
    }

    /// The values that are known.
    pub(super) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current state of a server of the manifest.
    pub(super) fn current(&self, name: &str) -> Result<Node, Diagnostic> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.get(name).cloned().ok_or_else(|| gone(name))
    }

    /// The current state of a server that existed when the plan was made.
    pub(super) fn existing(&self, name: &str, id: &ServerId) -> Result<Node, Diagnostic> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.get(id).cloned().ok_or_else(|| gone(name))
    }

    /// Updates the current state of a server of the manifest.
    pub(super) fn set_current(&self, node: Node) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.insert(ServerId::of(&node), node.clone());
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.insert(node.name.clone(), node);
    }

    /// Takes the lock of a server unless it is held. The lock is held until the execution ends.
    pub(super) async fn lock(&self, node: &Node) -> Result<(), Diagnostic> {
        if self.held(node).is_some() {
            return Ok(());
        }
        let purpose = self.manifest.lock_purpose();
        let lock = self.world.lock(node, &purpose, self.wait_lock).await?;
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.insert(ServerId::of(node), lock);
        Ok(())
    }

    /// Keeps the cloud's firewall in front of a server in step. Returns whether it was changed.
    pub(super) async fn keep_open(&self, node: &Node) -> Result<bool, Diagnostic> {
        let _opening = self.opening.lock().await;
        self.world.keep_open(node).await
    }

    /// Releases the lock of a server that is about to stop, which ends the process that holds it.
    pub(super) fn release(&self, node: &Node) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.remove(&ServerId::of(node));
    }

    fn held(&self, node: &Node) -> Option<Lock> {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.get(&ServerId::of(node)).cloned()
    }

    /// Fails if the lock of a server was lost: another run may be changing it. A server that was
    /// never locked is stopped or does not answer.
    pub(super) fn refuse_lost_lock(&self, node: &Node) -> Result<(), Diagnostic> {
        match self.held(node) {
            Some(lock) if lock.is_lost() => Err(Lock::error_lost(&node.name)),
            _ => Ok(()),
        }
    }

    /// Runs `work` on a server. Stops it if the lock of the server is lost.
    pub(super) async fn locked<T>(
        &self,
        node: &Node,
        work: impl Future<Output = Result<T, Diagnostic>>,
    ) -> Result<T, Diagnostic> {
        match self.held(node) {
            Some(lock) => lock.hold_during(&node.name, work).await,
            None => Err(Lock::error_lost(&node.name)),
        }
    }

    /// Resolves options. Their variables are known by now, because all resources that they refer to
    /// were brought up before.
    pub(super) fn resolve(&self, host: &str, options: &Options) -> Result<Value, Diagnostic> {
        let facts = self.facts();
        let resolved = options.resolve(&|variable: &Variable| facts.value(host, variable));
        resolved.map_err(|variables| {
            let names: Vec<String> = variables.iter().map(ToString::to_string).collect();
            let message = format!("`{host}`: the value of {} is unknown", names.join(", "));
            Diagnostic::new(Kind::Failed, message)
        })
    }
}

impl ServerId {
    /// The identity of a server.
    pub fn of(node: &Node) -> Self {
        ServerId {
            provider: node.provider.clone(),
            id: node.id.clone(),
        }
    }
}

/// The error for a resource of the plan that no longer exists.
pub fn gone(name: &str) -> Diagnostic {
    Diagnostic::new(Kind::Failed, format!("`{name}` no longer exists"))
        .help("it was removed after the plan was made; run the command again".to_owned())
}
