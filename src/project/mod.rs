//! The user's project: its folder, its files and its id.

mod id;
mod trust;

use std::{
    env, fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
pub use id::{ID_FILE, ProjectId};
use sha2::{Digest, Sha256};
pub use trust::check_trusted;

use crate::core::{
    diagnostic::{Diagnostic, Kind, plain},
    environment,
    event::Events,
    owner::Owner,
};

/// The name of the user's task script.
pub const HITCFILE: &str = "hitcfile.rhai";

/// The file with the unmanaged servers.
pub const UNMANAGED_FILE: &str = "unmanaged_servers.txt";

/// The folder with the project's own providers.
pub const PROVIDERS_FOLDER: &str = "providers";

/// The file in the data folder that holds the user's own id.
const USER_ID_FILE: &str = "id";

/// Folders of other programs.
const FOREIGN: [&str; 3] = ["target", "node_modules", "vendor"];

/// Creates a folder that only the user can read, and its parents, if they do not exist.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// The user's project: the nearest folder with a hitcfile or a project id, from the current folder
/// up. Outside of any project, the current folder.
#[derive(Clone, Debug)]
pub struct Project {
    /// The project's folder.
    pub root: PathBuf,
    /// The hitcfile, if there is one.
    pub hitcfile: Option<PathBuf>,
    /// hitc's own files about this user: keys, locks, caches.
    pub data: PathBuf,
    /// The user's home folder.
    pub home: PathBuf,
    /// Whether its scripts are tested: then its id is not that of its files.
    pub is_test: bool,
}

/// The names of the servers in the last listing, for completion.
const SEEN: &str = "seen";
/// The names of the containers in the last listing, for completion.
const CONTAINERS: &str = "containers";
/// The servers on which the last run failed.
const FAILED: &str = "failed";

impl Project {
    /// Finds the project by walking up from the folder `from`.
    pub fn find(from: &Path) -> Result<Self, Diagnostic> {
        let home = env::home_dir()
            .filter(|home| home.is_absolute())
            .ok_or_else(|| {
                Diagnostic::new(Kind::Usage, "home folder not found")
                    .help("set HOME to a folder for hitc's key".to_owned())
            })?;
        // https://specifications.freedesktop.org/basedir-spec/latest/
        let data = env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| home.join(".local/share"))
            .join("hitc");
        let is_root = |folder: &&Path| {
            [HITCFILE, ID_FILE]
                .iter()
                .any(|name| folder.join(name).is_file())
        };
        let root = from.ancestors().find(is_root).unwrap_or(from);
        // Such as a link to a file that does not exist, or a named pipe.
        if fs::symlink_metadata(root.join(HITCFILE)).is_ok() && !root.join(HITCFILE).is_file() {
            let path = root.join(HITCFILE);
            let message = format!("`{}` is not a regular file", path.display());
            let help = "correct or remove it".to_owned();
            return Err(Diagnostic::new(Kind::Usage, message).help(help));
        }
        let hitcfile = Some(root.join(HITCFILE)).filter(|path| path.is_file());
        Ok(Project {
            root: root.to_owned(),
            hitcfile,
            data,
            home,
            is_test: false,
        })
    }

    /// The project of this hitcfile: its folder.
    pub fn of_hitcfile(file: &Path) -> Result<Self, Diagnostic> {
        let name = file.display();
        let fail =
            |cause: String| Diagnostic::new(Kind::Usage, format!("hitcfile `{name}`: {cause}"));
        let path = fs::canonicalize(file).map_err(|error| fail(plain(error)))?;
        if path.is_dir() {
            let help = format!("to use the hitcfile of a folder, write `-C {name}`");
            return Err(fail("a folder".to_owned()).help(help));
        }
        if path.extension().is_none_or(|ending| ending != "rhai") {
            return Err(fail("the name must end with .rhai".to_owned()));
        }
        let root = path.parent().unwrap_or(Path::new("/"));
        Ok(Project {
            root: root.to_owned(),
            hitcfile: Some(path.clone()),
            ..Project::find(root)?
        })
    }

    /// The same project for a test of its scripts: hitc's own files and the home folder are in `folder`.
    #[must_use]
    pub fn of_test(self, folder: &Path) -> Self {
        Project {
            data: folder.join("data"),
            home: folder.join("home"),
            is_test: true,
            ..self
        }
    }

    /// The file name of the hitcfile, by which scripts and errors call it.
    pub fn script(&self) -> Option<String> {
        let name = self.hitcfile.as_ref()?.file_name()?;
        Some(name.to_string_lossy().into_owned())
    }

    /// Fails if another user could have written one of the files that are used in every run. Scripts
    /// and manifests are checked when they are read.
    pub fn check_trusted(&self) -> Result<(), Diagnostic> {
        let providers = self.root.join(PROVIDERS_FOLDER);
        let scripts = fs::read_dir(&providers).into_iter().flatten().flatten();
        let scripts = scripts.map(|entry| entry.path());
        let own = [HITCFILE, ID_FILE, environment::FILE, UNMANAGED_FILE];
        let own = own.iter().map(|name| self.root.join(name));
        let mut paths = own.chain([providers.clone()]).chain(scripts);
        paths.try_for_each(|path| check_trusted(&path))
    }

    /// The id that marks the resources that tasks of this project create: the project's id, or
    /// outside of any project the user's own. None if it was not written yet. Does not write it.
    pub fn id(&self) -> Result<Option<ProjectId>, Diagnostic> {
        if self.is_test {
            return Ok(Some(ProjectId::of_test()));
        }
        match ProjectId::read(&self.root.join(ID_FILE))? {
            None if self.hitcfile.is_none() => ProjectId::read(&self.data.join(USER_ID_FILE)),
            id => Ok(id),
        }
    }

    /// The id that marks the resources that manifests of this project create: always the project's
    /// id. None if it was not written yet. Does not write it.
    pub fn manifest_id(&self) -> Result<Option<ProjectId>, Diagnostic> {
        if self.is_test {
            return Ok(Some(ProjectId::of_test()));
        }
        ProjectId::read(&self.root.join(ID_FILE))
    }

    /// Like [`Project::id`], but writes the id if there is none. Not for dry runs.
    pub fn ensure_id(&self, events: &Events) -> Result<ProjectId, Diagnostic> {
        if self.is_test {
            return Ok(ProjectId::of_test());
        }
        let is_project = self.hitcfile.is_some() || self.root.join(ID_FILE).exists();
        if is_project {
            return self.ensure_manifest_id(events);
        }
        make_private_folder(&self.data).map_err(|error| {
            let message = format!("cannot create `{}`: {error}", self.data.display());
            Diagnostic::new(Kind::Failed, message)
        })?;
        ProjectId::ensure(&self.data.join(USER_ID_FILE)).map(|(id, _)| id)
    }

    /// Like [`Project::manifest_id`], but writes the id if there is none. The folder is a project
    /// from then on. Not for dry runs.
    pub fn ensure_manifest_id(&self, events: &Events) -> Result<ProjectId, Diagnostic> {
        if self.is_test {
            return Ok(ProjectId::of_test());
        }
        let (id, is_new) = ProjectId::ensure(&self.root.join(ID_FILE))?;
        if is_new {
            events.note(format!(
                "wrote `{ID_FILE}`, the id of this project: commit it"
            ));
        }
        Ok(id)
    }

    /// The owner of the resources that a task of this project creates. Writes the id if there is
    /// none.
    pub fn ensure_owner(&self, events: &Events) -> Result<Owner, Diagnostic> {
        Ok(Owner {
            project: self.ensure_id(events)?.to_string(),
            manifest: None,
        })
    }

    /// Remembers the names of the servers in a listing.
    pub fn see_servers(&self, names: &[&str]) {
        // Completion works without it.
        let _ = self.remember(SEEN, &names.join("\n"));
    }

    /// The names of the servers in the last listing.
    pub fn seen_servers(&self) -> Vec<String> {
        self.recall(SEEN)
    }

    /// Remembers the names of the containers in a listing of a server.
    pub fn see_containers(&self, server: &str, names: &[&str]) {
        let folder = self.remembered(CONTAINERS);
        // Completion works without it.
        if !server.contains('/') && make_private_folder(&folder).is_ok() {
            let _ = fs::write(folder.join(server), names.join("\n"));
        }
    }

    /// The names of the containers in the last listing of a server.
    pub fn seen_containers(&self, server: &str) -> Vec<String> {
        let file = self.remembered(CONTAINERS).join(server);
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Stores the servers on which a run failed, or that it skipped.
    pub fn remember_failed(&self, names: &[&str]) {
        // Without it, `--failed` says that no server failed.
        let _ = self.remember(FAILED, &names.join("\n"));
    }

    /// The servers on which the last run failed, or that it skipped.
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

    /// The path below the data folder for something that is remembered about this project.
    pub fn remembered(&self, what: &str) -> PathBuf {
        let digest = Sha256::digest(self.root.as_os_str().as_encoded_bytes());
        self.data.join(what).join(HEXLOWER.encode(&digest[..8]))
    }

    /// The files of the project with one of these extensions, relative to its folder, sorted. Leaves
    /// out hidden folders and those of other programs, and definitions for editors, `*.d.rhai`.
    pub fn files(&self, endings: &[&str]) -> Result<Vec<String>, Diagnostic> {
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(within) = folders.pop() {
            let folder = self.root.join(&within);
            let fail = |error: io::Error| {
                let message = format!("`{}`: {}", folder.display(), plain(error));
                Diagnostic::new(Kind::Failed, message)
            };
            for entry in fs::read_dir(&folder).map_err(fail)? {
                let entry = entry.map_err(fail)?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = within.join(&name);
                let has_ending = |ending: &std::ffi::OsStr| endings.iter().any(|e| ending == *e);
                if entry.file_type().map_err(fail)?.is_dir() {
                    if !name.starts_with('.') && !FOREIGN.contains(&name.as_str()) {
                        folders.push(path);
                    }
                } else if path.extension().is_some_and(has_ending) && !name.ends_with(".d.rhai") {
                    found.push(path.to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// A path as the user would write it: relative to the current folder if it is inside.
    pub fn display(path: &Path) -> String {
        env::current_dir()
            .ok()
            .and_then(|folder| path.strip_prefix(folder).ok())
            .unwrap_or(path)
            .display()
            .to_string()
    }
}
