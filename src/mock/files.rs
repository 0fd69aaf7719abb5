//! The local files of a test: those of the project can be read, and changes are kept in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
    sync::Mutex,
};

use rustix::io::Errno;

use crate::core::sync::lock;

/// The mode of a new file.
const MODE: u32 = 0o644;

/// The files.
#[derive(Default)]
pub struct Files {
    root: PathBuf,
    changed: Mutex<BTreeMap<PathBuf, Entry>>,
}

/// What a test made of a path.
#[derive(Clone)]
enum Entry {
    File { bytes: Vec<u8>, mode: u32 },
    Folder,
    Removed,
}

impl Files {
    /// The files of a project, in this folder.
    pub(super) fn new(root: PathBuf) -> Self {
        Files {
            root,
            changed: Mutex::default(),
        }
    }

    /// Whether a test may look at a path: it belongs to the project, or the test made it.
    pub fn is_known(&self, path: &Path) -> bool {
        let path = &normal(path);
        self.is_own(path)
            || lock(&self.changed)
                .keys()
                .any(|changed| changed.starts_with(path) || path.starts_with(changed))
    }

    /// Returns the content of a file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.find(path) {
            Some(Entry::File { bytes, .. }) => Ok(bytes),
            Some(Entry::Folder) => Err(Errno::ISDIR.into()),
            Some(Entry::Removed) => Err(Errno::NOENT.into()),
            None => self.really(path, |path| fs::read(path)),
        }
    }

    /// Whether there is a file or folder.
    pub fn exists(&self, path: &Path) -> bool {
        match self.find(path) {
            Some(Entry::Removed) => false,
            Some(_) => true,
            None => self.is_own(&normal(path)) && path.exists(),
        }
    }

    /// Whether there is a folder.
    pub fn is_folder(&self, path: &Path) -> bool {
        match self.find(path) {
            Some(entry) => matches!(entry, Entry::Folder),
            None => self.is_own(&normal(path)) && path.is_dir(),
        }
    }

    /// Returns the names of the files and folders in a folder, sorted.
    pub fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let path = &normal(path);
        let found = self.find(path);
        match &found {
            Some(Entry::Removed) => return Err(Errno::NOENT.into()),
            Some(Entry::File { .. }) => return Err(Errno::NOTDIR.into()),
            Some(Entry::Folder) | None => {}
        }
        let mut names = BTreeSet::new();
        if !self.is_removed(path) {
            match self.really(path, |path| fs::read_dir(path)) {
                Ok(entries) => {
                    for entry in entries {
                        names.insert(entry?.file_name().to_string_lossy().into_owned());
                    }
                }
                // The test made the folder.
                Err(_) if found.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        for changed in lock(&self.changed).keys() {
            let rest = changed.strip_prefix(path).ok();
            let name = rest.and_then(|rest| rest.components().next());
            names.extend(name.map(|name| name.as_os_str().to_string_lossy().into_owned()));
        }
        let names = names.into_iter();
        Ok(names.filter(|name| self.exists(&path.join(name))).collect())
    }

    /// Returns the permissions of a file or folder.
    pub fn mode(&self, path: &Path) -> io::Result<u32> {
        match self.find(path) {
            Some(Entry::File { mode, .. }) => Ok(mode),
            Some(Entry::Folder) => Ok(0o755),
            Some(Entry::Removed) => Err(Errno::NOENT.into()),
            None => {
                let found = self.really(path, |path| fs::metadata(path))?;
                Ok(found.permissions().mode() & 0o777)
            }
        }
    }

    /// Writes a file. An existing one keeps its mode, unless `mode` is given.
    pub fn write(&self, path: &Path, bytes: Vec<u8>, mode: Option<u32>) {
        let mode = mode.or_else(|| self.mode(path).ok()).unwrap_or(MODE);
        self.change(path, Entry::File { bytes, mode });
    }

    /// Creates a folder.
    pub fn make_folder(&self, path: &Path) {
        if !self.is_folder(path) {
            self.change(path, Entry::Folder);
        }
    }

    /// Removes a file, or a folder with its contents.
    pub fn remove(&self, path: &Path) {
        let path = normal(path);
        lock(&self.changed).retain(|changed, _| !changed.starts_with(&path));
        self.change(&path, Entry::Removed);
    }

    /// Forgets all changes, for the next test.
    pub(super) fn clear(&self) {
        lock(&self.changed).clear();
    }

    /// Whether a path is in the project.
    fn is_own(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }

    /// Reads what is really at a path of the project. Nothing is at other paths, and links that lead out of
    /// the project lead nowhere.
    fn really<T>(&self, path: &Path, read: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
        let leads_out = |real: PathBuf| {
            let root = self.root.canonicalize();
            root.is_ok_and(|root| !real.starts_with(root))
        };
        if self.is_own(&normal(path)) && !path.canonicalize().is_ok_and(leads_out) {
            read(path)
        } else {
            Err(Errno::NOENT.into())
        }
    }

    fn change(&self, path: &Path, entry: Entry) {
        lock(&self.changed).insert(normal(path), entry);
    }

    /// What the test made of a path; none if it is as it really is.
    fn find(&self, path: &Path) -> Option<Entry> {
        let path = &normal(path);
        let changed = lock(&self.changed);
        let is_made = |entry: &Entry| !matches!(entry, Entry::Removed);
        if let Some(entry) = changed.get(path).filter(|entry| is_made(entry)) {
            return Some(entry.clone());
        }
        let within = |(changed, entry): (&PathBuf, &Entry)| {
            changed != path && changed.starts_with(path) && is_made(entry)
        };
        if changed.iter().any(within) {
            return Some(Entry::Folder);
        }
        drop(changed);
        self.is_removed(path).then_some(Entry::Removed)
    }

    /// Whether the test removed what is really at a path: itself, or a folder that it is in.
    fn is_removed(&self, path: &Path) -> bool {
        let changed = lock(&self.changed);
        path.ancestors()
            .any(|path| matches!(changed.get(path), Some(Entry::Removed)))
    }
}

/// Resolves `.` and `..` in a path without accessing the file system.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_seen_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("a")).unwrap();
        fs::write(root.join("a/old"), "old").unwrap();
        let files = Files::new(root.to_owned());
        files.write(&root.join("a/new"), b"new".to_vec(), None);
        files.write(&root.join("b/c/deep"), b"deep".to_vec(), Some(0o600));
        assert_eq!(files.list(&root.join("a")).unwrap(), ["new", "old"]);
        assert_eq!(files.list(root).unwrap(), ["a", "b"]);
        assert_eq!(files.list(&root.join("b")).unwrap(), ["c"]);
        assert!(files.is_folder(&root.join("b")));
        assert_eq!(files.mode(&root.join("b/c/deep")).unwrap(), 0o600);
        assert_eq!(files.read(&root.join("a/../a/new")).unwrap(), b"new");
        files.remove(&root.join("a"));
        assert!(!files.exists(&root.join("a/old")));
        assert!(files.list(&root.join("a")).is_err());
        // A new folder in its place has only what is new.
        files.write(&root.join("a/newer"), Vec::new(), None);
        assert_eq!(files.list(&root.join("a")).unwrap(), ["newer"]);
        assert!(files.read(&root.join("a/old")).is_err());
        assert!(files.is_known(&root.join("x")));
        assert!(!files.is_known(Path::new("/etc/passwd")));
        assert!(!files.is_known(&root.join("../x")));
        files.write(Path::new("/etc/passwd"), Vec::new(), None);
        assert!(files.is_known(Path::new("/etc/passwd")));
        files.clear();
        assert_eq!(files.list(root).unwrap(), ["a"]);
        assert_eq!(fs::read(root.join("a/old")).unwrap(), b"old");
        assert!(!root.join("b").exists());
    }
}
