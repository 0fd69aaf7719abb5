//! `World` for real servers.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::World;
use crate::{
    core::{cancel::Cancel, diagnostic::Diagnostic},
    docker::Containers,
    inventory::{Inventory, Providers},
    machine::Lock,
    provider::Node,
    provision,
};

#[async_trait]
impl World for Inventory {
    fn providers(&self) -> &Providers {
        &self.providers
    }

    fn cancel(&self) -> &Cancel {
        &self.context.cancel
    }

    async fn lock(&self, node: &Node, purpose: &str, wait: Duration) -> Result<Lock, Diagnostic> {
        self.lock_alone(node, purpose, wait).await
    }

    async fn engine(&self, node: &Node) -> Result<Option<Arc<dyn Containers>>, Diagnostic> {
        let engine = self.find_engine(node).await?;
        Ok(engine.map(|engine| Arc::new(engine) as Arc<dyn Containers>))
    }

    async fn keep_open(&self, node: &Node) -> Result<bool, Diagnostic> {
        provision::keep_open(self, node).await
    }

    async fn published_digest(&self, image: &str) -> Result<Option<String>, Diagnostic> {
        Ok(self.registries().digest(image).await?)
    }
}
