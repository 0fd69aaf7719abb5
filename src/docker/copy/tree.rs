//! Writes the entries of an archive below a new folder, and only there.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::archive::{Entry, Kind, Problem, Tally};

/// The permissions that are kept. A program of a container must not get those of its new owner here.
const KEPT: u32 = 0o1777;

/// A folder in which an archive is extracted.
pub(super) struct Tree {
    root: PathBuf,
    /// The folders, which get their permissions at the end: some cannot be written to.
    folders: Vec<Entry>,
    /// What was written.
    pub tally: Tally,
}

impl Tree {
    /// An empty folder to which only this process writes.
    pub fn new(root: &Path) -> Self {
        Tree {
            root: root.to_owned(),
            folders: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Writes an entry.
    pub fn add(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), Problem> {
        let path = self.inside(&entry.path)?;
        match &entry.kind {
            Kind::Folder => {
                match DirBuilder::new().mode(0o700).create(&path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    result => result?,
                }
                self.folders.push(entry.clone());
            }
            Kind::File(_) => {
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)?;
                self.tally.bytes += io::copy(content, &mut file)?;
                self.tally.files += 1;
                finish(&file, entry)?;
            }
            Kind::Symlink(to) => std::os::unix::fs::symlink(to, &path)?,
            Kind::Link(to) => {
                let to = self.inside(to)?;
                if !fs::symlink_metadata(&to)?.is_file() {
                    return Err(Problem::Refused(format!(
                        "`{}` is a hard link to something that is no file",
                        entry.path.display()
                    )));
                }
                fs::hard_link(to, path)?;
            }
        }
        Ok(())
    }

    /// Sets the permissions and times of the folders.
    pub fn finish(self) -> io::Result<Tally> {
        for folder in self.folders.iter().rev() {
            finish(&File::open(self.root.join(&folder.path))?, folder)?;
        }
        Ok(self.tally)
    }

    /// The path of an entry, all folders of which are real ones.
    fn inside(&self, path: &Path) -> Result<PathBuf, Problem> {
        let mut folder = self.root.clone();
        for name in path.parent().into_iter().flat_map(Path::components) {
            folder.push(name);
            match fs::symlink_metadata(&folder) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => {
                    return Err(Problem::Refused(format!(
                        "the archive has the path `{}`, which leads through a link or file",
                        path.display()
                    )));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    DirBuilder::new().mode(0o755).create(&folder)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.root.join(path))
    }
}

fn finish(file: &File, entry: &Entry) -> io::Result<()> {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(entry.modified));
    if let Some(time) = time {
        file.set_modified(time)?;
    }
    file.set_permissions(Permissions::from_mode(entry.mode & KEPT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry {
            path: PathBuf::from(path),
            kind,
            mode: 0o4750,
            owner: None,
            modified: 1_000_000,
        }
    }

    #[test]
    fn nothing_is_written_outside() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut tree = Tree::new(folder.path());
        let mut add = |entry: &Entry| tree.add(entry, &mut &b"text"[..]);
        let outside = Kind::Symlink(other.path().to_owned());
        add(&entry("link", outside)).unwrap();
        let through = add(&entry("link/file", Kind::File(4)));
        assert!(matches!(through, Err(Problem::Refused(_))), "{through:?}");
        let over = add(&entry("link", Kind::File(4)));
        assert!(matches!(over, Err(Problem::Io(_))), "{over:?}");
        let linked = add(&entry("hard", Kind::Link(PathBuf::from("link/x"))));
        assert!(matches!(linked, Err(Problem::Refused(_))), "{linked:?}");
        // Links to a file that exists, and to one that would be created.
        let victim = other.path().join("victim");
        fs::write(&victim, "victim").unwrap();
        for (name, to) in [("one", victim.clone()), ("two", other.path().join("new"))] {
            add(&entry(name, Kind::Symlink(to))).unwrap();
            let over = add(&entry(name, Kind::File(4)));
            assert!(matches!(over, Err(Problem::Io(_))), "{over:?}");
        }
        assert_eq!(fs::read(victim).unwrap(), b"victim");
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
    }

    #[test]
    fn permissions_and_times_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(folder.path());
        let read_only = Entry {
            mode: 0o500,
            ..entry("dir", Kind::Folder)
        };
        tree.add(&read_only, &mut io::empty()).unwrap();
        tree.add(&entry("dir/file", Kind::File(4)), &mut &b"text"[..])
            .unwrap();
        assert_eq!(tree.finish().unwrap(), Tally { files: 1, bytes: 4 });
        let found = |path: &str| {
            let found = fs::metadata(folder.path().join(path)).unwrap();
            let time = found
                .modified()
                .unwrap()
                .duration_since(SystemTime::UNIX_EPOCH);
            (found.permissions().mode() & 0o7777, time.unwrap().as_secs())
        };
        assert_eq!(found("dir"), (0o500, 1_000_000));
        assert_eq!(found("dir/file"), (0o750, 1_000_000));
        fs::set_permissions(folder.path().join("dir"), Permissions::from_mode(0o700)).unwrap();
    }
}
