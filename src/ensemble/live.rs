//! The world of real servers.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::World;
use crate::{
    core::{
        cancel::Cancel,
        diagnostic::Diagnostic,
        event::{Activity, Events},
    },
    docker::{self, Containers},
    inventory::{Inventory, Providers},
    machine::Lock,
    provider::{Create, Node, Provider},
    provision,
};

#[async_trait]
impl World for Inventory {
    fn providers(&self) -> &Providers {
        &self.providers
    }

    fn events(&self) -> &Events {
        &self.context.events
    }

    fn cancel(&self) -> &Cancel {
        &self.context.cancel
    }

    async fn create(
        &self,
        provider: &dyn Provider,
        create: &Create,
        activity: &Activity,
    ) -> Result<Node, Diagnostic> {
        provision::bring_up(self, provider, create, activity).await
    }

    async fn wait_for(&self, node: &Node) -> Result<(), Diagnostic> {
        Inventory::wait_for(self, node).await.map(drop)
    }

    async fn lock(&self, node: &Node, purpose: &str, wait: Duration) -> Result<Lock, Diagnostic> {
        let machine = self.machine(node).await?;
        Lock::take(machine.as_ref(), purpose, wait).await
    }

    async fn engine(&self, node: &Node) -> Result<Option<Arc<dyn Containers>>, Diagnostic> {
        let engine = self.find_engine(node).await?;
        Ok(engine.map(|engine| Arc::new(engine) as Arc<dyn Containers>))
    }

    async fn set_up_docker(&self, node: &Node) -> Result<(), Diagnostic> {
        let machine = self.machine(node).await?;
        docker::set_up(machine.as_ref()).await?;
        Ok(())
    }

    async fn forget(&self, node: &Node) {
        Inventory::forget(self, node);
    }
}
