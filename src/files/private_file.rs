//! Files that are being received: until a file is complete, only the user can read it, and nothing is
//! written through a link.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use rustix::{fs::OFlags, process::geteuid};

/// The mode of a file that is not complete.
const PRIVATE: u32 = 0o600;
/// The permissions that are kept. A program of a server must not get those of its new owner here.
const KEPT: u32 = 0o777;

/// A file that gets its name and its mode when it is complete.
pub(super) struct PrivateFile {
    file: File,
    path: PathBuf,
    to: PathBuf,
    is_kept: bool,
}

impl PrivateFile {
    /// A new file, which is removed if it is not completed. Creates the folder of the path `to`.
    pub fn create(to: &Path) -> io::Result<Self> {
        let folder = parent(to);
        fs::create_dir_all(folder)?;
        let file = tempfile::Builder::new()
            .prefix(".hitc-")
            .permissions(Permissions::from_mode(PRIVATE))
            .tempfile_in(folder)?;
        let (file, path) = file.keep().map_err(|error| error.error)?;
        Ok(PrivateFile {
            file,
            path,
            to: to.to_owned(),
            is_kept: false,
        })
    }

    /// The part of an interrupted transfer to the path `to`, or an empty one. It is kept if the
    /// transfer is interrupted. Something else at its path is replaced: a link, or the file of
    /// another user.
    pub fn resume(to: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent(to))?;
        let mut path = to.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(PRIVATE);
        let new = || options.clone().create_new(true).open(&path);
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = match options.clone().custom_flags(flags).open(&path) {
            Ok(file) if is_own(&file.metadata()?) => {
                file.set_permissions(Permissions::from_mode(PRIVATE))?;
                file
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => new()?,
            Ok(_) | Err(_) => {
                fs::remove_file(&path)?;
                new()?
            }
        };
        Ok(PrivateFile {
            file,
            path,
            to: to.to_owned(),
            is_kept: true,
        })
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the complete file its mode and its name.
    pub fn finish(mut self, mode: u32) -> io::Result<()> {
        self.file
            .set_permissions(Permissions::from_mode(mode & KEPT))?;
        fs::rename(&self.path, &self.to)?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // The error that is reported is the one of the transfer.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether no other user can read or write the file.
fn is_own(found: &fs::Metadata) -> bool {
    found.is_file() && found.uid() == geteuid().as_raw() && found.nlink() == 1
}

fn parent(path: &Path) -> &Path {
    let folder = path.parent();
    folder
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Unpacks the wanted regular files of an archive below a folder, and nothing else: the server is not
/// trusted. Nothing is written through a link in the folder. A file that the archive lacks is an
/// error.
pub(super) fn unpack(archive: File, to: &Path, wanted: &BTreeSet<&Path>) -> io::Result<()> {
    let mut missing = wanted.clone();
    let mut archive = tar::Archive::new(archive);
    // `xargs` calls tar several times for many files.
    archive.set_ignore_zeros(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let path = path.strip_prefix(".").unwrap_or(&path);
        if !entry.header().entry_type().is_file() || !wanted.contains(path) {
            continue;
        }
        check_place(to, path)?;
        let mode = entry.header().mode()?;
        let file = PrivateFile::create(&to.join(path))?;
        io::copy(&mut entry, &mut file.file())?;
        file.finish(mode)?;
        missing.remove(path);
    }
    match missing.first() {
        Some(path) => {
            let text = format!("`{}` is missing in the archive", path.display());
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
        }
        None => Ok(()),
    }
}

/// Fails if a path leads out of a folder. Creates the folders of the path.
fn check_place(folder: &Path, path: &Path) -> io::Result<()> {
    let refused = |cause: &str| io::Error::other(format!("`{}` {cause}", path.display()));
    if !path
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
    {
        return Err(refused("leads out of the folder"));
    }
    let mut at = folder.to_owned();
    for name in path.parent().into_iter().flat_map(Path::components) {
        at.push(name);
        match fs::symlink_metadata(&at) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(refused("leads through a link or file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().create(&at)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_is_private_until_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("deep/file");
        let part = folder.path().join("deep/file.part");
        for kept in [0o644, 0o4755] {
            let file = PrivateFile::resume(&to).unwrap();
            assert_eq!(mode(&part), 0o600);
            file.file().write_all(b"text").unwrap();
            file.finish(kept).unwrap();
            assert_eq!(mode(&to), kept & 0o777);
        }
        let file = PrivateFile::create(&to).unwrap();
        assert_eq!(mode(&file.path), 0o600);
        drop(file);
        assert_eq!(fs::read_dir(folder.path().join("deep")).unwrap().count(), 1);
    }

    /// What another user may have put where the part of a download is written.
    #[test]
    fn nothing_is_written_through_what_others_left() {
        let folder = tempfile::tempdir().unwrap();
        let (to, victim) = (folder.path().join("file"), folder.path().join("victim"));
        let part = folder.path().join("file.part");
        let link = || std::os::unix::fs::symlink(&victim, &part).unwrap();
        let hard = || fs::hard_link(&victim, &part).unwrap();
        let fifo = || {
            let made = std::process::Command::new("mkfifo").arg(&part).status();
            assert!(made.unwrap().success());
        };
        let open = || {
            fs::write(&part, "old").unwrap();
            fs::set_permissions(&part, Permissions::from_mode(0o666)).unwrap();
        };
        let attacks: [&dyn Fn(); 4] = [&link, &hard, &fifo, &open];
        for attack in attacks {
            fs::write(&victim, "victim").unwrap();
            attack();
            let file = PrivateFile::resume(&to).unwrap();
            assert_eq!(mode(&part), 0o600);
            file.file().set_len(0).unwrap();
            file.file().write_all(b"text").unwrap();
            file.finish(0o600).unwrap();
            assert_eq!(fs::read(&victim).unwrap(), b"victim");
            assert_eq!(fs::read(&to).unwrap(), b"text");
        }
    }

    #[test]
    fn an_archive_stays_in_its_folder() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(other.path(), folder.path().join("link")).unwrap();
        let unpack_one = |name: &str| {
            let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(4);
            header.set_mode(0o4640);
            header.set_cksum();
            builder.append(&header, &b"text"[..]).unwrap();
            let mut archive = builder.into_inner().unwrap();
            io::Seek::rewind(&mut archive).unwrap();
            let wanted = name.strip_prefix("./").unwrap_or(name);
            unpack(archive, folder.path(), &[Path::new(wanted)].into())
        };
        for name in ["../x", "/x", "a/../../x", "link/x"] {
            assert!(unpack_one(name).is_err(), "{name}");
        }
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
        unpack_one("./a/b").unwrap();
        assert_eq!(mode(&folder.path().join("a/b")), 0o640);
    }
}
