//! Copies into a container, reads it back, and compares.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use bollard::{body_try_stream, query_parameters::UploadToContainerOptionsBuilder};
use sha2::{Digest, Sha256};
use tokio_util::io::ReaderStream;

use super::{
    archive::{self, Entry, Kind, Problem, Tally},
    download::below,
    place::Place,
    split,
};
use crate::docker::{
    Engine, Error,
    api_error::{cause, is_missing},
};

/// The size of a chunk that is sent, in bytes.
const CHUNK: usize = 256 * 1024;

/// What was sent, by its path below the top.
pub(super) type Sent = BTreeMap<PathBuf, Item>;

/// A file, folder or link that is sent, or was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Folder {
        mode: u32,
    },
    File {
        mode: u32,
        digest: [u8; 32],
        size: u64,
    },
    Link(PathBuf),
}

impl Engine {
    /// Copies a local file or folder into the container with exactly this name. A path that is a
    /// folder there, or ends with a slash, gets it under its own name.
    pub(super) async fn upload(
        &self,
        from: PathBuf,
        container: &str,
        to: &str,
    ) -> Result<Tally, Error> {
        let what = format!("copying `{}` to container `{container}`", from.display());
        let fail = |problem: Problem| self.copy_failed(&what, problem);
        let found = self.named(container).await?;
        let own = from.file_name().and_then(|name| name.to_str());
        let (folder, name) = self.target(&found.id, to, own).await.map_err(&fail)?;
        let top = name.clone();
        let packed = tokio::task::spawn_blocking(move || pack(&from, &top));
        let packed = packed
            .await
            .map_err(|error| fail(io::Error::other(error).into()))?;
        let (file, sent) = packed.map_err(&fail)?;
        let path = format!("{}/{name}", folder.trim_end_matches('/'));
        let written = self.write_archive(&found.id, &folder, file, &sent, &path);
        written.await.map_err(&fail)?;
        Ok(tally(&sent))
    }

    /// The folder in the container, and the name in it.
    async fn target(
        &self,
        id: &str,
        to: &str,
        own: Option<&str>,
    ) -> Result<(String, String), Problem> {
        let (path, found) = self.resolve(id, to).await?;
        if found == Some(Place::Folder) || to.ends_with('/') {
            let own = own.ok_or_else(|| Problem::Refused("it has no name".to_owned()))?;
            return Ok((path, own.to_owned()));
        }
        let split = split(&path).map(|(folder, name)| (folder.to_owned(), name.to_owned()));
        split.ok_or_else(|| Problem::Refused(format!("invalid path `{to}`")))
    }

    /// Writes an archive below a folder of a container, and reads back what is at `path`.
    pub(super) async fn write_archive(
        &self,
        id: &str,
        folder: &str,
        archive: File,
        sent: &Sent,
        path: &str,
    ) -> Result<(), Problem> {
        self.check_place(id, path).await?;
        let options = UploadToContainerOptionsBuilder::new()
            .path(folder)
            .no_overwrite_dir_non_dir("true")
            .build();
        let file = tokio::fs::File::from_std(archive);
        let body = body_try_stream(ReaderStream::with_capacity(file, CHUNK));
        let written = self.docker.upload_to_container(id, Some(options), body);
        written.await.map_err(|error| {
            Problem::Refused(if is_missing(&error) {
                format!("`{folder}` is no folder in the container")
            } else {
                cause(&error)
            })
        })?;
        let back = self.read_archive(id, path, |entries| read_back(entries));
        compare(sent, &back.await?).map_err(Problem::Incomplete)
    }
}

/// Writes a file or folder to an archive, under this name, and returns what it consists of.
fn pack(from: &Path, name: &str) -> Result<(File, Sent), Problem> {
    let mut sent = Sent::new();
    let mut builder = tar::Builder::new(tempfile::tempfile()?);
    builder.follow_symlinks(false);
    add(
        &mut builder,
        from,
        Path::new(name),
        Path::new(""),
        &mut sent,
    )?;
    let mut file = builder.into_inner()?;
    file.seek(SeekFrom::Start(0))?;
    Ok((file, sent))
}

/// Adds a path, and what is below it. `inner` is the path below the top.
fn add(
    builder: &mut tar::Builder<File>,
    from: &Path,
    name: &Path,
    inner: &Path,
    sent: &mut Sent,
) -> Result<(), Problem> {
    let of_path = |error: io::Error| {
        let cause = crate::core::diagnostic::plain(error);
        Problem::Refused(format!("`{}`: {cause}", from.display()))
    };
    let found = fs::symlink_metadata(from).map_err(of_path)?;
    let mode = found.permissions().mode() & 0o7777;
    // As `docker cp`: files belong to root in the container.
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(found.mtime()).unwrap_or_default());
    header.set_size(0);
    if found.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        builder.append_data(&mut header, name, io::empty())?;
        sent.insert(inner.to_owned(), Item::Folder { mode });
        let entries = fs::read_dir(from).map_err(of_path)?;
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(of_path)?.file_name());
        }
        names.sort();
        for child in names {
            let (name, inner) = (name.join(&child), inner.join(&child));
            add(builder, &from.join(&child), &name, &inner, sent)?;
        }
    } else if found.is_symlink() {
        let to = fs::read_link(from).map_err(of_path)?;
        header.set_entry_type(tar::EntryType::Symlink);
        builder.append_link(&mut header, name, &to)?;
        sent.insert(inner.to_owned(), Item::Link(to));
    } else if found.is_file() {
        let file = File::open(from).map_err(of_path)?;
        let size = file.metadata().map_err(of_path)?.len();
        header.set_size(size);
        let mut content = Hashed::new((&file).take(size));
        builder.append_data(&mut header, name, &mut content)?;
        let now = file.metadata().map_err(of_path)?.len();
        if content.count != size || now != size {
            let text = format!("`{}` changed while it was read", from.display());
            return Err(Problem::Refused(text));
        }
        let digest = content.digest();
        sent.insert(inner.to_owned(), Item::File { mode, digest, size });
    } else {
        let text = format!(
            "`{}` is neither a file nor a folder nor a link",
            from.display()
        );
        return Err(Problem::Refused(text));
    }
    Ok(())
}

/// Reads the archive of what was written.
fn read_back(entries: &mut dyn Read) -> Result<Sent, Problem> {
    let mut back = Sent::new();
    archive::read(entries, |entry: &Entry, content| {
        let path = below(entry);
        let mode = entry.mode;
        let item = match &entry.kind {
            Kind::Folder => Item::Folder { mode },
            Kind::Symlink(to) => Item::Link(to.clone()),
            Kind::File(size) => {
                let mut content = Hashed::new(content);
                io::copy(&mut content, &mut io::sink())?;
                Item::File {
                    mode,
                    digest: content.digest(),
                    size: *size,
                }
            }
            // Another name of a file that was there before.
            Kind::Link(to) => {
                let to: PathBuf = to.components().skip(1).collect();
                match back.get(&to) {
                    Some(item) => item.clone(),
                    None => return Ok(()),
                }
            }
        };
        back.insert(path, item);
        Ok(())
    })?;
    Ok(back)
}

/// Compares what was sent with what was read back, which may have more: a folder is merged.
fn compare(sent: &Sent, back: &Sent) -> Result<(), String> {
    for (path, item) in sent {
        let name = if path.as_os_str().is_empty() {
            "it".to_owned()
        } else {
            format!("`{}`", path.display())
        };
        let differs = match (item, back.get(path)) {
            (_, None) => "is missing".to_owned(),
            (item, Some(found)) if item == found => continue,
            (
                Item::File { size, digest, .. },
                Some(Item::File {
                    size: other,
                    digest: hash,
                    ..
                }),
            ) => {
                if size != other {
                    format!("has {other} bytes instead of {size}")
                } else if digest != hash {
                    "has another content".to_owned()
                } else {
                    "has other permissions".to_owned()
                }
            }
            (Item::Folder { .. }, Some(Item::Folder { .. })) => "has other permissions".to_owned(),
            (Item::Link(_), Some(Item::Link(_))) => "is a link to something else".to_owned(),
            _ => "is of another kind".to_owned(),
        };
        return Err(format!("{name} {differs} in the container"));
    }
    Ok(())
}

fn tally(sent: &Sent) -> Tally {
    let mut tally = Tally::default();
    for item in sent.values() {
        if let Item::File { size, .. } = item {
            tally.files += 1;
            tally.bytes += size;
        }
    }
    tally
}

/// Hashes what is read.
pub(super) struct Hashed<R> {
    source: R,
    hash: Sha256,
    pub count: u64,
}

impl<R> Hashed<R> {
    pub fn new(source: R) -> Self {
        Hashed {
            source,
            hash: Sha256::new(),
            count: 0,
        }
    }

    pub fn digest(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(into)?;
        self.hash.update(into.get(..count).unwrap_or_default());
        self.count += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_reads_back_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        fs::create_dir_all(top.join("empty")).unwrap();
        let long = "long".repeat(60);
        for name in ["a b", "new\nline", "quote'\"$(x)", "grün", &long] {
            fs::write(top.join(name), name).unwrap();
        }
        fs::set_permissions(top.join("a b"), fs::Permissions::from_mode(0o4711)).unwrap();
        std::os::unix::fs::symlink("a b", top.join("link")).unwrap();
        let (mut file, sent) = pack(&top, "renamed").unwrap();
        assert_eq!(sent.len(), 8);
        let back = read_back(&mut file).unwrap();
        assert_eq!(compare(&sent, &back), Ok(()));
        assert_eq!(back, sent);
    }

    #[test]
    fn differences_are_named() {
        let file = |mode, digest, size| Item::File {
            mode,
            digest: [digest; 32],
            size,
        };
        let sent = Sent::from([(PathBuf::from("a"), file(0o644, 1, 5))]);
        let differs = |item: Option<Item>| {
            let back: Sent = item
                .map(|item| (PathBuf::from("a"), item))
                .into_iter()
                .collect();
            compare(&sent, &back).unwrap_err()
        };
        assert_eq!(differs(None), "`a` is missing in the container");
        let shorter = differs(Some(file(0o644, 1, 3)));
        assert_eq!(shorter, "`a` has 3 bytes instead of 5 in the container");
        let other = differs(Some(file(0o644, 2, 5)));
        assert_eq!(other, "`a` has another content in the container");
        let mode = differs(Some(file(0o600, 1, 5)));
        assert_eq!(mode, "`a` has other permissions in the container");
        let kind = differs(Some(Item::Folder { mode: 0o755 }));
        assert_eq!(kind, "`a` is of another kind in the container");
    }
}
