//! The host key of a local server, read through the engine, which cannot be impersonated.
//!
//! Reading it takes the engine 40 ms, so it is remembered by the container's id for a day.

use std::{
    fs, io,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::{
    errors::Error as BollardError, query_parameters::DownloadFromContainerOptionsBuilder,
};
use futures_util::TryStreamExt;
use tokio::time::{Instant, sleep};

use super::{failed, refusal};
use crate::{
    docker::Engine,
    project::make_private_folder,
    provider::{Error, Node},
    ssh::PublicKey,
};

const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key.pub";

/// How long a server may take to generate its host key, at its first boot.
const BOOT_TIMEOUT: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_millis(30);

/// How long a key is remembered. An administrator may generate a new one by hand.
const MEMORY: Duration = Duration::from_hours(24);

/// The host keys that were read in the last day: a file for each container.
pub(super) struct HostKeys {
    folder: PathBuf,
}

impl HostKeys {
    /// The keys below hitc's data folder.
    pub fn new(data: &Path) -> Self {
        HostKeys {
            folder: data.join("local_host_keys"),
        }
    }

    /// The remembered key of a server.
    pub fn get(&self, node: &Node) -> Option<PublicKey> {
        let path = self.path(node);
        if is_old(&path) {
            return None;
        }
        PublicKey::from_openssh(fs::read_to_string(path).ok()?.trim()).ok()
    }

    /// Remembers the key of a server.
    pub fn keep(&self, node: &Node, key: &PublicKey) {
        // If that fails, it is read again next time.
        let _ = self.write(node, key);
    }

    fn write(&self, node: &Node, key: &PublicKey) -> io::Result<()> {
        make_private_folder(&self.folder)?;
        // Servers that were terminated elsewhere leave their files behind.
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if is_old(&path) {
                fs::remove_file(path)?;
            }
        }
        // A temporary file has the mode 0600.
        let file = tempfile::NamedTempFile::new_in(&self.folder)?;
        let text = key.to_openssh().map_err(io::Error::other)?;
        fs::write(file.path(), text)?;
        file.persist(self.path(node))?;
        Ok(())
    }

    /// Forgets the key of a server that reboots or is terminated.
    pub fn forget(&self, node: &Node) {
        // There may be none.
        let _ = fs::remove_file(self.path(node));
    }

    fn path(&self, node: &Node) -> PathBuf {
        self.folder.join(&node.id)
    }
}

/// Whether a key was read too long ago.
fn is_old(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|time| time.elapsed().ok());
    age.is_none_or(|age| age > MEMORY)
}

/// Reads a server's host key. Waits for a server that has not generated it yet.
pub(super) async fn host_key(engine: &Engine, node: &Node) -> Result<PublicKey, Error> {
    let what = format!("reading the host key of `{}`", node.name);
    let end = Instant::now() + BOOT_TIMEOUT;
    loop {
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(HOST_KEY)
            .build();
        let archive: Result<Vec<_>, _> = engine
            .api()
            .download_from_container(&node.id, Some(options))
            .try_collect()
            .await;
        match archive {
            Ok(chunks) => {
                if let Some(key) = read_key(&chunks.concat()) {
                    return Ok(key);
                }
            }
            Err(BollardError::DockerResponseServerError {
                status_code: 404, ..
            }) => {}
            Err(error) => return Err(refusal(&what, &error)),
        }
        if Instant::now() >= end {
            return Err(failed(&what, "it has no host key; is it running?"));
        }
        sleep(RETRY).await;
    }
}

/// The key in an archive of one file. None if the file is not complete yet.
fn read_key(archive: &[u8]) -> Option<PublicKey> {
    let mut archive = tar::Archive::new(archive);
    let mut text = String::new();
    let mut file = archive.entries().ok()?.next()?.ok()?;
    file.read_to_string(&mut text).ok()?;
    PublicKey::from_openssh(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{core::owner::Ownership, provider::NodeState};

    #[test]
    fn keys_are_remembered_for_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let keys = HostKeys::new(folder.path());
        let node = Node {
            provider: "local".to_owned(),
            name: "web".to_owned(),
            id: "0123456789ab".to_owned(),
            size: String::new(),
            image: String::new(),
            region: String::new(),
            ip: None,
            internal_ip: None,
            state: NodeState::Running,
            created: None,
            owner: Ownership::Foreign,
            user: None,
            is_protected: false,
            container: None,
        };
        let text =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
        let key = PublicKey::from_openssh(text).unwrap();
        assert_eq!(keys.get(&node), None);
        keys.keep(&node, &key);
        assert_eq!(keys.get(&node), Some(key.clone()));
        let path = folder.path().join("local_host_keys/0123456789ab");
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        // An old one is not used, and removed with the next one.
        let old = std::time::SystemTime::now() - 2 * MEMORY;
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(old).unwrap();
        assert_eq!(keys.get(&node), None);
        let other = Node {
            id: "ba9876543210".to_owned(),
            ..node.clone()
        };
        keys.keep(&other, &key);
        assert!(!path.exists());
        keys.forget(&other);
        assert_eq!(keys.get(&other), None);
    }
}
