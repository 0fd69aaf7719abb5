//! Shared polling of providers while several new servers are waited for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;

use crate::provider::{Error, Node, Provider};

/// The last listing of each provider, shared by all callers that wait for new servers.
#[derive(Default)]
pub struct NodePoll(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Listing>>>>>);

/// When the listing was started, and the servers in it.
type Listing = (Instant, Arc<Vec<Node>>);

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
        let mut last = slot.lock().await;
        if let Some((begun, nodes)) = last.as_ref()
            && *begun >= time
        {
            return Ok(nodes.clone());
        }
        let begun = Instant::now();
        let nodes = Arc::new(provider.list().await?);
        *last = Some((begun, nodes.clone()));
        Ok(nodes)
    }
}
