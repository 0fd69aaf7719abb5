//! Finds containers: lists, names, and what the engine says about one that it does not have.

use std::future::ready;

use bollard::{
    errors::Error as BollardError,
    models::{ContainerInspectResponse, ContainerSummary},
    query_parameters::{
        InspectContainerOptions, ListContainersOptions, ListContainersOptionsBuilder,
    },
};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::podman;
use crate::{
    core::diagnostic::nearest,
    docker::{
        Container, Containers, Engine, Error, Listed, api_error::is_missing,
        image::reference::is_full_id,
    },
};

impl Engine {
    /// The running containers, or with `all`, also those that do not run, sorted by name.
    pub async fn list(&self, all: bool) -> Result<Vec<Listed>, Error> {
        let options = ListContainersOptionsBuilder::new().all(all).build();
        let mut listed = self.listed(options).await?;
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// All containers, running or not, with all details, sorted by name.
    pub(super) async fn all(&self) -> Result<Vec<Container>, Error> {
        let listed = self.list(true).await?;
        let mut containers: Vec<Container> = stream::iter(listed)
            .map(|listed| async move { self.inspect(&listed.id).await })
            .buffer_unordered(self.max_concurrent_requests())
            .try_filter_map(|container| ready(Ok(container)))
            .try_collect()
            .await?;
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    pub(super) async fn listed(
        &self,
        options: ListContainersOptions,
    ) -> Result<Vec<Listed>, Error> {
        let listed = self.container_summaries(options).await;
        let listed = listed.map_err(|error| self.error("listing containers", &error))?;
        Ok(listed.into_iter().map(Listed::from).collect())
    }

    /// Lists containers. The filters of `options` need not be applied: the caller applies them, too.
    pub(in crate::docker) async fn container_summaries(
        &self,
        options: ListContainersOptions,
    ) -> Result<Vec<ContainerSummary>, BollardError> {
        let (all, size) = (options.all, options.size);
        let error = match self.brief().list_containers(Some(options)).await {
            Err(error @ BollardError::JsonDataError { .. }) => error,
            answer => return answer,
        };
        let path = format!("/containers/json?all={all}&size={size}");
        let answer = self.read(&path).await?;
        answer
            .and_then(|answer| podman::parse_list(&answer))
            .ok_or(error)
    }

    /// Reads the container with this id or name.
    pub(in crate::docker) async fn inspected(
        &self,
        id: &str,
    ) -> Result<ContainerInspectResponse, BollardError> {
        let options = None::<InspectContainerOptions>;
        let error = match self.brief().inspect_container(id, options).await {
            Err(error @ BollardError::JsonDataError { .. }) => error,
            answer => return answer,
        };
        let answer = self.read(&format!("/containers/{id}/json")).await?;
        answer
            .and_then(|answer| podman::parse(&answer))
            .ok_or(error)
    }

    /// The error for a name that another container has; none if no container has it.
    pub(super) async fn name_taken(&self, name: &str) -> Result<Option<Error>, Error> {
        let other = self.find(name).await?;
        Ok(other.map(|other| Error::NameTaken {
            host: self.host.clone(),
            name: name.to_owned(),
            owner: other.ownership(),
        }))
    }

    /// The error for a container that does not exist.
    pub fn not_found(&self, name: &str) -> Error {
        Error::NoContainer {
            host: self.host.clone(),
            name: name.to_owned(),
            near: None,
        }
    }

    /// The container with exactly this name. If it does not exist, the error names a similar one.
    pub async fn named(&self, name: &str) -> Result<Container, Error> {
        if let Some(found) = self.find(name).await? {
            return Ok(found);
        }
        let listed = self.list(true).await?;
        let names = listed.iter().map(|listed| listed.name.as_str());
        Err(Error::NoContainer {
            host: self.host.clone(),
            name: name.to_owned(),
            near: nearest(name, names).map(str::to_owned),
        })
    }

    /// Converts the error of a call about one container; `doing` is the operation.
    pub(in crate::docker) fn of(&self, id: &str, doing: &str, error: &BollardError) -> Error {
        let name = self.name_of(id);
        if is_missing(error) {
            return self.not_found(&name);
        }
        self.error(format!("{doing} container `{name}`"), error)
    }
}

/// Checks that a text is a full id. The engine resolves any other text as a name or as the
/// beginning of an id; the replacement text used here can be neither.
pub(super) fn full(id: &str) -> &str {
    if is_full_id(id) { id } else { "-" }
}

/// Whether a container can have this name.
pub(in crate::docker) fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || ['_', '.', '-'].contains(&c);
    !name.is_empty() && name.chars().all(is_allowed)
}
