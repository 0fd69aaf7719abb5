//! Where the user's files are.

use std::{
    env, fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::core::diagnostic::{Diagnostic, Kind};

/// The name of the user's task script.
pub const HITCFILE: &str = "hitcfile.rhai";

/// Folders of other programs.
const FOREIGN: [&str; 3] = ["target", "node_modules", "vendor"];

/// Makes a folder that only the user can look into, with those above it, if it is not there.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// The user's project: the folder with the hitcfile, or where there is none, the current folder.
#[derive(Clone, Debug)]
pub struct Project {
    /// The project's folder.
    pub root: PathBuf,
    /// The hitcfile, if there is one.
    pub hitcfile: Option<PathBuf>,
    /// hitc's own files about this user: keys.
    pub data: PathBuf,
    /// The user's home folder.
    pub home: PathBuf,
}

/// The names of the servers that were there when they were listed last. A convenience for
/// completion, and nothing else.
const SEEN: &str = "seen";
/// The servers on which the last run did not go well.
const FAILED: &str = "failed";

impl Project {
    /// Finds the project by walking up from `from`.
    pub fn find(from: &Path) -> Result<Self, Diagnostic> {
        let home = env::home_dir()
            .filter(|home| home.is_absolute())
            .ok_or_else(|| {
                Diagnostic::new(Kind::Usage, "there is no home folder")
                    .help("set HOME to a folder for hitc's key".to_owned())
            })?;
        // https://specifications.freedesktop.org/basedir-spec/latest/
        let data = env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| home.join(".local/share"))
            .join("hitc");
        let hitcfile = from
            .ancestors()
            .map(|folder| folder.join(HITCFILE))
            .find(|path| path.is_file());
        let root = match hitcfile.as_deref().and_then(Path::parent) {
            Some(folder) => folder.to_owned(),
            None => from.to_owned(),
        };
        Ok(Project {
            root,
            hitcfile,
            data,
            home,
        })
    }

    /// Remembers which servers there are.
    pub fn see_servers(&self, names: &[&str]) {
        // Completion goes without.
        let _ = self.remember(SEEN, &names.join("\n"));
    }

    /// The servers that there were when they were listed last.
    pub fn seen_servers(&self) -> Vec<String> {
        self.recall(SEEN)
    }

    /// Remembers on which servers a run did not go well, or that it did not get to.
    pub fn remember_failed(&self, names: &[&str]) {
        // `--failed` goes without.
        let _ = self.remember(FAILED, &names.join("\n"));
    }

    /// The servers on which the last run did not go well, or that it did not get to.
    pub fn failed_servers(&self) -> Vec<String> {
        self.recall(FAILED)
    }

    fn remember(&self, what: &str, text: &str) -> io::Result<()> {
        make_private_folder(&self.data.join(what))?;
        fs::write(self.remembered(what), text)
    }

    fn recall(&self, what: &str) -> Vec<String> {
        let text = fs::read_to_string(self.remembered(what)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Where something is remembered about this project.
    pub fn remembered(&self, what: &str) -> PathBuf {
        let digest = Sha256::digest(self.root.as_os_str().as_encoded_bytes());
        self.data.join(what).join(HEXLOWER.encode(&digest[..8]))
    }

    /// All files of the project with one of these endings, relative to its folder, sorted. Hidden
    /// folders and those of other programs are left out.
    pub fn files(&self, endings: &[&str]) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(within) = folders.pop() {
            for entry in fs::read_dir(self.root.join(&within))? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = within.join(&name);
                let has_ending = |ending: &std::ffi::OsStr| endings.iter().any(|e| ending == *e);
                if entry.file_type()?.is_dir() {
                    if !name.starts_with('.') && !FOREIGN.contains(&name.as_str()) {
                        folders.push(path);
                    }
                } else if path.extension().is_some_and(has_ending) {
                    found.push(path.to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// A path as the user would write it: relative to the current folder if it is below it.
    pub fn display(path: &Path) -> String {
        env::current_dir()
            .ok()
            .and_then(|folder| path.strip_prefix(folder).ok())
            .unwrap_or(path)
            .display()
            .to_string()
    }
}
