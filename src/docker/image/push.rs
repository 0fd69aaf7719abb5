//! Sends images from one engine to another without a registry.

use std::{
    collections::{HashSet, VecDeque},
    future::ready,
    io,
    sync::{Arc, Mutex},
};

use bollard::query_parameters::ImportImageOptionsBuilder;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::{io::AsyncWriteExt, sync::OnceCell};

use super::{Found, Progress, archive::Archive, blocking, reference::exact};
use crate::{
    core::sync::lock,
    docker::{Engine, Error},
};

/// How many exported images are kept on disk for the next server.
const KEPT: usize = 2;

/// An export that is running, or done.
type Export = Arc<OnceCell<Archive>>;

/// The last exports, by the id and name of the image: all servers of a run are sent the same one.
static EXPORTS: Mutex<VecDeque<(String, Export)>> = Mutex::new(VecDeque::new());

impl Engine {
    /// Sends an image to another engine, without the layers that it has. Does nothing if it has
    /// the image.
    ///
    /// # Errors
    /// [`Error::Platform`] if the machine of the other engine cannot run the image. Nothing was sent
    /// then.
    pub async fn push(
        &self,
        image: &str,
        to: &Engine,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let (ours, theirs) = tokio::try_join!(self.image(image), to.image(image))?;
        let Some(ours) = ours else {
            return Err(Error::NoImage {
                host: self.host.clone(),
                image: image.to_owned(),
                cause: "this machine does not have it".to_owned(),
            });
        };
        if theirs.is_some_and(|theirs| theirs.id == ours.id) {
            return Ok(());
        }
        progress(format!("sending {image}"));
        let export = export_of(&format!("{} {image}", ours.id));
        // The export takes longest, so it does not wait for what the other engine answers.
        let (shared, archive) = tokio::try_join!(
            to.shared(image, &ours),
            export.get_or_try_init(|| self.export(image))
        )?;
        let sent = to.load(archive, shared, image, progress).await;
        match sent {
            // An engine may keep a layer in a form that it cannot use for another image.
            Err(error @ Error::Api { .. }) if shared > 0 && !error.is_disk_full() => {
                to.load(archive, 0, image, progress).await
            }
            sent => sent,
        }
    }

    /// How many layers of this image the engine has already, if its machine can run the image.
    async fn shared(&self, image: &str, ours: &Found) -> Result<usize, Error> {
        let (platform, shared) =
            tokio::try_join!(self.platform(), self.shared_layers(&ours.layers))?;
        if platform.runs(&ours.platform) {
            return Ok(shared);
        }
        Err(Error::Platform {
            host: self.host.clone(),
            image: image.to_owned(),
            platform: ours.platform.to_string(),
            wanted: platform.to_string(),
        })
    }

    /// The largest number of these layers, from the bottom, that an image of the engine shares.
    async fn shared_layers(&self, layers: &[String]) -> Result<usize, Error> {
        let images: HashSet<String> = self.images().await?.into_values().collect();
        let shared: Vec<usize> = stream::iter(images)
            .map(|id| async move { self.image(&id).await })
            .buffer_unordered(self.max_concurrent_requests())
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
    async fn export(&self, image: &str) -> Result<Archive, Error> {
        let disk = |error: io::Error| Error::Api {
            host: self.host.clone(),
            what: format!("writing image `{image}` to a temporary file"),
            cause: error.to_string(),
        };
        let file = tempfile::tempfile().map_err(disk)?;
        let mut writer =
            tokio::io::BufWriter::with_capacity(1024 * 1024, tokio::fs::File::from_std(file));
        let mut chunks = self.docker.export_image(&exact(image));
        while let Some(chunk) = chunks.next().await {
            let chunk =
                chunk.map_err(|error| self.error(format!("reading image `{image}`"), &error))?;
            writer.write_all(&chunk).await.map_err(disk)?;
        }
        writer.flush().await.map_err(disk)?;
        let file = writer.into_inner().into_std().await;
        blocking(move || Archive::read(file)).await.map_err(disk)
    }

    /// Loads the archive of an image, without its lowest `skip` layers.
    async fn load(
        &self,
        archive: &Archive,
        skip: usize,
        image: &str,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let selection = archive.select(skip);
        progress(format!(
            "sending {image} ({} MB)",
            selection.bytes.div_ceil(1_000_000)
        ));
        let options = ImportImageOptionsBuilder::new().quiet(true).build();
        self.docker
            .import_image_stream(options, selection.stream(), None)
            .try_for_each(async |_| Ok(()))
            .await
            .map_err(|error| self.error(format!("loading image `{image}`"), &error))
    }
}

/// The export with this key: a running or finished one, else a new one.
fn export_of(key: &str) -> Export {
    let mut exports = lock(&EXPORTS);
    let at = exports.iter().position(|(known, _)| known == key);
    let kept = at.and_then(|at| exports.remove(at));
    let (key, export) = kept.unwrap_or_else(|| (key.to_owned(), Export::default()));
    exports.push_back((key, export.clone()));
    while exports.len() > KEPT {
        exports.pop_front();
    }
    export
}
