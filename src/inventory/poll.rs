//! Shared polling of providers while several new servers are waited for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;

use crate::provider::{Error, Node, Provider};

/// The last listing of each provider. One listing serves all servers that are waited for.
#[derive(Default)]
pub struct NodePoll(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Listing>>>>>);

/// When the listing was started, and the servers in it.
type Listing = (Instant, Arc<Vec<Node>>);

impl NodePoll {
    /// The servers of a provider as they were at this time, or later.
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
