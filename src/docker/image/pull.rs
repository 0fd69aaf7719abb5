//! Pulls images from registries.

use std::{collections::BTreeMap, io, time::Duration};

use bollard::{
    body_try_stream,
    errors::Error as BollardError,
    models::CreateImageInfo,
    query_parameters::{CreateImageOptions, CreateImageOptionsBuilder},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use tokio::time::timeout;

use super::{
    Progress,
    reference::{Location, exact, split_tag},
};
use crate::docker::{
    Engine, Error,
    api_error::{cause, is_missing},
};

/// How long a pull may be silent. The engine reports each part of a layer that it gets or extracts.
const SILENCE: Duration = Duration::from_mins(5);

/// Progress is shown each time so many percent of the known size were downloaded.
const STEP: u64 = 10;

impl Engine {
    /// Pulls an image from its registry, with the credentials of this machine.
    pub async fn pull(&self, image: &str, progress: Progress<'_>) -> Result<(), Error> {
        let location = Location::of(image);
        let credentials = self.registries.credentials(&location).await?;
        progress(format!("pulling {image}"));
        let exact = exact(image);
        let (name, tag) = split_tag(&exact);
        let options = CreateImageOptionsBuilder::new()
            .from_image(name)
            .tag(tag)
            .build();
        let fail = |cause: String| Error::Pull {
            host: self.host.clone(),
            image: image.to_owned(),
            registry: location.registry.clone(),
            cause,
        };
        let mut messages = self.docker.create_image(Some(options), None, credentials);
        let mut layers = Layers::default();
        loop {
            let next = timeout(SILENCE, messages.next()).await;
            let seconds = SILENCE.as_secs();
            match next.map_err(|_| fail(format!("no progress for {seconds} s")))? {
                None => return Ok(()),
                Some(Ok(message)) => {
                    if let Some(size) = layers.add(&message) {
                        progress(format!("pulling {image}: {size}"));
                    }
                }
                Some(Err(error)) => {
                    // The connection to the server or its engine may be the cause.
                    let what = format!("pulling image `{image}`");
                    match self.error(what, &error) {
                        Error::Api { .. } => {}
                        lost => return Err(lost),
                    }
                    return Err(if is_unknown(&error) {
                        Error::NoImage {
                            host: self.host.clone(),
                            image: image.to_owned(),
                            cause: cause(&error),
                        }
                    } else {
                        fail(cause(&error))
                    });
                }
            }
        }
    }

    /// Creates an image from the archive of a file system.
    pub(crate) async fn import(
        &self,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        name: &str,
    ) -> Result<(), Error> {
        let (repository, tag) = split_tag(name);
        let options: CreateImageOptions = CreateImageOptionsBuilder::new()
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
}

/// Whether the registry answered that it does not have the image. Docker Hub denies access to images
/// that it does not have.
fn is_unknown(error: &BollardError) -> bool {
    let cause = cause(error);
    let is_denied = cause.contains("denied") || cause.contains("unauthorized");
    (is_missing(error) || cause.contains("manifest unknown")) && !is_denied
}

/// How much of each layer was downloaded.
#[derive(Default)]
struct Layers {
    /// The current and the total size, in bytes.
    sizes: BTreeMap<String, (u64, u64)>,
    shown: u64,
}

impl Layers {
    /// Adds a message of the engine. Returns the downloaded size if it is time to show it.
    fn add(&mut self, message: &CreateImageInfo) -> Option<String> {
        let id = message.id.clone()?;
        match message.status.as_deref()? {
            "Downloading" => {
                let detail = message.progress_detail.as_ref()?;
                let size = |size: Option<i64>| u64::try_from(size.unwrap_or_default()).ok();
                let (current, total) = (size(detail.current)?, size(detail.total)?);
                self.sizes.insert(id, (current, total));
            }
            "Download complete" => {
                let (current, total) = self.sizes.get_mut(&id)?;
                *current = *total;
            }
            _ => return None,
        }
        let sum = |part: fn(&(u64, u64)) -> u64| self.sizes.values().map(part).sum::<u64>();
        let (current, total) = (sum(|size| size.0), sum(|size| size.1).max(1));
        let step = 100 * current / total / STEP;
        if step <= self.shown {
            return None;
        }
        self.shown = step;
        let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
        let (current, total) = (megabytes(current), megabytes(total));
        Some(format!("{current} of {total} MB"))
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    #[test]
    fn progress_is_shown_in_steps() {
        let mut layers = Layers::default();
        let mut add = |id: &str, status: &str, current: i64, total: i64| {
            layers.add(&CreateImageInfo {
                id: Some(id.to_owned()),
                status: Some(status.to_owned()),
                progress_detail: Some(ProgressDetail {
                    current: Some(current),
                    total: Some(total),
                }),
                ..CreateImageInfo::default()
            })
        };
        let mega = 1_000_000;
        assert_eq!(add("a", "Pulling fs layer", 0, 0), None);
        assert_eq!(add("a", "Downloading", mega, 100 * mega), None);
        let shown = add("a", "Downloading", 10 * mega, 100 * mega);
        assert_eq!(shown.as_deref(), Some("10 of 100 MB"));
        assert_eq!(add("a", "Downloading", 11 * mega, 100 * mega), None);
        assert_eq!(add("b", "Downloading", 0, 100 * mega), None, "more to do");
        let shown = add("a", "Download complete", 0, 0);
        assert_eq!(shown.as_deref(), Some("100 of 200 MB"));
        assert_eq!(add("a", "Extracting", 1, 100 * mega), None);
    }
}
