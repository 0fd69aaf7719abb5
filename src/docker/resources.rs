//! Networks and volumes of an engine, and what it has that nothing uses: `docker.networks`,
//! `docker.volumes`, `docker.prune`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use bollard::{
    models::{ContainerSummary, ImageSummary},
    query_parameters::{
        ListContainersOptionsBuilder, ListImagesOptions, ListNetworksOptions, ListVolumesOptions,
        RemoveImageOptionsBuilder, RemoveVolumeOptions,
    },
};
use serde_json::Value as Json;

use super::{Containers, Engine, Error, Listed, api_error::is_missing, container::labels};
use crate::core::owner::{Owner, Ownership};

/// The networks that each engine has.
const BUILT_IN: [&str; 3] = ["bridge", "host", "none"];

/// How the names of built images begin (`Context::image_name`).
const BUILT_NAME: &str = "hitc/";

/// A network.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its full id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Its subnets.
    pub subnets: Vec<String>,
    /// Its owner.
    pub owner: Ownership,
}

/// A volume.
#[derive(Clone, Debug)]
pub struct NamedVolume {
    /// Its name, which is its id, too.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Its folder on the server.
    pub folder: String,
    /// Its owner.
    pub owner: Ownership,
}

/// A kind of thing that nothing may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A container that does not run.
    Container,
    /// A network without containers.
    Network,
    /// A volume without containers.
    Volume,
    /// An image without containers.
    Image,
}

impl Kind {
    /// All kinds, in the order in which they are removed.
    const ALL: [Kind; 4] = [Kind::Container, Kind::Network, Kind::Volume, Kind::Image];

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Kind::ALL.into_iter().find(|kind| kind.to_string() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Container => "container",
            Kind::Network => "network",
            Kind::Volume => "volume",
            Kind::Image => "image",
        })
    }
}

/// Something that nothing uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// What it is.
    pub kind: Kind,
    /// How the engine addresses it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it takes, if the engine knows.
    pub bytes: Option<u64>,
}

impl Engine {
    /// The networks, sorted by name.
    pub async fn networks(&self) -> Result<Vec<Network>, Error> {
        let listed = self.docker.list_networks(None::<ListNetworksOptions>).await;
        let listed = listed.map_err(|error| self.error("listing networks", &error))?;
        let mut networks: Vec<Network> = listed
            .into_iter()
            .map(|network| {
                let subnets = network.ipam.and_then(|ipam| ipam.config);
                let subnets = subnets.unwrap_or_default().into_iter();
                Network {
                    id: network.id.unwrap_or_default(),
                    name: network.name.unwrap_or_default(),
                    driver: network.driver.unwrap_or_default(),
                    subnets: subnets.filter_map(|config| config.subnet).collect(),
                    owner: owner(network.labels.unwrap_or_default()),
                }
            })
            .collect();
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(networks)
    }

    /// The volumes, sorted by name.
    pub async fn volumes(&self) -> Result<Vec<NamedVolume>, Error> {
        let listed = self.docker.list_volumes(None::<ListVolumesOptions>).await;
        let listed = listed.map_err(|error| self.error("listing volumes", &error))?;
        let mut volumes: Vec<NamedVolume> = listed
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(|volume| NamedVolume {
                name: volume.name,
                driver: volume.driver,
                folder: volume.mountpoint,
                owner: owner(volume.labels),
            })
            .collect();
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// Containers that do not run, and networks, volumes and images without containers: those of this
    /// project, or all.
    pub async fn unused(&self, project: &Owner, all: bool) -> Result<Vec<Unused>, Error> {
        let options = ListContainersOptionsBuilder::new().all(true).size(true);
        let containers = self.container_summaries(options.build());
        let containers = async {
            let listed = containers.await;
            listed.map_err(|error| self.error("listing containers", &error))
        };
        let images = async {
            let listed = self.docker.list_images(None::<ListImagesOptions>).await;
            listed.map_err(|error| self.error("listing images", &error))
        };
        let (containers, networks, volumes, images) =
            tokio::try_join!(containers, self.networks(), self.volumes(), images)?;
        let is_shown = |owner: &Ownership| all || owner.is_of_project(&project.project);
        let used = Used::by(&containers, &is_shown);
        let mut unused = used.containers;
        let networks = networks.into_iter().filter(|network| {
            is_shown(&network.owner)
                && !BUILT_IN.contains(&network.name.as_str())
                && !used.networks.contains(&network.id)
        });
        unused.extend(networks.map(|network| Unused {
            kind: Kind::Network,
            id: network.id,
            name: network.name,
            bytes: None,
        }));
        let volumes = volumes
            .into_iter()
            .filter(|volume| is_shown(&volume.owner) && !used.volumes.contains(&volume.name));
        let volumes: Vec<NamedVolume> = volumes.collect();
        let sizes = if volumes.is_empty() {
            HashMap::new()
        } else {
            self.volume_sizes().await?
        };
        unused.extend(volumes.into_iter().map(|volume| Unused {
            kind: Kind::Volume,
            id: volume.name.clone(),
            bytes: sizes.get(&volume.name).copied(),
            name: volume.name,
        }));
        let images = images.into_iter().filter_map(|image| {
            let shown = if is_shown(&owner(image.labels.clone())) {
                image
            } else {
                built_by(&project.project, image)?
            };
            (!used.images.contains(&shown.id)).then_some(shown)
        });
        unused.extend(images.flat_map(unused_image));
        Ok(unused)
    }

    /// The sizes of the volumes, by name, as far as the engine knows them.
    async fn volume_sizes(&self) -> Result<HashMap<String, u64>, Error> {
        // bollard knows the form of the newest version only.
        let answer = self.read("/system/df?type=volume").await;
        let answer = answer.map_err(|error| self.error("measuring volumes", &error))?;
        let json: Json = answer
            .and_then(|answer| serde_json::from_slice(&answer).ok())
            .unwrap_or_default();
        let volumes = json.get("Volumes").or(json.pointer("/VolumeUsage/Items"));
        let volumes = volumes.and_then(Json::as_array).into_iter().flatten();
        // -1 is unknown.
        let sizes = volumes.filter_map(|volume| {
            let size = volume.pointer("/UsageData/Size")?.as_u64()?;
            Some((volume.get("Name")?.as_str()?.to_owned(), size))
        });
        Ok(sizes.collect())
    }

    /// Removes something that nothing uses. Succeeds if it no longer exists; fails if something uses it
    /// by now.
    pub async fn remove_unused(&self, unused: &Unused) -> Result<(), Error> {
        let docker = &self.docker;
        let removed = match unused.kind {
            Kind::Container => {
                // It may run by now.
                let found = Containers::inspect(self, &unused.id).await?;
                if found.is_some_and(|found| found.state.holds_processes()) {
                    return Err(Error::InUse {
                        host: self.host.clone(),
                        what: format!("container `{}`", unused.name),
                    });
                }
                return Containers::remove(self, &unused.id).await;
            }
            Kind::Network => docker.remove_network(&unused.id).await,
            Kind::Volume => {
                let options = None::<RemoveVolumeOptions>;
                docker.remove_volume(&unused.id, options).await
            }
            // By its name, so that another name that it has stays.
            Kind::Image => {
                let options = RemoveImageOptionsBuilder::new().force(false).build();
                let removed = docker.remove_image(&unused.id, Some(options), None).await;
                removed.map(drop)
            }
        };
        match removed {
            Err(error) if !is_missing(&error) => {
                let what = format!("removing {} `{}`", unused.kind, unused.name);
                Err(self.error(what, &error))
            }
            _ => Ok(()),
        }
    }
}

/// An image that this project built, with the names that hitc gives to what it builds. None for another
/// image: what is built from it inherits its labels, not its names.
fn built_by(project: &str, mut image: ImageSummary) -> Option<ImageSummary> {
    let built = image
        .labels
        .get(labels::BUILT)
        .filter(|_| !project.is_empty());
    image.repo_tags.retain(|name| name.starts_with(BUILT_NAME));
    (built? == project && !image.repo_tags.is_empty()).then_some(image)
}

/// An image, by each of its names: it is removed with the last of them.
fn unused_image(image: ImageSummary) -> Vec<Unused> {
    let mut names = image.repo_tags;
    names.retain(|name| name != "<none>:<none>");
    if names.is_empty() {
        let id = image.id.trim_start_matches("sha256:");
        let short = id.get(..12).unwrap_or(id).to_owned();
        return vec![Unused {
            kind: Kind::Image,
            name: short,
            bytes: u64::try_from(image.size).ok(),
            id: image.id,
        }];
    }
    let count = names.len();
    let image_of = |(at, name): (usize, String)| Unused {
        kind: Kind::Image,
        id: name.clone(),
        name,
        bytes: (at + 1 == count).then(|| u64::try_from(image.size).unwrap_or_default()),
    };
    names.into_iter().enumerate().map(image_of).collect()
}

/// What containers use.
#[derive(Default)]
struct Used {
    /// The containers that do not run, and so are unused themselves.
    containers: Vec<Unused>,
    networks: BTreeSet<String>,
    volumes: BTreeSet<String>,
    images: BTreeSet<String>,
}

impl Used {
    /// A container that is removed uses nothing.
    fn by(containers: &[ContainerSummary], is_shown: &dyn Fn(&Ownership) -> bool) -> Self {
        let mut used = Used::default();
        for container in containers {
            let listed = Listed::from(container.clone());
            let is_unused = ["created", "exited", "dead"].contains(&listed.state.as_str());
            if is_unused && is_shown(&listed.owner) {
                used.containers.push(Unused {
                    kind: Kind::Container,
                    id: listed.id,
                    name: listed.name,
                    bytes: container.size_rw.and_then(|size| u64::try_from(size).ok()),
                });
                continue;
            }
            let networks = container.network_settings.as_ref();
            let networks = networks.and_then(|settings| settings.networks.as_ref());
            let networks = networks.into_iter().flatten();
            used.networks
                .extend(networks.filter_map(|(_, network)| network.network_id.clone()));
            let mounts = container.mounts.iter().flatten();
            used.volumes
                .extend(mounts.filter_map(|mount| mount.name.clone()));
            used.images.extend(container.image_id.clone());
        }
        used
    }
}

fn owner(all: HashMap<String, String>) -> Ownership {
    labels::ownership(&all.into_iter().collect::<BTreeMap<_, _>>())
}
