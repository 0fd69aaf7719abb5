//! Servers in memory, for tests of scripts.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::{Create, Error, Node, Provider, ServerChange};
use crate::{
    core::{
        event::Activity,
        sync::lock,
        value::{Invalid, Value},
    },
    ssh::Login,
};

/// The name of the provider of servers for which a test names no other one.
pub const MOCK: &str = "test";

/// The servers of a test. None until the test says which there are.
#[derive(Default)]
pub struct MockServers(Mutex<Option<Vec<Node>>>);

impl MockServers {
    /// The servers; none if the test did not say which there are.
    pub fn list(&self) -> Option<Vec<Node>> {
        lock(&self.0).clone()
    }

    /// Notes that the test says which servers there are.
    pub fn declare(&self) {
        lock(&self.0).get_or_insert_default();
    }

    /// Adds a server, in the place of one with the same name at the same provider.
    pub fn add(&self, node: Node) {
        let mut nodes = lock(&self.0);
        let nodes = nodes.get_or_insert_default();
        let is_same =
            |found: &&mut Node| found.name == node.name && found.provider == node.provider;
        match nodes.iter_mut().find(is_same) {
            Some(found) => *found = node,
            None => nodes.push(node),
        }
    }

    /// Changes a server.
    pub fn change(&self, node: &Node, change: impl FnOnce(&mut Node)) {
        let mut nodes = lock(&self.0);
        let found = nodes.iter_mut().flatten();
        if let Some(found) = found.into_iter().find(|found| found.key() == node.key()) {
            change(found);
        }
    }

    /// Removes servers.
    pub fn remove(&self, is_removed: impl Fn(&Node) -> bool) {
        if let Some(nodes) = &mut *lock(&self.0) {
            nodes.retain(|node| !is_removed(node));
        }
    }

    /// Forgets all, for the next test.
    pub fn clear(&self) {
        *lock(&self.0) = None;
    }
}

/// A provider of servers in memory: it has the name and the options of a real one, which it never asks.
pub struct MockProvider {
    /// The provider that it replaces; none for [`MOCK`].
    pub real: Option<Arc<dyn Provider>>,
    /// All servers, also those of other providers.
    pub servers: Arc<MockServers>,
}

impl MockProvider {
    fn cannot(&self) -> Error {
        Error::Unsupported {
            provider: self.name().to_owned(),
            what: "do this in a test",
            help: "answer for the function with `test::mock`".to_owned(),
        }
    }
}

#[async_trait]
impl Provider for MockProvider {
    fn name(&self) -> &str {
        self.real.as_ref().map_or(MOCK, |real| real.name())
    }

    fn validate(&self, options: &Value) -> Result<(), Invalid> {
        self.real
            .as_ref()
            .map_or(Ok(()), |real| real.validate(options))
    }

    async fn list(&self) -> Result<Vec<Node>, Error> {
        let mut nodes = self.servers.list().unwrap_or_default();
        nodes.retain(|node| node.provider == self.name());
        Ok(nodes)
    }

    fn can_create(&self) -> Result<(), Error> {
        self.real.as_ref().map_or(Ok(()), |real| real.can_create())
    }

    async fn create(&self, _: &Create, _: &Activity) -> Result<Node, Error> {
        Err(self.cannot())
    }

    async fn terminate(&self, _: &Node) -> Result<(), Error> {
        Err(self.cannot())
    }

    async fn reboot(&self, _: &Node) -> Result<(), Error> {
        Err(self.cannot())
    }

    async fn start(&self, _: &Node) -> Result<(), Error> {
        Err(self.cannot())
    }

    async fn rename(&self, _: &Node, _: &str) -> Result<(), Error> {
        Err(self.cannot())
    }

    fn changes(&self, _: &Node, _: &Value) -> Result<Vec<ServerChange>, Invalid> {
        Ok(Vec::new())
    }

    async fn resize(&self, _: &Node, _: &Value) -> Result<(), Error> {
        Err(self.cannot())
    }

    async fn login(&self, _: &Node) -> Result<Login, Error> {
        Err(self.cannot())
    }

    async fn set_up(&self, _: &Activity) -> Result<(), Error> {
        Err(self.cannot())
    }
}
