//! One step of a plan, as data: what is done to which resource.
//!
//! An operation says everything that is needed to execute it, and nothing is decided again when it
//! is executed. The exception is [`Operation::Deferred`], whose values are not known while planning:
//! it lists what may come of it, and anything else is an error.

mod container;
mod execution;
mod firewall;
mod options;
mod server;

use serde::{Deserialize, Serialize};

pub use self::{execution::Execution, options::Options};
use super::resource::ResourceName;
use crate::core::diagnostic::Diagnostic;

/// A server at its provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServerId {
    /// The provider's name.
    pub provider: String,
    /// The provider's identifier of the server.
    pub id: String,
}

/// What is done to a resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Operation {
    /// Creates a server and waits until it is ready; with `docker`, installs Docker if it is
    /// missing. Finishes a server whose creation was interrupted.
    CreateServer {
        /// The provider's name.
        provider: String,
        /// The provider's options.
        options: Options,
        /// Whether containers will run on it.
        docker: bool,
        /// The provider's identifier of a server whose creation was interrupted.
        unfinished: Option<String>,
    },
    /// Starts a stopped server.
    StartServer {
        /// The server.
        server: ServerId,
    },
    /// Resizes a server.
    ResizeServer {
        /// The server.
        server: ServerId,
        /// The provider's options, with the new size.
        options: Options,
    },
    /// Makes the manifest the owner of a server.
    AdoptServer {
        /// The server.
        server: ServerId,
    },
    /// Installs and starts Docker on a server.
    SetUpDocker {
        /// The server.
        server: ServerId,
    },
    /// Terminates a server, with all data on it, and waits until it no longer exists.
    TerminateServer {
        /// The server.
        server: ServerId,
    },
    /// Loads the firewall of a server. The server takes it back unless it can be reached with it.
    ApplyFirewall {
        /// The rules, as in the manifest.
        options: Options,
        /// Rules of the firewall that the server has, as `PORT/PROTOCOL SOURCE`, that stay in force until
        /// everything that may need them has been changed.
        keep: Vec<String>,
    },
    /// Removes the firewall of a server: all ports are open.
    ClearFirewall,
    /// Makes the cloud's firewall that hitc made for a server admit what the server admits.
    KeepCloudFirewall,
    /// Creates a container and waits until it is ready.
    CreateContainer {
        /// The container's options.
        options: Options,
    },
    /// Finishes a container whose creation or replacement was interrupted before it was ready.
    FinishContainer {
        /// The engine's id of the unfinished container.
        id: String,
        /// The container's options.
        options: Options,
    },
    /// Starts a stopped container and waits until it is ready.
    StartContainer {
        /// The engine's id of the container.
        id: String,
        /// The container's options.
        options: Options,
    },
    /// Changes the limits and the restart policy of a running container.
    UpdateContainer {
        /// The engine's id of the container.
        id: String,
        /// The container's options.
        options: Options,
    },
    /// Replaces a container: creates the new one, stops the old one, waits until the new one is
    /// ready, and removes the old one. If the new one does not become ready, the old one comes back.
    ReplaceContainer {
        /// The engine's id of the old container.
        id: String,
        /// The container's options.
        options: Options,
        /// Whether the old container belongs to another owner, or to none.
        adopt: bool,
    },
    /// Gets the image of a container before another one is stopped for it.
    ProvideImage {
        /// The container's options.
        options: Options,
    },
    /// Stops a container before another operation needs what it holds, such as its port.
    StopContainer {
        /// The engine's id of the container.
        id: String,
    },
    /// Removes a container.
    RemoveContainer {
        /// The engine's id of the container.
        id: String,
    },
    /// Decides which operation is needed when the values are known that its options refer to.
    Deferred {
        /// The options of the server or container.
        options: Options,
        /// The resources that it waits for.
        on: Vec<String>,
        /// The kinds of operations that it may become, if any is needed.
        may: Vec<Kind>,
    },
    /// Does nothing. A step that would wait for many operations waits for this one instead.
    Barrier,
    /// Ends a batch of replicas: the next batch waits for it. Does nothing, and fails if too many of the
    /// replicas failed.
    Batch {
        /// Its number, from 1.
        number: usize,
        /// The number of batches.
        of: usize,
        /// The replicas that are changed in it.
        replicas: Vec<ResourceName>,
        /// How many replicas of this batch and of those before it may have failed.
        may_fail: usize,
    },
}

/// The kind of an operation, ordered by its effect on existing resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// [`Operation::Barrier`].
    Barrier,
    /// [`Operation::Batch`].
    Batch,
    /// [`Operation::Deferred`].
    Deferred,
    /// [`Operation::ProvideImage`].
    ProvideImage,
    /// [`Operation::StartServer`].
    StartServer,
    /// [`Operation::StartContainer`].
    StartContainer,
    /// [`Operation::SetUpDocker`].
    SetUpDocker,
    /// [`Operation::ApplyFirewall`].
    ApplyFirewall,
    /// [`Operation::KeepCloudFirewall`].
    KeepCloudFirewall,
    /// [`Operation::ClearFirewall`].
    ClearFirewall,
    /// [`Operation::FinishContainer`].
    FinishContainer,
    /// [`Operation::UpdateContainer`].
    UpdateContainer,
    /// [`Operation::ResizeServer`].
    ResizeServer,
    /// [`Operation::CreateContainer`].
    CreateContainer,
    /// [`Operation::CreateServer`].
    CreateServer,
    /// [`Operation::AdoptServer`].
    AdoptServer,
    /// [`Operation::StopContainer`].
    StopContainer,
    /// [`Operation::ReplaceContainer`].
    ReplaceContainer,
    /// [`Operation::RemoveContainer`].
    RemoveContainer,
    /// [`Operation::TerminateServer`].
    TerminateServer,
}

impl Kind {
    /// The verb in the sentence "it would have to …".
    pub fn verb(self) -> &'static str {
        match self {
            Kind::Barrier | Kind::Batch => "wait",
            Kind::Deferred => "change",
            Kind::ProvideImage => "get its image",
            Kind::StartServer | Kind::StartContainer => "be started",
            Kind::SetUpDocker => "have Docker installed",
            Kind::FinishContainer => "be finished",
            Kind::UpdateContainer | Kind::ApplyFirewall | Kind::KeepCloudFirewall => "be changed",
            Kind::ResizeServer => "be resized",
            Kind::CreateContainer | Kind::CreateServer => "be created",
            Kind::AdoptServer => "be adopted",
            Kind::StopContainer => "be stopped",
            Kind::ReplaceContainer => "be replaced",
            Kind::RemoveContainer | Kind::ClearFirewall => "be removed",
            Kind::TerminateServer => "be terminated",
        }
    }
}

impl Operation {
    /// The kind of the operation.
    pub fn kind(&self) -> Kind {
        match self {
            Operation::CreateServer { .. } => Kind::CreateServer,
            Operation::StartServer { .. } => Kind::StartServer,
            Operation::ResizeServer { .. } => Kind::ResizeServer,
            Operation::AdoptServer { .. } => Kind::AdoptServer,
            Operation::SetUpDocker { .. } => Kind::SetUpDocker,
            Operation::TerminateServer { .. } => Kind::TerminateServer,
            Operation::ApplyFirewall { .. } => Kind::ApplyFirewall,
            Operation::ClearFirewall => Kind::ClearFirewall,
            Operation::KeepCloudFirewall => Kind::KeepCloudFirewall,
            Operation::CreateContainer { .. } => Kind::CreateContainer,
            Operation::FinishContainer { .. } => Kind::FinishContainer,
            Operation::StartContainer { .. } => Kind::StartContainer,
            Operation::UpdateContainer { .. } => Kind::UpdateContainer,
            Operation::ReplaceContainer { .. } => Kind::ReplaceContainer,
            Operation::ProvideImage { .. } => Kind::ProvideImage,
            Operation::StopContainer { .. } => Kind::StopContainer,
            Operation::RemoveContainer { .. } => Kind::RemoveContainer,
            Operation::Deferred { .. } => Kind::Deferred,
            Operation::Barrier => Kind::Barrier,
            Operation::Batch { .. } => Kind::Batch,
        }
    }

    /// The identifier of the existing resource that is changed; none if it does not exist yet.
    pub fn target(&self) -> Option<&str> {
        match self {
            Operation::StartServer { server }
            | Operation::ResizeServer { server, .. }
            | Operation::AdoptServer { server }
            | Operation::SetUpDocker { server }
            | Operation::TerminateServer { server } => Some(&server.id),
            Operation::CreateServer { unfinished, .. } => unfinished.as_deref(),
            Operation::FinishContainer { id, .. }
            | Operation::StartContainer { id, .. }
            | Operation::UpdateContainer { id, .. }
            | Operation::ReplaceContainer { id, .. }
            | Operation::StopContainer { id }
            | Operation::RemoveContainer { id } => Some(id),
            Operation::ApplyFirewall { .. }
            | Operation::ClearFirewall
            | Operation::KeepCloudFirewall
            | Operation::CreateContainer { .. }
            | Operation::ProvideImage { .. }
            | Operation::Deferred { .. }
            | Operation::Batch { .. }
            | Operation::Barrier => None,
        }
    }

    /// The progress message; none if no progress is shown.
    pub fn doing(&self) -> Option<&'static str> {
        Some(match self {
            Operation::CreateServer { .. } | Operation::CreateContainer { .. } => "creating",
            Operation::FinishContainer { .. } => "finishing",
            Operation::StartServer { .. } | Operation::StartContainer { .. } => "starting",
            Operation::ResizeServer { .. } => "resizing",
            Operation::AdoptServer { .. } => "adopting",
            Operation::SetUpDocker { .. } => "setting up Docker",
            Operation::TerminateServer { .. } => "terminating",
            Operation::UpdateContainer { .. }
            | Operation::ApplyFirewall { .. }
            | Operation::KeepCloudFirewall => "changing",
            Operation::ReplaceContainer { .. } => "replacing",
            Operation::ProvideImage { .. } => "getting its image",
            Operation::StopContainer { .. } => "stopping",
            Operation::RemoveContainer { .. } | Operation::ClearFirewall => "removing",
            Operation::Deferred { .. } => "checking",
            Operation::Barrier | Operation::Batch { .. } => return None,
        })
    }

    /// The message after the operation; none if no message is shown.
    pub fn done(&self) -> Option<&'static str> {
        Some(match self {
            Operation::CreateServer { .. }
            | Operation::CreateContainer { .. }
            | Operation::FinishContainer { .. } => "created",
            Operation::StartServer { .. } | Operation::StartContainer { .. } => "started",
            Operation::ResizeServer { .. }
            | Operation::UpdateContainer { .. }
            | Operation::ApplyFirewall { .. }
            | Operation::KeepCloudFirewall => "changed",
            Operation::AdoptServer { .. } => "adopted",
            Operation::SetUpDocker { .. } => "Docker is set up",
            Operation::TerminateServer { .. } => "terminated",
            Operation::ReplaceContainer { .. } => "replaced",
            Operation::StopContainer { .. } => "stopped",
            Operation::RemoveContainer { .. } | Operation::ClearFirewall => "removed",
            Operation::ProvideImage { .. }
            | Operation::Deferred { .. }
            | Operation::Batch { .. }
            | Operation::Barrier => return None,
        })
    }

    /// Undoes it where that restores a service, because what it was done for failed. Returns what
    /// was done; none if nothing was.
    pub async fn undo(
        &self,
        resource: &ResourceName,
        execution: &Execution<'_>,
    ) -> Result<Option<&'static str>, Diagnostic> {
        let (ResourceName::Container(server, name), Operation::StopContainer { id }) =
            (resource, self)
        else {
            return Ok(None);
        };
        let events = execution.world.events();
        let activity = events.start(resource.to_string(), "starting again");
        if !execution.start_again(server, name, id).await? {
            return Ok(None);
        }
        activity.done("started again");
        Ok(Some("started again"))
    }

    /// Executes the operation on a resource. Returns whether anything was changed.
    pub async fn execute(
        &self,
        resource: &ResourceName,
        execution: &Execution<'_>,
    ) -> Result<bool, Diagnostic> {
        let Some(doing) = self.doing() else {
            return Ok(false);
        };
        let activity = execution.world.events().start(resource.to_string(), doing);
        let done = match resource {
            ResourceName::Server(name) => execution
                .server(name, self, &activity)
                .await?
                .then(|| self.done())
                .flatten(),
            ResourceName::Firewall(server) => {
                let changed = execution.firewall(server, self).await?;
                changed.then(|| self.done().unwrap_or("changed"))
            }
            ResourceName::Container(server, name) => {
                execution.container(server, name, self, &activity).await?
            }
        };
        if let Some(done) = done {
            activity.done(done);
        }
        Ok(done.is_some())
    }
}
