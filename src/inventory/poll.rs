//! Shared polling of providers while several new servers are waited for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;

use crate::{
    core::memo::Shared,
    provider::{Error, Node, Provider},
};

/// The last listing of each provider, shared by all callers that wait for new servers.
#[derive(Default)]
pub struct NodePoll(Mutex<HashMap<String, Arc<Shared<Vec<Node>>>>>);

impl NodePoll {
    /// Returns the servers of a provider, from a listing that started at this time or later.
    pub async fn since(
        &self,
        time: Instant,
        provider: &dyn Provider,
    ) -> Result<Arc<Vec<Node>>, Error> {
        let slot = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(provider.name().to_owned())
            .or_default()
            .clone();
        slot.since(time, || provider.list()).await
    }
}
