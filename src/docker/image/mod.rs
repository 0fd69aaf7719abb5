//! Images: pull, build on the local machine, and send to a server without a registry.

mod archive;
mod context;
pub(super) mod reference;

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    future::ready,
    io::{self, Seek, SeekFrom},
    path::PathBuf,
};

use bollard::{
    body_try_stream,
    query_parameters::{
        BuildImageOptionsBuilder, CreateImageOptionsBuilder, ImportImageOptionsBuilder,
        ListImagesOptions,
    },
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::{io::AsyncWriteExt, sync::Mutex};
use tokio_util::io::{ReaderStream, SyncIoBridge};

pub use context::Context;

use self::{
    archive::Selection,
    reference::{exact, is_short_id, names, split_tag},
};
use super::{
    Engine, Error, Image, Pull, Spec,
    engine::{cause, is_missing},
};

/// The buffer between an image's archive and the server, in bytes.
const PIPE: usize = 1024 * 1024;

/// The size of a chunk that is sent, in bytes.
const CHUNK: usize = 256 * 1024;

/// How many lines of a build go into an error.
const LOG_LINES: usize = 15;

/// A callback for progress messages.
pub type Progress<'a> = &'a (dyn Fn(String) + Send + Sync);

/// A build of an image.
#[derive(Clone, Debug)]
pub struct Build {
    /// The folder with the Dockerfile.
    pub folder: PathBuf,
    /// The name the image gets.
    pub name: String,
}

/// The id of an image and the digests of its layers.
struct Layers {
    id: String,
    layers: Vec<String>,
}

/// Held while an image is built on the local machine, for whatever server.
static BUILDING: Mutex<()> = Mutex::const_new(());

impl Engine {
    /// Lists the id of each image, by each of its names.
    pub async fn images(&self) -> Result<BTreeMap<String, String>, Error> {
        let images = self
            .docker
            .list_images(None::<ListImagesOptions>)
            .await
            .map_err(|error| self.error("listing images", &error))?;
        Ok(images
            .into_iter()
            .flat_map(|image| {
                let id = image.id;
                image
                    .repo_tags
                    .into_iter()
                    .map(move |name| (name, id.clone()))
            })
            .collect())
    }

    /// Whether the engine has an image.
    pub async fn has_image(&self, image: &str) -> Result<bool, Error> {
        Ok(self.layers(image).await?.is_some())
    }

    /// Pulls an image from its registry.
    pub async fn pull(&self, image: &str, progress: Progress<'_>) -> Result<(), Error> {
        progress(format!("pulling {image}"));
        let exact = exact(image);
        let (name, tag) = split_tag(&exact);
        let options = CreateImageOptionsBuilder::new()
            .from_image(name)
            .tag(tag)
            .build();
        self.docker
            .create_image(Some(options), None, None)
            .try_for_each(async |_| Ok(()))
            .await
            .map_err(|error| Error::NoImage {
                host: self.host.clone(),
                image: image.to_owned(),
                cause: cause(&error),
            })
    }

    /// Creates an image from the archive of a file system.
    pub(crate) async fn import(
        &self,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        name: &str,
    ) -> Result<(), Error> {
        let (repository, tag) = split_tag(name);
        let options = CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo(repository)
            .tag(tag)
            .build();
        self.docker
            .create_image(Some(options), Some(body_try_stream(archive)), None)
            .try_for_each(async |_| Ok(()))
            .await
            .map_err(|error| self.error(format!("creating image `{name}`"), &error))
    }

    /// Builds an image from a folder. Does nothing if the engine has it: the name contains a digest of
    /// the content.
    pub async fn build(&self, build: &Build, progress: Progress<'_>) -> Result<(), Error> {
        if self.has_image(&build.name).await? {
            return Ok(());
        }
        let fail = |cause: String, log: &[String]| Error::Build {
            image: build.name.clone(),
            folder: build.folder.display().to_string(),
            cause,
            log: log[log.len().saturating_sub(LOG_LINES)..].join("\n"),
        };
        progress(format!("building {}", build.name));
        let folder = build.folder.clone();
        let archive = blocking(move || {
            let mut file = tempfile::tempfile()?;
            Context::read(&folder)?.write_tar(&mut file)?;
            file.seek(SeekFrom::Start(0))?;
            Ok(file)
        })
        .await
        .map_err(|error| fail(error.to_string(), &[]))?;
        let options = BuildImageOptionsBuilder::new()
            .t(&build.name)
            .rm(true)
            .forcerm(true)
            .build();
        let body = body_try_stream(ReaderStream::with_capacity(
            tokio::fs::File::from_std(archive),
            CHUNK,
        ));
        let mut log = Vec::new();
        let mut messages = self.docker.build_image(options, None, Some(body));
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| fail(cause(&error), &log))?;
            let text = message.stream.unwrap_or_default();
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                if line.starts_with("Step ") {
                    // Only the beginning of the instruction, which may be long.
                    let step: Vec<&str> = line.splitn(5, ' ').take(4).collect();
                    progress(format!("building {}: {}", build.name, step.join(" ")));
                }
                log.push(line.to_owned());
            }
        }
        Ok(())
    }

    /// Makes the image of a container available: pulls it, or builds it on the local machine and
    /// sends it.
    pub(super) async fn provide(&self, spec: &Spec, progress: Progress<'_>) -> Result<(), Error> {
        let image = spec.image.name();
        let _one = self.images.lock().await;
        if self.has_image(image).await? {
            return Ok(());
        }
        match (&spec.image, spec.pull) {
            (Image::Built { folder, name }, _) => {
                let here = Engine::here().await?;
                let build = Build {
                    folder: folder.clone(),
                    name: name.clone(),
                };
                {
                    // Builds of one folder that run at the same time make different images.
                    let _one = BUILDING.lock().await;
                    here.build(&build, progress).await?;
                }
                here.push(name, self, progress).await
            }
            (Image::Named(_), Pull::Missing) => self.pull(image, progress).await,
            // Creating the container fails with an error that names the image.
            (Image::Named(_), Pull::Never) => Ok(()),
        }
    }

    /// Sends an image to another engine, without the layers that it has. Does nothing if it has
    /// the image.
    pub async fn push(
        &self,
        image: &str,
        to: &Engine,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let Some(ours) = self.layers(image).await? else {
            return Err(Error::NoImage {
                host: self.host.clone(),
                image: image.to_owned(),
                cause: "this machine does not have it".to_owned(),
            });
        };
        if to
            .layers(image)
            .await?
            .is_some_and(|theirs| theirs.id == ours.id)
        {
            return Ok(());
        }
        progress(format!("sending {image}"));
        let shared = to.shared_layers(&ours.layers).await?;
        let archive = self.export(image).await?;
        let sent = to.load(&archive, shared, image, progress).await;
        if shared > 0 && matches!(sent, Err(Error::Api { .. })) {
            // An engine may keep a layer in a form that it cannot use for another image.
            return to.load(&archive, 0, image, progress).await;
        }
        sent
    }

    /// An image's id and the digests of its layers; none if the engine has no image of exactly
    /// this name, digest or full id.
    async fn layers(&self, image: &str) -> Result<Option<Layers>, Error> {
        if is_short_id(image) {
            return Ok(None);
        }
        match self.docker.inspect_image(&exact(image)).await {
            Ok(found) => {
                let id = found.id.unwrap_or_default();
                let tags = found.repo_tags.unwrap_or_default();
                let digests = found.repo_digests.unwrap_or_default();
                Ok(names(image, &id, &tags, &digests).then(|| Layers {
                    id,
                    layers: found.root_fs.and_then(|fs| fs.layers).unwrap_or_default(),
                }))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.error(format!("inspecting image `{image}`"), &error)),
        }
    }

    /// The largest number of these layers, from the bottom, that an image of the engine shares.
    async fn shared_layers(&self, layers: &[String]) -> Result<usize, Error> {
        let images: HashSet<String> = self.images().await?.into_values().collect();
        let shared: Vec<usize> = stream::iter(images)
            .map(|id| async move { self.layers(&id).await })
            .buffer_unordered(4)
            .try_filter_map(|theirs| {
                ready(Ok(theirs.map(|theirs| {
                    let pairs = theirs.layers.iter().zip(layers);
                    pairs.take_while(|(a, b)| a == b).count()
                })))
            })
            .try_collect()
            .await?;
        Ok(shared.into_iter().max().unwrap_or(0))
    }

    /// Writes an image to a temporary file, in the form of `docker save`.
    async fn export(&self, image: &str) -> Result<File, Error> {
        let disk = |error: io::Error| Error::Api {
            host: self.host.clone(),
            what: format!("writing image `{image}` to a temporary file"),
            cause: error.to_string(),
        };
        let file = tempfile::tempfile().map_err(disk)?;
        let mut writer = tokio::fs::File::from_std(file);
        let mut chunks = self.docker.export_image(&exact(image));
        while let Some(chunk) = chunks.next().await {
            let chunk =
                chunk.map_err(|error| self.error(format!("reading image `{image}`"), &error))?;
            writer.write_all(&chunk).await.map_err(disk)?;
        }
        writer.flush().await.map_err(disk)?;
        Ok(writer.into_std().await)
    }

    /// Loads the archive of an image, without its lowest `skip` layers.
    async fn load(
        &self,
        archive: &File,
        skip: usize,
        image: &str,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let fail = |cause: String| Error::Api {
            host: self.host.clone(),
            what: format!("loading image `{image}`"),
            cause,
        };
        let archive = archive.try_clone().map_err(|e| fail(e.to_string()))?;
        let plan = blocking(move || Selection::read(archive, skip))
            .await
            .map_err(|e| fail(e.to_string()))?;
        progress(format!(
            "sending {image} ({} MB)",
            plan.bytes.div_ceil(1_000_000)
        ));
        let (reader, writer) = tokio::io::duplex(PIPE);
        let writer = SyncIoBridge::new(writer);
        let feeding = tokio::task::spawn_blocking(move || plan.write(writer));
        let options = ImportImageOptionsBuilder::new().quiet(true).build();
        let loaded = self
            .docker
            .import_image_stream(options, ReaderStream::with_capacity(reader, CHUNK), None)
            .try_for_each(async |_| Ok(()))
            .await;
        // The engine's error is the cause: when it stops reading, the writer fails, too.
        loaded.map_err(|error| self.error(format!("loading image `{image}`"), &error))?;
        feeding
            .await
            .map_err(|error| fail(error.to_string()))?
            .map_err(|error| fail(error.to_string()))
    }
}

/// Runs file work on a thread where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
