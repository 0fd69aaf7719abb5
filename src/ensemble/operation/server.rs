//! Executes operations on servers.

use super::{Execution, Operation, Options, ServerId, execution::gone};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        event::Activity,
        owner::Ownership,
        value::Value,
    },
    ensemble::resource::server::refuse_fixed,
    provider::{Create, Node},
    provision,
};

impl Execution<'_> {
    /// Executes an operation on a server. Returns whether anything was changed.
    pub(super) async fn server(
        &self,
        name: &str,
        operation: &Operation,
        activity: &Activity,
    ) -> Result<bool, Diagnostic> {
        match operation {
            Operation::CreateServer {
                provider,
                options,
                docker,
                unfinished,
            } => {
                let unfinished = unfinished.as_ref().map(|id| {
                    let (provider, id) = (provider.clone(), id.clone());
                    self.existing(name, &ServerId { provider, id })
                });
                let create = Create {
                    name: name.to_owned(),
                    options: self.resolve(name, options)?,
                    owner: self.owner.clone(),
                    unfinished: unfinished.transpose()?,
                };
                let provider = self.world.providers().get(provider)?;
                let provider = provider.as_ref();
                let node = provision::bring_up(self.world, provider, &create, activity).await?;
                self.lock(&node).await?;
                let mount = self.docker_mount(name);
                if mount.is_some() {
                    activity.update("setting up Docker");
                    self.world.set_up_docker(&node, mount).await?;
                } else if *docker {
                    activity.update("checking Docker");
                    self.provide_docker(&node, activity).await?;
                }
                self.publish(node);
            }
            Operation::StartServer { server } => {
                let node = self.existing(name, server)?;
                let provider = self.world.providers().of(&node)?;
                // Another run may have started it meanwhile: a reboot would interrupt that run.
                provider.start(&node).await?;
                let node = provider.find(&node).await?.ok_or_else(|| gone(name))?;
                activity.update("waiting for SSH");
                self.world.wait_until_reachable(&node).await?;
                self.lock(&node).await?;
                self.start_docker(&node, activity).await?;
                self.publish(node);
            }
            Operation::ResizeServer { server, options } => {
                let options = self.resolve(name, options)?;
                let node = self.existing(name, server)?;
                self.resize(&node, &options, activity).await?;
            }
            Operation::AdoptServer { server } => {
                let mut node = self.existing(name, server)?;
                self.refuse_lost_lock(&node)?;
                let provider = self.world.providers().of(&node)?;
                provider.adopt(&node, self.owner).await?;
                node.owner = Ownership::Owner(self.owner.clone());
                self.publish(node);
            }
            Operation::SetUpDocker { server } => {
                let node = self.existing(name, server)?;
                self.locked(&node, self.provide_docker(&node, activity))
                    .await?;
                self.publish(node);
            }
            Operation::TerminateServer { server } => {
                let node = self.existing(name, server)?;
                self.refuse_lost_lock(&node)?;
                self.world.providers().of(&node)?.terminate(&node).await?;
                self.release(&node);
                self.world.forget(&node);
            }
            Operation::Deferred { options, may, .. } => {
                return self.deferred_server(name, options, may, activity).await;
            }
            Operation::Barrier | Operation::Batch { .. } => return Ok(false),
            _ => return Err(misplaced(name)),
        }
        Ok(true)
    }

    /// Publishes the values of a server to the variables of the manifest.
    fn publish(&self, node: Node) {
        self.facts().server(&node);
        self.set_current(node);
    }

    /// The device for the engine's data.
    fn docker_mount(&self, server: &str) -> Option<&str> {
        self.manifest.server(server)?.docker_mount.as_deref()
    }

    /// Installs and starts Docker unless its engine answers. An engine that is still starting does
    /// not answer; the setup waits for it.
    async fn provide_docker(&self, node: &Node, activity: &Activity) -> Result<(), Diagnostic> {
        if !matches!(self.world.engine(node).await, Ok(Some(_))) {
            activity.update("setting up Docker");
            let mount = self.docker_mount(&node.name);
            self.world.set_up_docker(node, mount).await?;
        }
        Ok(())
    }

    /// Waits for the engine of a server that was started, if containers will run on it.
    async fn start_docker(&self, node: &Node, activity: &Activity) -> Result<(), Diagnostic> {
        let server = self.manifest.server(&node.name);
        if server.is_some_and(|server| !server.containers.is_empty()) {
            self.provide_docker(node, activity).await?;
        }
        Ok(())
    }

    /// Resizes a server. It may stop meanwhile, which ends the process that holds its lock, and its
    /// address may change.
    async fn resize(
        &self,
        node: &Node,
        options: &Value,
        activity: &Activity,
    ) -> Result<(), Diagnostic> {
        self.refuse_lost_lock(node)?;
        let provider = self.world.providers().of(node)?;
        provider.resize(node, options).await?;
        self.release(node);
        self.world.forget(node);
        let node = provider.find(node).await?.ok_or_else(|| gone(&node.name))?;
        activity.update("waiting for SSH");
        self.world.wait_until_reachable(&node).await?;
        self.lock(&node).await?;
        self.start_docker(&node, activity).await?;
        self.publish(node);
        Ok(())
    }

    /// Decides which operation a server needs whose options are known now, and executes it if the
    /// plan allows it.
    async fn deferred_server(
        &self,
        name: &str,
        options: &Options,
        may: &[super::Kind],
        activity: &Activity,
    ) -> Result<bool, Diagnostic> {
        let options = self.resolve(name, options)?;
        let node = self.current(name)?;
        let changes = self.world.providers().of(&node)?.changes(&node, &options)?;
        if changes.is_empty() {
            self.publish(node);
            return Ok(false);
        }
        refuse_fixed(name, &changes)?;
        refuse_stronger(name, super::Kind::ResizeServer, may)?;
        self.resize(&node, &options, activity).await?;
        Ok(true)
    }
}

/// Fails if the plan did not announce this kind of operation.
pub(super) fn refuse_stronger(
    name: &str,
    kind: super::Kind,
    may: &[super::Kind],
) -> Result<(), Diagnostic> {
    if may.contains(&kind) {
        return Ok(());
    }
    let message = format!(
        "`{name}` would have to {}, which the plan did not announce",
        kind.verb()
    );
    Err(Diagnostic::new(Kind::Failed, message)
        .help("run the command again to see and confirm the new plan".to_owned()))
}

/// An operation on the wrong kind of resource: only a plan that was edited by hand has one.
pub(super) fn misplaced(name: &str) -> Diagnostic {
    Diagnostic::new(
        Kind::Failed,
        format!("`{name}`: the plan has an operation for another kind of resource"),
    )
}
