//! Files of a container without a shell, by the engine's archive API: what uploads and downloads
//! need.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use tar::EntryType;

use super::{
    archive::{self, Entry, Kind, Problem},
    download::below,
    place::Place,
    split,
    upload::{Hashed, Item, Sent},
};
use crate::{
    docker::{Engine, Error},
    machine::{LocalContent, LocalFile, RawContent},
};

/// The mode of folders that are created.
const FOLDER_MODE: u32 = 0o755;

/// The numbers of a user and a group.
pub(in crate::docker) type Owner = (u64, u64);

/// How files are written.
pub(in crate::docker) struct Written {
    /// The mode; by default that of the file.
    pub mode: Option<u32>,
    /// The mode of a file that does not exist yet.
    pub new_mode: u32,
    /// Whether other users lose their permissions for a file that exists.
    pub is_private: bool,
    /// The user, and the group.
    pub owner: Option<(u64, Option<u64>)>,
    /// Creates missing parent folders.
    pub folders: bool,
}

impl Written {
    fn owner(&self, before: Option<Owner>) -> Owner {
        let (user, group) = before.unwrap_or_default();
        match self.owner {
            Some((user, own_group)) => (user, own_group.unwrap_or(group)),
            None => (user, group),
        }
    }
}

/// An archive that is being written, and what it consists of, by the path below `top`.
struct Archive {
    builder: tar::Builder<File>,
    sent: Sent,
    top: PathBuf,
}

impl Archive {
    fn new(top: PathBuf) -> io::Result<Self> {
        Ok(Archive {
            builder: tar::Builder::new(tempfile::tempfile()?),
            sent: Sent::new(),
            top,
        })
    }

    /// Adds something at a path below the folder to which the archive is written.
    fn add(
        &mut self,
        path: &Path,
        kind: EntryType,
        mode: u32,
        owner: Owner,
        size: u64,
        content: impl Read,
    ) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        let now = jiff::Timestamp::now().as_second();
        header.set_mtime(u64::try_from(now).unwrap_or_default());
        header.set_size(size);
        let mut content = Hashed::new(content.take(size));
        self.builder.append_data(&mut header, path, &mut content)?;
        if content.count != size {
            let text = format!("`{}` changed while it was read", path.display());
            return Err(io::Error::other(text));
        }
        // Missing parents of the top are not read back.
        let Ok(inner) = path.strip_prefix(&self.top) else {
            return Ok(());
        };
        let item = match kind {
            EntryType::Directory => Item::Folder { mode },
            _ => Item::File {
                mode,
                digest: content.digest(),
                size,
            },
        };
        self.sent.insert(inner.to_owned(), item);
        Ok(())
    }

    fn add_folder(&mut self, path: &Path) -> io::Result<()> {
        self.add(
            path,
            EntryType::Directory,
            FOLDER_MODE,
            (0, 0),
            0,
            io::empty(),
        )
    }

    fn finish(self) -> io::Result<(File, Sent)> {
        let mut file = self.builder.into_inner()?;
        file.seek(SeekFrom::Start(0))?;
        Ok((file, self.sent))
    }
}

impl Engine {
    /// Reads a file or folder of a container; links to it are followed.
    pub(in crate::docker) async fn read_raw(
        &self,
        id: &str,
        path: &str,
    ) -> Result<RawContent, Error> {
        let what = format!("reading `{path}`");
        let fail = |problem: Problem| self.copy_failed(&what, problem);
        let (path, found) = self.resolve(id, path).await.map_err(&fail)?;
        let Some(place) = found else {
            return Ok(RawContent::Missing);
        };
        let read = self.read_archive(id, &path, move |entries| match place {
            Place::Folder => read_folder(entries),
            Place::Other => read_file(entries),
        });
        read.await.map_err(&fail)
    }

    /// Writes one file. An existing file keeps its owner and mode.
    pub(in crate::docker) async fn write_raw_file(
        &self,
        id: &str,
        path: &str,
        content: LocalContent,
        written: &Written,
    ) -> Result<(), Error> {
        let what = format!("writing `{path}`");
        let fail = |problem: Problem| self.copy_failed(&what, problem);
        let writing = async {
            let (path, found) = self.resolve(id, path).await?;
            let before = match found {
                Some(Place::Folder) => {
                    return Err(Problem::Refused(format!("`{path}` is a folder")));
                }
                Some(Place::Other) => Some(self.entry(id, &path).await?),
                None => None,
            };
            let (folder, missing, name) = self.below(id, &path, written).await?;
            let top = missing.join(name);
            let mut archive = Archive::new(top.clone())?;
            add_parents(&mut archive, &missing)?;
            let mode = before.as_ref().map_or(written.new_mode, |entry| entry.mode);
            let mode = if written.is_private {
                mode & !0o007
            } else {
                mode
            };
            let mode = written.mode.unwrap_or(mode);
            let unknown = || Problem::Incomplete("it does not tell the owner".to_owned());
            let owner = before.map(|entry| entry.owner.ok_or_else(unknown));
            let owner = written.owner(owner.transpose()?);
            let kind = EntryType::Regular;
            match content {
                LocalContent::Bytes(bytes) => {
                    archive.add(&top, kind, mode, owner, bytes.len() as u64, bytes.as_ref())?;
                }
                LocalContent::File(from) => {
                    let file = File::open(from)?;
                    let size = file.metadata()?.len();
                    archive.add(&top, kind, mode, owner, size, file)?;
                }
            }
            let (archive, sent) = archive.finish()?;
            self.write_archive(id, &folder, archive, &sent, &path).await
        };
        writing.await.map_err(fail)
    }

    /// Writes files below a folder.
    pub(in crate::docker) async fn write_raw_folder(
        &self,
        id: &str,
        path: &str,
        files: Vec<LocalFile>,
        written: &Written,
    ) -> Result<(), Error> {
        let what = format!("writing `{path}`");
        let fail = |problem: Problem| self.copy_failed(&what, problem);
        let writing = async {
            let (path, found) = self.resolve(id, path).await?;
            if found == Some(Place::Other) {
                return Err(Problem::Refused(format!("`{path}` is no folder")));
            }
            let (folder, missing, name) = self.below(id, &path, written).await?;
            let top = missing.join(name);
            let mut archive = Archive::new(top.clone())?;
            add_parents(&mut archive, &missing)?;
            if found.is_none() {
                archive.add_folder(&top)?;
            }
            let mut folders = std::collections::BTreeSet::new();
            for file in &files {
                let parents = file.path.ancestors().skip(1);
                folders.extend(parents.filter(|path| !path.as_os_str().is_empty()));
            }
            for inner in folders {
                let full = format!("{path}/{}", inner.display());
                match self.resolve(id, &full).await? {
                    (_, None) => archive.add_folder(&top.join(inner))?,
                    (at, Some(Place::Folder)) if at == full => {}
                    (at, _) => {
                        let text = format!("`{full}` is no folder, or a link to `{at}`");
                        return Err(Problem::Refused(text));
                    }
                }
            }
            for file in &files {
                let from = File::open(&file.from)?;
                let size = from.metadata()?.len();
                let mode = written.mode.unwrap_or(file.mode);
                let owner = written.owner(None);
                let path = top.join(&file.path);
                archive.add(&path, EntryType::Regular, mode, owner, size, from)?;
            }
            let (archive, sent) = archive.finish()?;
            self.write_archive(id, &folder, archive, &sent, &path).await
        };
        writing.await.map_err(fail)
    }

    /// Splits a path into a folder that exists, the folders below it that do not, and the name.
    async fn below(
        &self,
        id: &str,
        path: &str,
        written: &Written,
    ) -> Result<(String, PathBuf, String), Problem> {
        let invalid = || Problem::Refused(format!("invalid path `{path}`"));
        let (parent, name) = split(path).ok_or_else(invalid)?;
        let (mut folder, mut missing) = (parent.to_owned(), PathBuf::new());
        loop {
            match self.resolve(id, &folder).await? {
                (at, Some(Place::Folder)) => return Ok((at, missing, name.to_owned())),
                (at, Some(Place::Other)) => {
                    return Err(Problem::Refused(format!("`{at}` is no folder")));
                }
                (_, None) if !written.folders => {
                    let text = format!("folder `{parent}` does not exist in the container");
                    return Err(Problem::Refused(text));
                }
                (_, None) => {
                    let (above, name) = split(&folder).ok_or_else(invalid)?;
                    missing = Path::new(name).join(missing);
                    folder = above.to_owned();
                }
            }
        }
    }

    /// The mode and owner of a file.
    async fn entry(&self, id: &str, path: &str) -> Result<Entry, Problem> {
        let read = self.read_archive(id, path, |entries| {
            let mut found = None;
            archive::read(entries, |entry, content| {
                io::copy(content, &mut io::sink())?;
                found.get_or_insert_with(|| entry.clone());
                Ok(())
            })?;
            found.ok_or_else(|| Problem::Incomplete("it is empty".to_owned()))
        });
        read.await
    }
}

fn add_parents(archive: &mut Archive, missing: &Path) -> io::Result<()> {
    let mut folder = PathBuf::new();
    for name in missing {
        folder.push(name);
        archive.add_folder(&folder)?;
    }
    Ok(())
}

fn read_file(entries: &mut dyn Read) -> Result<RawContent, Problem> {
    let (mut file, mut mode) = (tempfile::tempfile()?, 0);
    archive::read(entries, |entry, content| match entry.kind {
        Kind::File(_) => {
            mode = entry.mode;
            Ok(io::copy(content, &mut file).map(drop)?)
        }
        _ => Err(Problem::Refused(
            "it is neither a file nor a folder".to_owned(),
        )),
    })?;
    file.seek(SeekFrom::Start(0))?;
    Ok(RawContent::File {
        content: file,
        mode,
    })
}

/// Writes the files of an archive to another one, by their paths below the folder.
fn read_folder(entries: &mut dyn Read) -> Result<RawContent, Problem> {
    let mut builder = tar::Builder::new(io::BufWriter::new(tempfile::tempfile()?));
    let mut links = Vec::new();
    archive::read(entries, |entry, content| {
        let path = below(entry);
        match entry.kind {
            Kind::Folder => {}
            Kind::File(size) => {
                let mut header = tar::Header::new_gnu();
                header.set_mode(entry.mode);
                header.set_mtime(entry.modified);
                header.set_size(size);
                builder.append_data(&mut header, path, content)?;
            }
            Kind::Symlink(_) | Kind::Link(_) => links.push(path),
        }
        Ok(())
    })?;
    let mut archive = builder.into_inner()?;
    archive.flush()?;
    let mut archive = archive
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    archive.seek(SeekFrom::Start(0))?;
    Ok(RawContent::Folder { archive, links })
}
