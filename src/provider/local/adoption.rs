//! Adopted local servers: those whose owner is not the one in their labels.
//!
//! The engine cannot change the labels of a container. The new owner is in the labels of an empty
//! volume, which is named after the container's id and removed with the server. All state stays at the
//! engine, where every user of it sees the same.

use std::collections::HashMap;

use bollard::{
    errors::Error as BollardError,
    models::VolumeCreateRequest,
    query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions},
};

use super::{
    refusal,
    server::{LABEL_MANIFEST, LABEL_PROJECT},
};
use crate::{core::owner::Owner, docker::Engine, provider::Error};

/// The names of these volumes: this and the container's id.
const VOLUME: &str = "hitc-owner-";

/// The owners of adopted servers, by the ids of their containers.
pub(super) type Adopted = HashMap<String, Owner>;

/// Lists the adopted servers.
pub(super) async fn adopted(engine: &Engine) -> Result<Adopted, Error> {
    let filters = HashMap::from([("label", vec![LABEL_PROJECT])]);
    let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
    let listed = engine
        .api()
        .list_volumes(Some(options))
        .await
        .map_err(|error| refusal("listing the owners of its servers", &error))?;
    let owner = |volume: bollard::models::Volume| {
        let id = volume.name.strip_prefix(VOLUME)?.to_owned();
        let owner = Owner {
            project: volume.labels.get(LABEL_PROJECT)?.clone(),
            manifest: volume.labels.get(LABEL_MANIFEST).cloned(),
        };
        Some((id, owner))
    };
    let volumes = listed.volumes.unwrap_or_default();
    Ok(volumes.into_iter().filter_map(owner).collect())
}

/// Records the owner of a server, by the full id of its container.
pub(super) async fn adopt(engine: &Engine, id: &str, owner: &Owner) -> Result<(), Error> {
    // Creating a volume that exists changes nothing.
    forget_adoption(engine, id).await?;
    let mut labels = HashMap::from([(LABEL_PROJECT.to_owned(), owner.project.clone())]);
    if let Some(manifest) = &owner.manifest {
        labels.insert(LABEL_MANIFEST.to_owned(), manifest.clone());
    }
    let request = VolumeCreateRequest {
        name: Some(format!("{VOLUME}{id}")),
        labels: Some(labels),
        ..VolumeCreateRequest::default()
    };
    engine
        .api()
        .create_volume(request)
        .await
        .map(drop)
        .map_err(|error| refusal("recording the owner of a server", &error))
}

/// Removes the record, if there is one.
pub(super) async fn forget_adoption(engine: &Engine, id: &str) -> Result<(), Error> {
    let removed = engine
        .api()
        .remove_volume(&format!("{VOLUME}{id}"), None::<RemoveVolumeOptions>)
        .await;
    match removed {
        Ok(())
        | Err(BollardError::DockerResponseServerError {
            status_code: 404, ..
        }) => Ok(()),
        Err(error) => Err(refusal("removing the owner of a server", &error)),
    }
}
