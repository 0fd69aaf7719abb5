//! What providers say while servers are waited for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;

use crate::provider::{Error, Node, Provider};

/// One look serves all who wait.
#[derive(Default)]
pub struct NodePoll(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Look>>>>>);

/// When it was begun, and what was seen.
type Look = (Instant, Arc<Vec<Node>>);

impl NodePoll {
    /// The servers as they were at that time, or later.
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
