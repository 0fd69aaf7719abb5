//! What is at a path of a container, and whether the engine can write there.

use bollard::{
    models::ContainerInspectResponse, query_parameters::ContainerArchiveInfoOptionsBuilder,
};

use super::{archive::Problem, split};
use crate::docker::{
    Engine,
    api_error::{cause, is_missing},
};

/// How many symbolic links are followed. The kernel follows 40 (path_resolution(7)).
const LINKS: usize = 40;

/// Bits of Go's `FileMode`, which the engine reports.
const FOLDER: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;

/// The file systems of the kernel in every container.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Folder,
    /// A file, or something that is neither a folder nor a link.
    Other,
}

impl Engine {
    /// Follows links to the last one of a path. Returns the path without links, and
    /// what is at it.
    pub(super) async fn resolve(
        &self,
        id: &str,
        path: &str,
    ) -> Result<(String, Option<Place>), Problem> {
        let mut at = path.to_owned();
        for _ in 0..LINKS {
            let options = ContainerArchiveInfoOptionsBuilder::new().path(&at).build();
            let found = self.docker.get_container_archive_info(id, Some(options));
            let found = match found.await {
                Ok(found) => found,
                Err(error) if is_missing(&error) => return Ok((at, None)),
                Err(error) => return Err(Problem::Refused(cause(&error))),
            };
            if found.file_mode & SYMLINK == 0 {
                let is_folder = found.file_mode & FOLDER != 0;
                let place = if is_folder {
                    Place::Folder
                } else {
                    Place::Other
                };
                return Ok((at, Some(place)));
            }
            at = if found.link_target.starts_with('/') {
                found.link_target
            } else {
                let (folder, _) = split(&at).unwrap_or(("/", ""));
                format!("{}/{}", folder.trim_end_matches('/'), found.link_target)
            };
        }
        Err(Problem::Refused(format!("too many links at `{path}`")))
    }

    /// Fails if the container would not see what the engine writes at a path: the engine writes to the
    /// file systems on its disk, and a file system in memory hides them.
    pub(super) async fn check_place(&self, id: &str, path: &str) -> Result<(), Problem> {
        let inspected = self.inspected(id).await;
        let inspected = inspected.map_err(|error| Problem::Refused(cause(&error)))?;
        match hidden_by(&inspected, path) {
            Some(mount) => Err(Problem::Refused(format!(
                "the engine cannot write below `{mount}`, a file system in memory"
            ))),
            None => Ok(()),
        }
    }
}

/// The file system in memory that has a path, if one does.
fn hidden_by(container: &ContainerInspectResponse, path: &str) -> Option<String> {
    let mut mounts: Vec<(String, bool)> = KERNEL.map(|path| (path.to_owned(), true)).to_vec();
    let config = container.host_config.as_ref();
    let tmpfs = config.and_then(|config| config.tmpfs.as_ref());
    mounts.extend(
        tmpfs
            .into_iter()
            .flatten()
            .map(|(at, _)| (at.clone(), true)),
    );
    for mount in container.mounts.iter().flatten() {
        if let Some(at) = &mount.destination {
            mounts.push((at.clone(), mount.typ.as_deref() == Some("tmpfs")));
        }
    }
    let is_below = |at: &str| {
        let rest = path.strip_prefix(at.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mounts = mounts.into_iter().filter(|(at, _)| is_below(at));
    let (at, is_memory) = mounts.max_by_key(|(at, _)| at.trim_end_matches('/').len())?;
    is_memory.then_some(at)
}

#[cfg(test)]
mod tests {
    use bollard::models::{HostConfig, MountPoint};

    use super::*;

    #[test]
    fn places_in_memory() {
        let volume = MountPoint {
            typ: Some("volume".to_owned()),
            destination: Some("/cache/kept".to_owned()),
            ..MountPoint::default()
        };
        let container = ContainerInspectResponse {
            host_config: Some(HostConfig {
                tmpfs: Some([("/cache/".to_owned(), String::new())].into()),
                ..HostConfig::default()
            }),
            mounts: Some(vec![volume]),
            ..ContainerInspectResponse::default()
        };
        for path in ["/cache", "/cache/a", "/proc/x", "/dev/shm/y"] {
            assert!(hidden_by(&container, path).is_some(), "{path}");
        }
        for path in ["/cached", "/cache/kept/a", "/srv", "/process"] {
            assert_eq!(hidden_by(&container, path), None, "{path}");
        }
    }
}
