//! Bringing one server of a manifest about.

use super::{
    Action, EngineState,
    apply::{Apply, end_server, gone},
    observe::look,
};
use crate::{
    core::{diagnostic::Diagnostic, event::Activity, value::Value},
    docker,
    machine::Lock,
    provider::{Create, Node, Provider},
    provision::bring_up,
};

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
    /// Does what the action says, and gives the server as it is then, with its lock if it has one.
    pub async fn make(
        &self,
        action: &Action,
        node: Option<&Node>,
    ) -> Result<(Node, Option<Lock>), Diagnostic> {
        let inventory = self.apply.inventory;
        match (action, node) {
            (Action::Create | Action::Finish, _) => Ok((self.create().await?, None)),
            (Action::Replace(_), Some(node)) => {
                self.activity.update("terminating the old one");
                end_server(inventory, &self.apply.manifest.name, node).await?;
                Ok((self.create().await?, None))
            }
            (Action::Start, Some(node)) => {
                self.activity.update("starting");
                self.provider.reboot(node).await?;
                inventory.forget(node);
                Ok((self.find().await?, None))
            }
            // Docker is set up when the server is prepared; anything else is its size.
            (Action::Update(changes), Some(node))
                if changes.iter().any(|change| change.field != "docker") =>
            {
                let connection = inventory.connect(node).await?;
                let lock = Lock::take(&connection, &self.apply.manifest.name).await?;
                self.activity.update("resizing");
                self.provider.resize(node, self.options).await?;
                Ok((self.find().await?, Some(lock)))
            }
            (_, Some(node)) => Ok((node.clone(), None)),
            (_, None) => Err(gone(self.name)),
        }
    }

    /// The server as its provider knows it now.
    async fn find(&self) -> Result<Node, Diagnostic> {
        let nodes = self.provider.list().await?;
        let found = nodes.into_iter().find(|found| found.name == self.name);
        found.ok_or_else(|| gone(self.name))
    }

    async fn create(&self) -> Result<Node, Diagnostic> {
        self.activity.update("creating");
        let create = Create {
            name: self.name.to_owned(),
            options: self.options.clone(),
            tags: vec![("manifest".to_owned(), self.apply.manifest.id.clone())],
        };
        bring_up(self.apply.inventory, self.provider, &create, self.activity).await
    }

    /// Connects, takes the lock unless it has it, sets Docker up if there will be containers, and
    /// looks what runs. The lock is held as long as what is given back.
    pub async fn prepare(
        &self,
        node: &Node,
        lock: Option<Lock>,
        containers: bool,
    ) -> Result<(EngineState, Lock), Diagnostic> {
        let Apply {
            inventory,
            manifest,
            ..
        } = self.apply;
        self.activity.update("waiting for SSH");
        let connection = inventory.wait_for(node).await?;
        let lock = match lock {
            Some(lock) => lock,
            None => Lock::take(&connection, &manifest.name).await?,
        };
        if containers && inventory.find_engine(node).await?.is_none() {
            self.activity.update("setting up Docker");
            docker::set_up(&connection).await?;
        }
        match look(inventory, node).await {
            EngineState::Unreachable(error) => Err(error),
            state => Ok((state, lock)),
        }
    }
}
