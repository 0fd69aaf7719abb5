//! Reads archives of the engine, and verifies that they are complete.

use std::{
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use tar::EntryType;

/// The size of a block of an archive. Its end is two blocks of zeros (POSIX.1, pax).
const BLOCK: u64 = 512;

/// Why an archive could not be read or extracted.
#[derive(Debug)]
pub(super) enum Problem {
    /// The archive ends early.
    Incomplete(String),
    /// It has something that is not extracted, or is not what was sent.
    Refused(String),
    /// The stream or the disk failed.
    Io(io::Error),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Problem::Io(error)
    }
}

/// What a copy consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The number of files, without folders and links.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// An entry of an archive, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path, which has only names. Empty for the folder `.`.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Its permissions.
    pub mode: u32,
    /// The numbers of its user and group, if the archive tells them.
    pub owner: Option<(u64, u64)>,
    /// When it was changed, in seconds since 1970.
    pub modified: u64,
}

/// The kind of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file of this size.
    File(u64),
    Folder,
    /// A symbolic link with this text.
    Symlink(PathBuf),
    /// Another name of the file with this path.
    Link(PathBuf),
}

/// Reads an archive to its end. `each` gets the entries in order, and must read the whole content of
/// files.
pub(super) fn read(
    source: impl Read,
    mut each: impl FnMut(&Entry, &mut dyn Read) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut archive = tar::Archive::new(Watched {
        source,
        total: 0,
        zeros: 0,
        error: None,
    });
    let (mut last, mut end) = (None, 0);
    let result = (|| {
        for entry in archive.entries()? {
            let mut entry = entry?;
            let found = parse(&entry)?;
            end = entry.raw_file_position() + entry.size().next_multiple_of(BLOCK);
            let path = last.insert(found.path.clone());
            let size = entry.size();
            let mut content = Counted {
                source: &mut entry,
                count: 0,
            };
            each(&found, &mut content)?;
            if content.count < size && matches!(found.kind, Kind::File(_)) {
                return Err(Problem::Incomplete(format!(
                    "it ends in `{}`",
                    path.display()
                )));
            }
        }
        Ok(())
    })();
    let mut watched = archive.into_inner();
    // The error of the stream is the cause of what the archive lacks.
    if let Some(error) = watched.error.take() {
        return Err(Problem::Io(error));
    }
    let place = last.map_or_else(
        || "it is empty".to_owned(),
        |path| format!("it ends after `{}`", path.display()),
    );
    match result {
        Ok(()) => {}
        // Nothing else reads the archive: its form is wrong because it was cut.
        Err(Problem::Io(error)) if is_of_archive(&error) => {
            return Err(Problem::Incomplete(place));
        }
        Err(problem) => return Err(problem),
    }
    io::copy(&mut watched, &mut io::sink())?;
    let after = watched.total.saturating_sub(end);
    if watched.total % BLOCK != 0 || after < 2 * BLOCK || watched.zeros < after || end == 0 {
        return Err(Problem::Incomplete(place));
    }
    Ok(())
}

/// Reads an archive in memory.
pub fn read_archive(data: &[u8]) {
    let _ = read(data, |_, content| {
        io::copy(content, &mut io::sink())?;
        Ok(())
    });
}

/// Whether the error is one of the archive's form, which has no number of the system.
fn is_of_archive(error: &io::Error) -> bool {
    error.raw_os_error().is_none()
}

fn parse(entry: &tar::Entry<impl Read>) -> Result<Entry, Problem> {
    let path = entry.path()?;
    let header = entry.header();
    let link = || -> Result<PathBuf, Problem> {
        let link = entry.link_name()?.map(std::borrow::Cow::into_owned);
        link.ok_or_else(|| Problem::Refused(format!("`{}` is a link to nothing", path.display())))
    };
    let kind = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous => Kind::File(entry.size()),
        EntryType::Directory => Kind::Folder,
        EntryType::Symlink => Kind::Symlink(link()?),
        EntryType::Link => Kind::Link(names_only(&link()?)?),
        _ => {
            return Err(Problem::Refused(format!(
                "`{}` is neither a file nor a folder nor a link",
                path.display()
            )));
        }
    };
    Ok(Entry {
        path: names_only(&path)?,
        kind,
        mode: header.mode()? & 0o7777,
        owner: header.uid().ok().zip(header.gid().ok()),
        modified: header.mtime()?,
    })
}

/// A path in an archive as names below its root.
fn names_only(path: &Path) -> Result<PathBuf, Problem> {
    let mut names = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            _ => {
                return Err(Problem::Refused(format!(
                    "the archive has the path `{}`, which leads out of it",
                    path.display()
                )));
            }
        }
    }
    Ok(names)
}

/// Counts what is read, and the zeros at its end.
struct Watched<R> {
    source: R,
    total: u64,
    zeros: u64,
    error: Option<io::Error>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = match self.source.read(into) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let copy = io::Error::new(error.kind(), error.to_string());
                self.error = Some(error);
                return Err(copy);
            }
            result => result?,
        };
        let new = into.get(..count).unwrap_or_default();
        let zeros = new.iter().rev().take_while(|byte| **byte == 0).count();
        self.total += count as u64;
        self.zeros = if zeros == count {
            self.zeros + zeros as u64
        } else {
            zeros as u64
        };
        Ok(count)
    }
}

/// Counts what is read.
struct Counted<'a, R> {
    source: &'a mut R,
    count: u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(into)?;
        self.count += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two files, of which the last is only zeros, and the end of the archive.
    fn archive() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in [("a/b", vec![1; 700]), ("a/zeros", vec![0; 4096])] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o640);
            builder
                .append_data(&mut header, path, content.as_slice())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn sum(bytes: &[u8]) -> Result<u64, Problem> {
        let mut sum = 0;
        read(bytes, |_, content| {
            sum += io::copy(content, &mut io::sink())?;
            Ok(())
        })?;
        Ok(sum)
    }

    #[test]
    fn every_cut_is_noticed() {
        let whole = archive();
        assert_eq!(sum(&whole).unwrap(), 4796);
        for length in 0..whole.len() {
            let result = sum(&whole[..length]);
            assert!(
                matches!(result, Err(Problem::Incomplete(_))),
                "{length} bytes: {result:?}"
            );
        }
    }

    #[test]
    fn paths_stay_in_the_archive() {
        for path in ["/etc/passwd", "../x", "a/../../x"] {
            let mut header = tar::Header::new_gnu();
            let name = &mut header.as_old_mut().name;
            name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_size(0);
            header.set_mode(0o644);
            header.set_cksum();
            let mut builder = tar::Builder::new(Vec::new());
            builder.append(&header, io::empty()).unwrap();
            let result = sum(&builder.into_inner().unwrap());
            assert!(
                matches!(result, Err(Problem::Refused(_))),
                "{path}: {result:?}"
            );
        }
    }

    #[test]
    fn the_error_of_the_stream_is_the_cause() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("connection lost"))
            }
        }
        let whole = archive();
        let result = read(whole[..900].chain(Broken), |_, content| {
            io::copy(content, &mut io::sink())?;
            Ok(())
        });
        match result {
            Err(Problem::Io(error)) => assert_eq!(error.to_string(), "connection lost"),
            other => panic!("{other:?}"),
        }
    }
}
