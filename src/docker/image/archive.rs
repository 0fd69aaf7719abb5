//! The archive of an image, as `docker save` writes it, without the layers that the server has.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// `manifest.json` of `docker save`.
#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "Layers")]
    layers: Vec<PathBuf>,
}

/// Which entries of an image's archive are sent.
pub(super) struct Selection {
    archive: File,
    skipped: HashSet<PathBuf>,
    /// The size of the sent files, in bytes.
    pub bytes: u64,
}

impl Selection {
    /// Reads the list of layers, and skips the lowest `skip` of them.
    pub fn read(mut archive: File, skip: usize) -> io::Result<Self> {
        archive.seek(SeekFrom::Start(0))?;
        let mut manifest = None;
        let mut links = false;
        let mut sizes = Vec::new();
        for entry in tar::Archive::new(&archive).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            links |= entry.header().entry_type().is_symlink();
            sizes.push((path.clone(), entry.size()));
            if path == Path::new("manifest.json") {
                let mut text = String::new();
                entry.read_to_string(&mut text)?;
                manifest = Some(serde_json::from_str::<Vec<Manifest>>(&text)?);
            }
        }
        let layers = manifest
            .and_then(|manifests| manifests.into_iter().next())
            .map(|manifest| manifest.layers)
            .unwrap_or_default();
        // Equal layers are links to the first one; then all must be there.
        let skip = if links { 0 } else { skip };
        let kept: HashSet<&PathBuf> = layers.iter().skip(skip).collect();
        let skipped: HashSet<PathBuf> = layers
            .iter()
            .take(skip)
            .filter(|layer| !kept.contains(layer))
            .cloned()
            .collect();
        let bytes = sizes
            .iter()
            .filter(|(path, _)| !skipped.contains(path))
            .map(|(_, size)| size)
            .sum();
        Ok(Selection {
            archive,
            skipped,
            bytes,
        })
    }

    /// Writes the archive without the skipped layers.
    pub fn write(mut self, into: impl Write) -> io::Result<()> {
        self.archive.seek(SeekFrom::Start(0))?;
        let mut target = tar::Builder::new(into);
        for entry in tar::Archive::new(&self.archive).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            if self.skipped.contains(&path) {
                continue;
            }
            let mut header = entry.header().clone();
            match entry.link_name()? {
                Some(link) => target.append_link(&mut header, path, link)?,
                None => target.append_data(&mut header, path, &mut entry)?,
            }
        }
        target.into_inner()?.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive as `docker save` writes it, with three layers.
    fn archive(links: bool) -> File {
        let mut file = tempfile::tempfile().unwrap();
        let mut builder = tar::Builder::new(&mut file);
        let mut add = |path: &str, content: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder
                .append_data(&mut header, path, content.as_bytes())
                .unwrap();
        };
        add("a/layer.tar", "aaaa");
        add("b/layer.tar", "bb");
        add("c/layer.tar", "c");
        add(
            "manifest.json",
            r#"[{"Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar"]}]"#,
        );
        if links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder
                .append_link(&mut header, "d/layer.tar", "../a/layer.tar")
                .unwrap();
        }
        builder.finish().unwrap();
        drop(builder);
        file
    }

    fn sent(links: bool, skip: usize) -> Vec<String> {
        let mut bytes = Vec::new();
        let selection = Selection::read(archive(links), skip).unwrap();
        selection.write(&mut bytes).unwrap();
        tar::Archive::new(bytes.as_slice())
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn layers_that_are_there_are_not_sent() {
        assert_eq!(sent(false, 2), ["c/layer.tar", "manifest.json"]);
        assert_eq!(sent(false, 0).len(), 4);
        assert_eq!(sent(true, 2).len(), 5, "links need their targets");
    }
}
