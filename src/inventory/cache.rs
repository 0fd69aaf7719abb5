//! A short-lived cache of provider listings.
//!
//! A cloud takes seconds to list its servers, and most commands only need an address.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::{project::make_private_folder, provider::Node};

/// How long a listing is used.
const FRESH: Duration = Duration::from_mins(1);

/// The cached listings, each in a file.
#[derive(Clone, Debug)]
pub struct NodeCache {
    folder: PathBuf,
}

impl NodeCache {
    /// The cache in this folder.
    pub fn new(folder: PathBuf) -> Self {
        NodeCache { folder }
    }

    /// The listing of a provider with these settings ([`Provider::cache_key`]), if it is fresh.
    ///
    /// [`Provider::cache_key`]: crate::provider::Provider::cache_key
    pub fn get(&self, provider: &str, key: &str) -> Option<Vec<Node>> {
        let path = self.path(provider, key);
        let age = SystemTime::now()
            .duration_since(fs::metadata(&path).ok()?.modified().ok()?)
            .ok()?;
        if age > FRESH {
            return None;
        }
        // Another version may have written the file in another form.
        let nodes: Vec<Node> = serde_json::from_str(&fs::read_to_string(&path).ok()?).ok()?;
        Some(nodes.into_iter().map(Node::of_cloud).collect())
    }

    /// Stores the listing of a provider with these settings.
    pub fn keep(&self, provider: &str, key: &str, nodes: &[Node]) {
        // If that fails, the provider is asked again.
        let _ = make_private_folder(&self.folder).and_then(|()| {
            let text = serde_json::to_string(nodes)?;
            // A temporary file has the mode 0600.
            let file = tempfile::NamedTempFile::new_in(&self.folder)?;
            fs::write(file.path(), text)?;
            file.persist(self.path(provider, key))?;
            Ok(())
        });
    }

    /// The file of a listing. Another prefix, account, endpoint or region has another file.
    fn path(&self, provider: &str, key: &str) -> PathBuf {
        let digest = Sha256::digest(format!("{provider}\0{key}"));
        self.folder.join(HEXLOWER.encode(&digest[..16]))
    }

    /// Removes all listings.
    pub fn flush(&self) {
        // The folder may not exist.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
