//! What providers said a moment ago. A convenience: what a cloud takes seconds to list is not asked
//! for again by every command that only wants to know an address.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{
    project::make_private_folder,
    provider::{Node, NodeState},
};

/// After this long it is asked for again.
const FRESH: Duration = Duration::from_mins(1);

/// The servers of providers that are far away, in files of their own.
#[derive(Clone, Debug)]
pub struct NodeCache {
    folder: PathBuf,
}

/// A server as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    id: String,
    size: String,
    image: String,
    region: String,
    ip: String,
    internal_ip: String,
    state: NodeState,
    created: Option<String>,
    manifest: Option<String>,
    is_protected: bool,
}

impl NodeCache {
    /// What is kept in this folder.
    pub fn new(folder: PathBuf) -> Self {
        NodeCache { folder }
    }

    /// What a provider said, if that was a moment ago.
    pub fn get(&self, provider: &str) -> Option<Vec<Node>> {
        let path = self.folder.join(provider);
        let age = SystemTime::now()
            .duration_since(fs::metadata(&path).ok()?.modified().ok()?)
            .ok()?;
        if age > FRESH {
            return None;
        }
        // A file of another version is as good as none.
        let kept: Vec<Kept> = serde_json::from_str(&fs::read_to_string(&path).ok()?).ok()?;
        let node = |kept: Kept| Node {
            provider: provider.to_owned(),
            name: kept.name,
            id: kept.id,
            size: kept.size,
            image: kept.image,
            region: kept.region,
            ip: kept.ip,
            internal_ip: kept.internal_ip,
            state: kept.state,
            created: kept.created.and_then(|text| text.parse().ok()),
            manifest: kept.manifest,
            is_protected: kept.is_protected,
        };
        Some(kept.into_iter().map(node).collect())
    }

    /// Keeps what a provider said.
    pub fn keep(&self, provider: &str, nodes: &[Node]) {
        let kept = |node: &Node| Kept {
            name: node.name.clone(),
            id: node.id.clone(),
            size: node.size.clone(),
            image: node.image.clone(),
            region: node.region.clone(),
            ip: node.ip.clone(),
            internal_ip: node.internal_ip.clone(),
            state: node.state,
            created: node.created.map(|time| time.to_string()),
            manifest: node.manifest.clone(),
            is_protected: node.is_protected,
        };
        let kept: Vec<Kept> = nodes.iter().map(kept).collect();
        // Without it, the provider is asked again.
        let _ = make_private_folder(&self.folder).and_then(|()| {
            let text = serde_json::to_string(&kept)?;
            let file = tempfile::NamedTempFile::new_in(&self.folder)?;
            fs::write(file.path(), text)?;
            file.persist(self.folder.join(provider))?;
            Ok(())
        });
    }

    /// Forgets everything.
    pub fn flush(&self) {
        // There may be nothing.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
