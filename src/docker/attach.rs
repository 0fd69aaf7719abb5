//! Containers whose output is shown until they end.

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

impl Run {
    /// Creates and starts the container, passes its output to `on_output`, and waits until it ends.
    /// A container that is replaced is removed once the new one was created. Dropping the future kills the container, which
    /// `terminations` records.
    ///
    /// # Errors
    /// [`Error::NameTaken`] and [`Error::NotOwned`] as [`Run::execute`]; [`Error::Ended`] if the
    /// container ends with a status other than 0.
    pub async fn attached(
        &self,
        engine: &Engine,
        owner: &Owner,
        on_output: impl FnMut(Stream, &[u8]),
        progress: Progress<'_>,
        terminations: &Terminations,
    ) -> Result<(), Error> {
        let name = &self.spec.name;
        let old = self.replaced(engine, owner).await?;
        engine.provide_image(&self.spec, progress).await?;
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
        let mut guard = Guard {
            container: Some((engine.clone(), id.clone())),
            terminations: terminations.clone(),
        };
        let status = engine.run_to_end(&id, on_output).await?;
        guard.container = None;
        if status == 0 {
            return Ok(());
        }
        Err(Error::Ended {
            host: engine.host().to_owned(),
            name: name.clone(),
            status,
        })
    }
}

impl Engine {
    /// Starts a created container and waits until it ends. Returns its exit status.
    async fn run_to_end(
        &self,
        id: &str,
        mut on_output: impl FnMut(Stream, &[u8]),
    ) -> Result<i64, Error> {
        let fail = |error: BollardError| self.of(id, "running", &error);
        // Before the start, so that no output is missed.
        let options = AttachContainerOptionsBuilder::new()
            .stream(true)
            .stdout(true)
            .stderr(true)
            .build();
        let attached = self.docker.attach_container(id, Some(options)).await;
        let AttachContainerResults { mut output, input } = attached.map_err(fail)?;
        drop(input);
        self.start(id).await?;
        while let Some(chunk) = output.next().await {
            match chunk.map_err(fail)? {
                LogOutput::StdErr { message } => on_output(Stream::Stderr, &message),
                LogOutput::StdOut { message } | LogOutput::Console { message } => {
                    on_output(Stream::Stdout, &message);
                }
                LogOutput::StdIn { .. } => {}
            }
        }
        let options = None::<WaitContainerOptions>;
        let mut ended = Box::pin(self.docker.wait_container(id, options));
        match ended.next().await {
            Some(Ok(ended)) => Ok(ended.status_code),
            Some(Err(BollardError::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(error)) => Err(fail(error)),
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
