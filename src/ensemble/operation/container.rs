//! Executes operations on containers.

use std::sync::Arc;

use super::{
    Execution, Kind, Operation, Options,
    execution::gone,
    server::{misplaced, refuse_stronger},
};
use crate::{
    core::{
        diagnostic::{self, Diagnostic},
        event::Activity,
    },
    docker::{Container, Containers, Pull, Replacement, Spec},
    ensemble::{
        manifest::Variable,
        observe::{EngineState, Published},
        resource::container::{Existing, decide, decode, decode_image},
    },
    provider::Node,
};

impl Execution<'_> {
    /// Executes an operation on a container. Returns the message about what was done; none if
    /// nothing was.
    pub(super) async fn container(
        &self,
        server: &str,
        name: &str,
        operation: &Operation,
        activity: &Activity,
    ) -> Result<Option<&'static str>, Diagnostic> {
        let node = self.current(server)?;
        self.locked(&node, async {
            let engine = self.engine(&node).await?;
            let done = self
                .on_engine(engine.as_ref(), &node, name, operation, activity)
                .await?;
            if done.is_some() {
                self.keep_open(&node).await?;
            }
            Ok(done)
        })
        .await
    }

    async fn on_engine(
        &self,
        engine: &dyn Containers,
        node: &Node,
        name: &str,
        operation: &Operation,
        activity: &Activity,
    ) -> Result<Option<&'static str>, Diagnostic> {
        let progress = |text: String| activity.update(text);
        let spec = |options: &Options| self.spec(&node.name, name, options);
        let container = match operation {
            Operation::CreateContainer { options } => {
                let spec = spec(options)?;
                engine.provide_image(&spec, self.owner, &progress).await?;
                activity.update("creating");
                self.replacement(engine, &spec).create(&progress).await?
            }
            Operation::FinishContainer { id, options } => {
                let spec = spec(options)?;
                self.replacement(engine, &spec)
                    .finish(id, &progress)
                    .await?
            }
            Operation::StartContainer { id, options } => {
                let spec = spec(options)?;
                self.replacement(engine, &spec)
                    .restart(id, &progress)
                    .await?
            }
            Operation::UpdateContainer { id, options } => {
                let spec = spec(options)?;
                self.replacement(engine, &spec).update(id).await?
            }
            Operation::ReplaceContainer { id, options, adopt } => {
                let spec = spec(options)?;
                engine.provide_image(&spec, self.owner, &progress).await?;
                activity.update("replacing");
                let replacement = Replacement {
                    adopt: adopt.then_some(id.as_str()),
                    ..self.replacement(engine, &spec)
                };
                replacement.replace(id, &progress).await?
            }
            Operation::ProvideImage { options } => {
                let facts = |variable: &Variable| self.facts().value(&node.name, variable);
                let spec = decode_image(self.manifest, name, options, &facts)?;
                engine.provide_image(&spec, self.owner, &progress).await?;
                return Ok(operation.done());
            }
            Operation::StopContainer { id } => {
                self.own(engine, name, id).await?;
                engine.stop(id).await?;
                return Ok(operation.done());
            }
            Operation::RemoveContainer { id } => {
                if engine.inspect(id).await?.is_some() {
                    self.own(engine, name, id).await?;
                    engine.remove(id).await?;
                }
                return Ok(operation.done());
            }
            Operation::Deferred { options, may, .. } => {
                let decided = self.decide(engine, node, name, options, may).await?;
                let Some(operation) = decided else {
                    return Ok(None);
                };
                return Box::pin(self.on_engine(engine, node, name, &operation, activity)).await;
            }
            _ => return Err(misplaced(name)),
        };
        self.facts().container(&node.name, &container);
        Ok(operation.done())
    }

    /// Starts a container that was stopped for another one. Returns whether it was started: one that
    /// is gone, or runs, is left alone.
    pub(super) async fn start_again(
        &self,
        server: &str,
        name: &str,
        id: &str,
    ) -> Result<bool, Diagnostic> {
        let node = self.current(server)?;
        self.locked(&node, async {
            let engine = self.engine(&node).await?;
            let Some(found) = engine.inspect(id).await? else {
                return Ok(false);
            };
            if found.state.holds_processes() {
                return Ok(false);
            }
            self.own(engine.as_ref(), name, id).await?;
            engine.start(id).await?;
            Ok(true)
        })
        .await
    }

    fn replacement<'a>(&'a self, engine: &'a dyn Containers, spec: &'a Spec) -> Replacement<'a> {
        Replacement {
            engine,
            spec,
            owner: self.owner,
            adopt: None,
        }
    }

    /// Decides which operation a container needs whose options are known now. None if it is up to
    /// date.
    async fn decide(
        &self,
        engine: &dyn Containers,
        node: &Node,
        name: &str,
        options: &Options,
        may: &[Kind],
    ) -> Result<Option<Operation>, Diagnostic> {
        let spec = self.spec(&node.name, name, options)?;
        let state = EngineState::Running(engine.snapshot().await?);
        let existing = Existing::find(self.owner, name, &state);
        let adopts = self.request.adopts(&node.name, Some(name));
        let full_name = format!("{}.{name}", node.name);
        let published = match (existing.current, spec.pull) {
            (Some(_), Pull::Check) => Some(Published::ask(self.world, spec.image.name()).await),
            _ => None,
        };
        let published = published.as_ref();
        let decided = decide(
            &full_name, &spec, options, &existing, &state, adopts, published,
        )?;
        let Some(draft) = decided else {
            if let Some(found) = existing.current {
                self.facts().container(&node.name, found);
            }
            return Ok(None);
        };
        refuse_stronger(&full_name, draft.operation.kind(), may)?;
        Ok(Some(draft.operation))
    }

    /// Reads a container again and checks that it still belongs to the manifest.
    async fn own(
        &self,
        engine: &dyn Containers,
        name: &str,
        id: &str,
    ) -> Result<Container, Diagnostic> {
        let found = engine.inspect(id).await?.ok_or_else(|| gone(name))?;
        let owner = found.ownership();
        if owner.is(self.owner) {
            return Ok(found);
        }
        let message = format!("container `{name}` on `{}` {owner}", engine.host());
        Err(Diagnostic::new(diagnostic::Kind::Failed, message).on(engine.host()))
    }

    fn spec(&self, server: &str, name: &str, options: &Options) -> Result<Spec, Diagnostic> {
        let value = self.resolve(server, options)?;
        let span = self
            .manifest
            .container(server, name)
            .and_then(|container| container.span.clone());
        decode(self.manifest, name, options, &value, span)
    }

    async fn engine(&self, node: &Node) -> Result<Arc<dyn Containers>, Diagnostic> {
        let engine = self.world.engine(node).await?;
        engine.ok_or_else(|| {
            let message = format!("host `{}`: Docker is not installed", node.name);
            Diagnostic::new(diagnostic::Kind::Failed, message)
                .help(format!(
                    "install it with `hitc run -H {} docker.setup`",
                    node.name
                ))
                .on(&node.name)
        })
    }
}
