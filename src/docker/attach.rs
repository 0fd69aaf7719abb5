//! Containers whose output is shown until they end.

use std::pin::Pin;

use bollard::{
    container::{AttachContainerResults, LogOutput},
    errors::Error as BollardError,
    query_parameters::{AttachContainerOptionsBuilder, WaitContainerOptions},
};
use futures_util::StreamExt;
use tokio::runtime::Handle;

use super::{Containers, Engine, Error, Progress, Run, StepNames, labels};
use crate::{
    core::{event::Stream, owner::Owner},
    ssh::{Terminations, UnterminatedCommand},
};

/// The output of a container, in pieces.
type AttachedOutput =
    Pin<Box<dyn futures_util::Stream<Item = Result<LogOutput, BollardError>> + Send>>;

/// A running container whose output is shown until it ends. Dropping it kills the container.
pub struct Attached {
    name: String,
    guard: Guard,
    output: AttachedOutput,
}

impl Run {
    /// Creates and starts the container, whose image was provided, and attaches to its output.
    /// A container that is replaced is removed once the new one was created. If the container is killed
    /// because the result, or the future, is dropped, `terminations` records it.
    ///
    /// # Errors
    /// [`Error::NameTaken`] and [`Error::NotOwned`] as [`Run::execute`].
    pub async fn attach(
        &self,
        engine: &Engine,
        owner: &Owner,
        progress: Progress<'_>,
        terminations: &Terminations,
    ) -> Result<Attached, Error> {
        let name = &self.spec.name;
        let old = self.replaced(engine, owner).await?;
        progress(format!("running {name}"));
        let labels = labels::of(owner, name);
        // The old one is removed when it is certain that the new one can be created.
        let id = if let Some(old) = old {
            let new = StepNames::of(name).new;
            let id = engine.create(&new, &self.spec, &labels, &[]).await?;
            engine.remove(&old.id).await?;
            engine.rename(&id, name).await?;
            id
        } else {
            engine.create(name, &self.spec, &labels, &[]).await?
        };
        let guard = Guard {
            container: Some((engine.clone(), id.clone())),
            terminations: terminations.clone(),
        };
        Ok(Attached {
            name: name.clone(),
            guard,
            output: engine.start_attached(&id).await?,
        })
    }
}

impl Attached {
    /// Passes the output to `on_output`, and waits until the container ends.
    ///
    /// # Errors
    /// [`Error::Ended`] if its status is not 0.
    pub async fn wait(mut self, mut on_output: impl FnMut(Stream, &[u8])) -> Result<(), Error> {
        let Some((engine, id)) = self.guard.container.clone() else {
            return Ok(());
        };
        let fail = |error: BollardError| engine.of(&id, "running", &error);
        while let Some(chunk) = self.output.next().await {
            match chunk.map_err(fail)? {
                LogOutput::StdErr { message } => on_output(Stream::Stderr, &message),
                LogOutput::StdOut { message } | LogOutput::Console { message } => {
                    on_output(Stream::Stdout, &message);
                }
                LogOutput::StdIn { .. } => {}
            }
        }
        let status = engine.exit_status(&id).await?;
        self.guard.container = None;
        if status == 0 {
            return Ok(());
        }
        Err(Error::Ended {
            host: engine.host().to_owned(),
            name: self.name,
            status,
        })
    }
}

impl Engine {
    /// Attaches to a created container and starts it.
    async fn start_attached(&self, id: &str) -> Result<AttachedOutput, Error> {
        // Before the start, so that no output is missed.
        let options = AttachContainerOptionsBuilder::new()
            .stream(true)
            .stdout(true)
            .stderr(true)
            .build();
        let attached = self.docker.attach_container(id, Some(options)).await;
        let attached = attached.map_err(|error| self.of(id, "running", &error));
        let AttachContainerResults { output, input } = attached?;
        drop(input);
        self.start(id).await?;
        Ok(output)
    }

    /// Waits until a container has ended.
    async fn exit_status(&self, id: &str) -> Result<i64, Error> {
        let options = None::<WaitContainerOptions>;
        let mut ended = Box::pin(self.docker.wait_container(id, options));
        match ended.next().await {
            Some(Ok(ended)) => Ok(ended.status_code),
            Some(Err(BollardError::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(error)) => Err(self.of(id, "running", &error)),
            None => Err(Error::Api {
                host: self.host.clone(),
                what: format!("running container `{}`", self.name_of(id)),
                cause: "the engine did not say how it ended".to_owned(),
            }),
        }
    }
}

/// Kills a container when it is dropped.
struct Guard {
    container: Option<(Engine, String)>,
    terminations: Terminations,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some((engine, id)) = self.container.take() else {
            return;
        };
        let terminations = self.terminations.clone();
        let termination = terminations.start(UnterminatedCommand {
            host: engine.host().to_owned(),
            line: format!("container {}", engine.name_of(&id)),
        });
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                let killed = engine.kill(&id).await;
                terminations.finish(termination, killed.is_ok());
            })),
            Err(_) => terminations.finish(termination, false),
        }
    }
}
