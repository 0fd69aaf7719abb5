//! `Containers`: the operations of a Docker Engine that creating, replacing and removing containers
//! needs.
//!
//! [`super::Engine`] implements them over the engine's API; the simulated world of the ensemble's
//! tests implements them in memory. Everything is addressed by full id: the engine resolves a name
//! like `db` as the beginning of an id where no container has that name.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Serialize;

use super::{Container, Error, Progress, Spec, Volume};
use crate::core::owner::Owner;

/// A snapshot of the containers and images of an engine.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Snapshot {
    /// All containers, running or not, sorted by name.
    pub containers: Vec<Container>,
    /// The id of each image, by each of its names.
    pub images: BTreeMap<String, String>,
    /// The digests that registries have for each image, by its id.
    pub digests: BTreeMap<String, BTreeSet<String>>,
}

/// The operations of an engine.
#[async_trait]
pub trait Containers: Send + Sync {
    /// The name of the engine's machine, for messages.
    fn host(&self) -> &str;

    /// Reads all containers with all details, and the names of all images.
    async fn snapshot(&self) -> Result<Snapshot, Error>;

    /// Reads the container with this full id; none if it does not exist.
    async fn inspect(&self, id: &str) -> Result<Option<Container>, Error>;

    /// Reads the container with exactly this name; none if it does not exist.
    async fn find(&self, name: &str) -> Result<Option<Container>, Error>;

    /// Makes the image of a container available: pulls it, or builds it on the local machine and
    /// sends it. An image that is built is labelled with the project of `owner`.
    async fn provide_image(
        &self,
        spec: &Spec,
        owner: &Owner,
        progress: Progress<'_>,
    ) -> Result<(), Error>;

    /// Creates a container without starting it, and returns its full id. `labels` and `volumes`
    /// are added to the spec's own. An existing container of that name is an error.
    async fn create(
        &self,
        name: &str,
        spec: &Spec,
        labels: &BTreeMap<String, String>,
        volumes: &[Volume],
    ) -> Result<String, Error>;

    /// Starts a container. Does nothing if it runs.
    async fn start(&self, id: &str) -> Result<(), Error>;

    /// Stops a container. Does nothing if it does not run.
    async fn stop(&self, id: &str) -> Result<(), Error>;

    /// Stops a container without waiting for its processes to end by themselves. Does nothing if it
    /// does not run.
    async fn stop_at_once(&self, id: &str) -> Result<(), Error>;

    /// Renames a container.
    async fn rename(&self, id: &str, name: &str) -> Result<(), Error>;

    /// Sets limits and restart policy, which can change while the container runs.
    async fn update(&self, id: &str, spec: &Spec) -> Result<(), Error>;

    /// Sets the restart policy to `no`.
    async fn disable_restart(&self, id: &str) -> Result<(), Error>;

    /// Waits until a container is ready by its spec's own check.
    async fn wait_until_ready(&self, id: &str, spec: &Spec) -> Result<(), Error>;

    /// Removes a container, running or not, with those of its anonymous volumes that no other container
    /// uses. Succeeds if it no longer
    /// exists.
    async fn remove(&self, id: &str) -> Result<(), Error>;
}
