//! The archive of an image, as `docker save` writes it, and the parts of it that a server lacks.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;

use super::blocking;

/// The size of a tar block.
const BLOCK: u64 = 512;
/// The end of an archive: two empty blocks.
const END: [u8; 1024] = [0; 1024];

/// The size of a chunk that is sent, in bytes, and how many are read ahead.
const CHUNK: usize = 256 * 1024;
const AHEAD: usize = 4;

/// `manifest.json` of `docker save`.
#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "Layers")]
    layers: Vec<PathBuf>,
}

/// An image in a file. Several servers can be sent parts of it at the same time.
pub(super) struct Archive {
    file: Arc<File>,
    entries: Vec<Entry>,
    layers: Vec<PathBuf>,
    /// Equal layers are links to the first one.
    has_links: bool,
}

/// An entry with the headers that belong to it, up to the next one.
struct Entry {
    path: PathBuf,
    range: Range<u64>,
}

/// The parts of an archive that are sent to one server.
pub(super) struct Selection {
    file: Arc<File>,
    ranges: Vec<Range<u64>>,
    /// The size of the sent entries, in bytes.
    pub bytes: u64,
}

impl Archive {
    /// Reads the entries of a complete archive.
    pub fn read(file: File) -> io::Result<Self> {
        let file = Arc::new(file);
        let (mut entries, mut layers) = (Vec::new(), Vec::new());
        let (mut has_links, mut end) = (false, 0);
        let reader = Reader {
            file: file.clone(),
            at: 0,
        };
        for entry in tar::Archive::new(reader).entries_with_seek()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            has_links |= entry.header().entry_type().is_symlink();
            let next = entry.raw_file_position() + entry.size().next_multiple_of(BLOCK);
            if path == Path::new("manifest.json") {
                let mut text = String::new();
                entry.read_to_string(&mut text)?;
                let manifests: Vec<Manifest> = serde_json::from_str(&text)?;
                let first = manifests.into_iter().next();
                layers = first.map(|manifest| manifest.layers).unwrap_or_default();
            }
            entries.push(Entry {
                path,
                range: end..next,
            });
            end = next;
        }
        Ok(Archive {
            file,
            entries,
            layers,
            has_links,
        })
    }

    /// Selects everything but the lowest `skip` layers.
    pub fn select(&self, skip: usize) -> Selection {
        // The targets of links must be there.
        let skip = if self.has_links { 0 } else { skip };
        let kept: HashSet<&PathBuf> = self.layers.iter().skip(skip).collect();
        let lowest = self.layers.iter().take(skip);
        let skipped: HashSet<&PathBuf> = lowest.filter(|layer| !kept.contains(layer)).collect();
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for entry in &self.entries {
            if skipped.contains(&entry.path) {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.end == entry.range.start => last.end = entry.range.end,
                _ => ranges.push(entry.range.clone()),
            }
        }
        Selection {
            file: self.file.clone(),
            bytes: ranges.iter().map(|range| range.end - range.start).sum(),
            ranges,
        }
    }
}

impl Selection {
    /// The parts as an archive of their own.
    pub fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let chunks = self.ranges.into_iter().flat_map(|range| {
            let starts = range.clone().step_by(CHUNK);
            starts.map(move |start| start..range.end.min(start + CHUNK as u64))
        });
        let file = self.file;
        let read = stream::iter(chunks).map(move |range| {
            let file = file.clone();
            blocking(move || read(&file, &range))
        });
        let end = stream::iter([Ok(Bytes::from_static(&END))]);
        read.buffered(AHEAD).chain(end)
    }
}

fn read(file: &File, range: &Range<u64>) -> io::Result<Bytes> {
    let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    let mut buffer = BytesMut::zeroed(length);
    file.read_exact_at(&mut buffer, range.start)?;
    Ok(buffer.freeze())
}

/// Reads a file from a position of its own: duplicates of a file share theirs.
struct Reader {
    file: Arc<File>,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(into, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    /// An archive as `docker save` writes it, with three layers.
    fn archive(links: bool) -> Archive {
        let mut file = tempfile::tempfile().unwrap();
        let mut builder = tar::Builder::new(&mut file);
        let mut add = |path: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, content).unwrap();
        };
        // A name that needs a header of its own.
        let long = format!("{}/layer.tar", "a".repeat(200));
        add(&long, &vec![b'a'; 600_000]);
        add("b/layer.tar", b"bb");
        add("c/layer.tar", b"c");
        let manifest = format!(r#"[{{"Layers": ["{long}", "b/layer.tar", "c/layer.tar"]}}]"#);
        add("manifest.json", manifest.as_bytes());
        if links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder
                .append_link(&mut header, "d/layer.tar", "../b/layer.tar")
                .unwrap();
        }
        builder.finish().unwrap();
        drop(builder);
        Archive::read(file).unwrap()
    }

    /// The paths and sizes of what is sent, without the first `skip` layers.
    async fn sent(links: bool, skip: usize) -> Vec<String> {
        let chunks = archive(links).select(skip).stream();
        let bytes: Vec<Bytes> = chunks.try_collect().await.unwrap();
        let mut archive = tar::Archive::new(io::Cursor::new(bytes.concat()));
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let path = entry.path().unwrap().display().to_string();
            format!("{}:{}", &path[..1], content.len())
        });
        entries.collect()
    }

    #[tokio::test]
    async fn layers_that_are_there_are_not_sent() {
        assert_eq!(sent(false, 0).await[..3], ["a:600000", "b:2", "c:1"]);
        assert_eq!(sent(false, 1).await[..2], ["b:2", "c:1"]);
        assert_eq!(sent(false, 2).await[0], "c:1");
        assert_eq!(sent(false, 2).await.len(), 2);
        assert_eq!(sent(true, 2).await.len(), 5, "links need their targets");
    }
}
