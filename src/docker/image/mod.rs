//! Images: pull, build on the local machine, and send to a server without a registry.

mod archive;
mod build;
mod buildkit;
mod context;
mod platform;
mod protobuf;
mod pull;
mod push;
pub(super) mod reference;
mod session;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use bollard::{
    models::ImageSummary,
    query_parameters::{ListImagesOptions, TagImageOptionsBuilder},
};

use self::reference::{exact, is_short_id, names, split_tag};
pub use self::{build::Build, context::Context, platform::Platform, session::Secrets};
use super::{Engine, Error, Image, Pull, Spec, api_error::is_missing};
use crate::core::owner::Owner;

/// A callback for progress messages.
pub type Progress<'a> = &'a (dyn Fn(String) + Send + Sync);

/// An image in a list: what `docker.images` shows.
#[derive(Clone, Debug)]
pub struct ListedImage {
    /// Its name; none if it has no name any more.
    pub name: Option<String>,
    /// Its tag.
    pub tag: Option<String>,
    /// Its id.
    pub id: String,
    /// Its size, in bytes.
    pub size: u64,
    /// When it was created, in seconds since 1970.
    pub created: i64,
}

/// The names and digests of an engine's images.
#[derive(Clone, Debug, Default)]
pub struct ImageNames {
    /// The id of each image, by each of its names.
    pub ids: BTreeMap<String, String>,
    /// The digests that registries have for each image, by its id.
    pub digests: BTreeMap<String, BTreeSet<String>>,
}

/// An image of an engine.
struct Found {
    id: String,
    /// The digests of its layers.
    layers: Vec<String>,
    /// The digests that registries have for it.
    digests: BTreeSet<String>,
    platform: Platform,
}

impl Engine {
    /// Lists the id of each image, by each of its names.
    pub async fn images(&self) -> Result<BTreeMap<String, String>, Error> {
        Ok(self.image_names().await?.ids)
    }

    /// Lists the names and digests of all images.
    pub(super) async fn image_names(&self) -> Result<ImageNames, Error> {
        let mut found = ImageNames::default();
        for image in self.summaries().await? {
            let digests = digests(&image.repo_digests);
            if !digests.is_empty() {
                found.digests.insert(image.id.clone(), digests);
            }
            let names = image.repo_tags.into_iter();
            found.ids.extend(names.map(|name| (name, image.id.clone())));
        }
        Ok(found)
    }

    /// Lists all images, sorted by name: one entry for each name.
    pub async fn list_images(&self) -> Result<Vec<ListedImage>, Error> {
        let mut listed = Vec::new();
        for image in self.summaries().await? {
            let names: Vec<&String> = image.repo_tags.iter().collect();
            let names: Vec<Option<&String>> = match names.as_slice() {
                [] => vec![None],
                names => names.iter().copied().map(Some).collect(),
            };
            for name in names {
                // The engine's own word for an image without a name.
                let name = name.filter(|name| *name != "<none>:<none>");
                let (name, tag) = name.map(|name| split_tag(name)).unzip();
                listed.push(ListedImage {
                    name: name.map(str::to_owned),
                    tag: tag.map(str::to_owned),
                    id: image.id.clone(),
                    size: u64::try_from(image.size).unwrap_or_default(),
                    created: image.created,
                });
            }
        }
        let key = |image: &ListedImage| (image.name.clone(), image.tag.clone(), image.id.clone());
        listed.sort_by_key(key);
        Ok(listed)
    }

    async fn summaries(&self) -> Result<Vec<ImageSummary>, Error> {
        let listed = self.docker.list_images(None::<ListImagesOptions>).await;
        listed.map_err(|error| self.error("listing images", &error))
    }

    /// Whether the engine has an image.
    pub async fn has_image(&self, image: &str) -> Result<bool, Error> {
        Ok(self.image(image).await?.is_some())
    }

    /// The platform of the engine's machine.
    pub async fn platform(&self) -> Result<Platform, Error> {
        let asked = self.platform.get_or_try_init(async || {
            let version = self.docker.version().await;
            let version = version.map_err(|error| self.error("reading its version", &error))?;
            Ok(Platform {
                os: version.os.unwrap_or_default(),
                architecture: version.arch.unwrap_or_default(),
                variant: String::new(),
            })
        });
        asked.await.cloned()
    }

    /// Makes the image of a container available: pulls it, or builds it on the local machine and
    /// sends it. An image that is built is labelled with the project of `owner`.
    pub(super) async fn provide(
        &self,
        spec: &Spec,
        owner: &Owner,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let image = spec.image.name();
        let _one = self.images.lock().await;
        if let Some(found) = self.image(image).await? {
            let is_checked = spec.pull == Pull::Check && matches!(spec.image, Image::Named(_));
            if !is_checked || self.is_current(image, &found).await {
                return Ok(());
            }
        }
        match (&spec.image, spec.pull) {
            (Image::Built { folder, name }, _) => {
                let here = Engine::here().await?.with_registries(&self.registries);
                let (own, wanted) = tokio::try_join!(here.platform(), self.platform())?;
                let build = Build {
                    project: Some(owner.project.clone()),
                    ..Build::on(folder.clone(), name, &wanted, &own)
                };
                here.build(&build, progress).await?;
                here.push(&build.name, self, progress).await?;
                if build.name == *name {
                    return Ok(());
                }
                self.tag(&build.name, name).await
            }
            (Image::Named(_), Pull::Missing | Pull::Check) => self.pull(image, progress).await,
            // Creating the container fails with an error that names the image.
            (Image::Named(_), Pull::Never) => Ok(()),
        }
    }

    /// Whether the registry has this image under its name. If the registry does not say, the image is
    /// used as it is, and the user is warned.
    async fn is_current(&self, image: &str, found: &Found) -> bool {
        match self.registries.digest(image).await {
            Ok(None) => true,
            Ok(Some(digest)) => found.digests.contains(&digest),
            Err(error) => {
                let host = &self.host;
                self.registries.warn(format!(
                    "host `{host}`: image `{image}` may be outdated: {error}"
                ));
                true
            }
        }
    }

    /// Gives an image another name.
    async fn tag(&self, image: &str, name: &str) -> Result<(), Error> {
        let (repository, tag) = split_tag(name);
        let options = TagImageOptionsBuilder::new()
            .repo(repository)
            .tag(tag)
            .build();
        let tagged = self.docker.tag_image(&exact(image), Some(options)).await;
        tagged.map_err(|error| self.error(format!("naming image `{name}`"), &error))
    }

    /// The image with exactly this name, digest or full id; none if the engine does not have it.
    async fn image(&self, image: &str) -> Result<Option<Found>, Error> {
        if is_short_id(image) {
            return Ok(None);
        }
        match self.docker.inspect_image(&exact(image)).await {
            Ok(found) => {
                let id = found.id.unwrap_or_default();
                let tags = found.repo_tags.unwrap_or_default();
                let known = found.repo_digests.unwrap_or_default();
                Ok(names(image, &id, &tags, &known).then(|| Found {
                    id,
                    layers: found.root_fs.and_then(|fs| fs.layers).unwrap_or_default(),
                    digests: digests(&known),
                    platform: Platform {
                        os: found.os.unwrap_or_default(),
                        architecture: found.architecture.unwrap_or_default(),
                        variant: found.variant.unwrap_or_default(),
                    },
                }))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.error(format!("inspecting image `{image}`"), &error)),
        }
    }
}

/// The digests in names of the form `NAME@DIGEST`.
fn digests(names: &[String]) -> BTreeSet<String> {
    let pairs = names.iter().filter_map(|name| name.split_once('@'));
    let digests = pairs.map(|(_, digest)| digest.to_owned());
    digests.filter(|digest| digest != "<none>").collect()
}

/// Runs file work on a thread where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
