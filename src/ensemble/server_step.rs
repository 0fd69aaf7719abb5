//! Bringing one server of a manifest about.

use std::time::Duration;

use super::{
    Action, EngineState,
    apply::{Apply, gone},
    lock::Lock,
    observe::look,
};
use crate::{
    diagnostic::Diagnostic,
    docker,
    event::Activity,
    provider::{Create, Node, Provider},
    value::Value,
};

/// How long a server may take from being there to answering on SSH.
const READY_TIMEOUT: Duration = Duration::from_mins(5);

/// Bringing one server about.
pub(super) struct ServerStep<'a> {
    /// What it is part of.
    pub apply: &'a Apply<'a>,
    /// Its name.
    pub name: &'a str,
    /// Where it comes from.
    pub provider: &'a dyn Provider,
    /// Its options, with all variables known.
    pub options: &'a Value,
    /// What is shown of it.
    pub activity: &'a Activity,
}

impl ServerStep<'_> {
    /// Does what the action says, and gives the server as it is then.
    pub async fn make(&self, action: &Action, node: Option<&Node>) -> Result<Node, Diagnostic> {
        let session = self.apply.session;
        match (action, node) {
            (Action::Create | Action::Finish, _) => self.create().await,
            (Action::Replace(_), Some(node)) => {
                self.activity.update("terminating the old one");
                self.provider.terminate(node).await?;
                session.forget(node);
                self.create().await
            }
            (Action::Start, Some(node)) => {
                self.activity.update("starting");
                self.provider.reboot(node).await?;
                session.forget(node);
                let nodes = self.provider.list().await?;
                let found = nodes.into_iter().find(|found| found.name == node.name);
                found.ok_or_else(|| gone(self.name))
            }
            (Action::Update(changes), Some(node)) => {
                // Docker is set up when the server is prepared; anything else is its size.
                if changes.iter().any(|change| change.field != "docker") {
                    self.activity.update("resizing");
                    self.provider.resize(node, self.options).await?;
                }
                Ok(node.clone())
            }
            (_, Some(node)) => Ok(node.clone()),
            (_, None) => Err(gone(self.name)),
        }
    }

    async fn create(&self) -> Result<Node, Diagnostic> {
        self.activity.update("creating");
        let create = Create {
            name: self.name.to_owned(),
            options: self.options.clone(),
            tags: vec![("manifest".to_owned(), self.apply.manifest.name.clone())],
        };
        Ok(self.provider.create(&create, self.activity).await?)
    }

    /// Connects, takes the lock, sets Docker up if there will be containers, and looks what runs.
    /// The lock is held as long as what is given back.
    pub async fn prepare(
        &self,
        node: &Node,
        containers: bool,
    ) -> Result<(EngineState, Lock), Diagnostic> {
        let Apply {
            session, manifest, ..
        } = self.apply;
        self.activity.update("waiting for SSH");
        let target = session.target(node).await?;
        let connection = session.pool.wait_for(&target, READY_TIMEOUT).await?;
        let lock = Lock::take(&connection, &manifest.name).await?;
        if containers && session.find_engine(node).await?.is_none() {
            self.activity.update("setting up Docker");
            docker::set_up(&connection).await?;
        }
        match look(session, node).await {
            EngineState::Unreachable(error) => Err(error),
            state => Ok((state, lock)),
        }
    }
}
