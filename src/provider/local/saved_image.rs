//! Images of local servers, and their consoles.
//!
//! An image is a Docker image of a server's files, without what is in volumes: the data of the server's own
//! engine. Its labels say whose it is. It is copied from a commit of the container, because a commit has the
//! container's labels, and these make a server.

use std::{collections::HashMap, fs, path::Path};

use bollard::{
    errors::Error as BollardError,
    models::ContainerConfig,
    query_parameters::{
        CommitContainerOptionsBuilder, ListImagesOptionsBuilder, LogsOptionsBuilder,
        RemoveImageOptionsBuilder,
    },
};
use data_encoding::HEXLOWER;
use futures_util::TryStreamExt;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Local, NAME, failed, refusal};
use crate::{
    docker::{self, Build, Engine, Secrets},
    provider::{
        CreateImage, Error, ImageState, Node, SavedImage, choose_image, look_again_at_image, tag,
    },
};

/// The labels of an image, with encoded values: the prefix, which marks it as ours, the name, the project, and
/// the server that it was made of.
const LABEL_PREFIX: &str = "hitc.image.prefix";
const LABEL_NAME: &str = "hitc.image.name";
const LABEL_PROJECT: &str = "hitc.image.project";
const LABEL_SERVER: &str = "hitc.image.server";

/// The names of images, and of commits until they are copied.
const REPOSITORY: &str = "hitc/saved";
const COMMITS: &str = "hitc/commit";

/// How many lines of a console are read.
const LINES: &str = "10000";

/// Host keys are made at the first boot of each server. No step is based on the commit, which could not be removed
/// then.
const DOCKERFILE: &str = "FROM scratch
COPY --from=COMMIT / /
RUN rm -f /etc/ssh/ssh_host_*
VOLUME /var/lib/docker
CMD [\"/sbin/hitc-init\"]
";

impl Local {
    pub(super) async fn saved_images(&self) -> Result<Vec<SavedImage>, Error> {
        let engine = self.engine().await?;
        let label = format!("{LABEL_PREFIX}={}", tag::encode(&self.prefix));
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let listed = engine.api().list_images(Some(options)).await;
        let listed = listed.map_err(|error| refusal("listing its images", &error))?;
        let images = listed.into_iter().filter_map(|found| {
            let noted = |key: &str| tag::decode(found.labels.get(key)?);
            // An image that lost its name was deleted while a server used it.
            let mut names = found.repo_tags.iter();
            let full = names.find(|name| name.starts_with(&format!("{REPOSITORY}:")))?;
            #[expect(clippy::cast_precision_loss, reason = "no image has 2^53 bytes")]
            let size = found.size as f64 / f64::from(1 << 30);
            let image = SavedImage {
                provider: NAME.to_owned(),
                name: noted(LABEL_NAME)?,
                id: full.split_once(':')?.1.to_owned(),
                server: noted(LABEL_SERVER).unwrap_or_default(),
                size: Some((size * 100.0).round() / 100.0),
                region: String::new(),
                created: Timestamp::from_second(found.created).ok(),
                state: ImageState::Usable,
                owner: tag::ownership(noted(LABEL_PROJECT), None),
            };
            Some(image.of_cloud())
        });
        Ok(images.collect())
    }

    /// The engine's name of the project's image of this name.
    pub(super) async fn saved(&self, name: &str, project: Option<&str>) -> Result<String, Error> {
        let images = self.saved_images().await?;
        match choose_image(&images, name, project)? {
            Some(image) => Ok(format!("{REPOSITORY}:{}", image.id)),
            None => {
                let own = super::IMAGES.map(|image| image.name);
                let saved = images.iter().map(|image| image.name.as_str());
                Err(Error::missing(
                    "image",
                    name,
                    own.into_iter().chain(saved),
                    None,
                ))
            }
        }
    }

    pub(super) async fn save(
        &self,
        create: &CreateImage,
        progress: docker::Progress<'_>,
    ) -> Result<SavedImage, Error> {
        let engine = self.engine().await?;
        let (node, container) = self.confirm(&engine, &create.node).await?;
        let (project, name) = (&create.owner.project, &create.name);
        let digest = Sha256::digest(format!("{}\n{project}\n{name}", self.prefix).as_bytes());
        let id = HEXLOWER.encode(&digest[..16]);
        let commit = format!("{COMMITS}:{id}");
        progress("committing the container".to_owned());
        let options = CommitContainerOptionsBuilder::new()
            .container(&container)
            .repo(COMMITS)
            .tag(&id)
            .build();
        let committed = engine
            .api()
            .commit_container(options, ContainerConfig::default())
            .await;
        committed.map_err(|error| refusal(&format!("committing `{}`", node.name), &error))?;
        let mut dockerfile = DOCKERFILE.replace("COMMIT", &commit);
        for (label, value) in [
            (LABEL_PREFIX, &self.prefix),
            (LABEL_NAME, name),
            (LABEL_PROJECT, project),
            (LABEL_SERVER, &node.name),
        ] {
            dockerfile.push_str(&format!("LABEL {label}={}\n", tag::encode(value)));
        }
        let built = self.build(&engine, &dockerfile, &id, progress).await;
        // Removed also if the build failed. If that fails, the next image of this name replaces it.
        let removed = remove(&engine, &commit).await;
        built.and(removed)?;
        let images = self.saved_images().await?;
        let made = images.into_iter().find(|image| image.id == id);
        made.ok_or_else(|| failed(&format!("making image `{name}`"), "it is gone already"))
    }

    async fn build(
        &self,
        engine: &Engine,
        dockerfile: &str,
        id: &str,
        progress: docker::Progress<'_>,
    ) -> Result<(), Error> {
        let what = "making the image";
        let folder = tempfile::tempdir().map_err(|error| failed(what, error))?;
        write(folder.path(), dockerfile).map_err(|error| failed(what, error))?;
        let build = Build {
            folder: folder.path().to_owned(),
            name: format!("{REPOSITORY}:{id}"),
            platform: None,
            secrets: Secrets::default(),
            project: None,
        };
        Ok(engine.build(&build, progress).await?)
    }

    pub(super) async fn delete_saved(&self, image: &SavedImage) -> Result<(), Error> {
        if look_again_at_image(self, image).await?.is_none() {
            return Ok(());
        }
        remove(&self.engine().await?, &format!("{REPOSITORY}:{}", image.id)).await
    }

    /// What the first process of a server and its children wrote.
    pub(super) async fn log(&self, node: &Node) -> Result<String, Error> {
        let engine = self.engine().await?;
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail(LINES)
            .build();
        let chunks = engine.api().logs(&node.id, Some(options));
        let all = chunks.try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk.into_bytes());
            Ok(all)
        });
        let all = all.await;
        let all = all.map_err(|error| refusal(&format!("reading `{}`", node.name), &error))?;
        Ok(String::from_utf8_lossy(&all).into_owned())
    }
}

fn write(folder: &Path, dockerfile: &str) -> std::io::Result<()> {
    fs::write(folder.join("Dockerfile"), dockerfile)
}

/// Removes an image that was deleted while a server used it, when the server is gone.
pub(super) async fn remove_unnamed(engine: &Engine, id: &str) {
    let Ok(found) = engine.api().inspect_image(id).await else {
        return;
    };
    if found.repo_tags.unwrap_or_default().is_empty() {
        // Refused if another server uses it, which removes it later.
        let options = RemoveImageOptionsBuilder::new().build();
        let _ = engine.api().remove_image(id, Some(options), None).await;
    }
}

/// Removes a name of an image. The layers stay while a server uses them.
async fn remove(engine: &Engine, name: &str) -> Result<(), Error> {
    let options = RemoveImageOptionsBuilder::new().force(true).build();
    match engine.api().remove_image(name, Some(options), None).await {
        Ok(_)
        | Err(BollardError::DockerResponseServerError {
            status_code: 404, ..
        }) => Ok(()),
        Err(error) => Err(refusal(&format!("deleting image `{name}`"), &error)),
    }
}
