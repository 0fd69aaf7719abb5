//! Copies out of a container: into a temporary folder, and from there whole to its place.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures_util::StreamExt;
use tokio_util::{
    io::{StreamReader, SyncIoBridge},
    sync::CancellationToken,
};

use super::{
    archive::{self, Entry, Problem, Tally},
    split,
    tree::Tree,
};
use crate::docker::{
    Engine, Error,
    api_error::{cause, is_missing},
};

impl Engine {
    /// Copies a file or folder from the container with exactly this name. A local path that is a folder,
    /// or ends with a slash, gets it under its own name.
    pub(super) async fn download(
        &self,
        container: &str,
        from: &str,
        to: PathBuf,
    ) -> Result<Tally, Error> {
        let what = format!("copying `{from}` from container `{container}`");
        let fail = |problem: Problem| self.copy_failed(&what, problem);
        let found = self.named(container).await?;
        let Some((_, name)) = split(from) else {
            let cause = "a path to a file or folder is needed".to_owned();
            return Err(fail(Problem::Refused(cause)));
        };
        let to = place(to, name);
        let parent = to.parent().unwrap_or(Path::new(".")).to_owned();
        fs::create_dir_all(&parent).map_err(|error| fail(of_path(&parent, &error)))?;
        let folder = tempfile::Builder::new()
            .prefix(".hitc-cp-")
            .tempdir_in(&parent)
            .map_err(|error| fail(of_path(&parent, &error)))?;
        let mut tree = Tree::new(folder.path());
        let extracted = self.read_archive(&found.id, from.trim_end_matches('/'), move |entries| {
            archive::read(entries, |entry, content| tree.add(entry, content))?;
            Ok(tree.finish()?)
        });
        let tally = extracted.await.map_err(&fail)?;
        move_to(folder.path(), &to).map_err(&fail)?;
        Ok(tally)
    }

    /// Reads the archive of a path in a container, on a thread that may block. Stops if the caller
    /// does.
    pub(super) async fn read_archive<T: Send + 'static>(
        &self,
        id: &str,
        path: &str,
        read: impl FnOnce(&mut dyn io::Read) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(path)
            .build();
        let chunks = self.docker.download_from_container(id, Some(options));
        let chunks = chunks.map(|chunk| {
            chunk.map_err(|error| {
                io::Error::other(if is_missing(&error) {
                    "the path does not exist in the container".to_owned()
                } else {
                    cause(&error)
                })
            })
        });
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        let chunks = Box::pin(chunks.take_until(stop.cancelled_owned()));
        let mut reader = SyncIoBridge::new(StreamReader::new(chunks));
        let reading = tokio::task::spawn_blocking(move || read(&mut reader));
        reading.await.map_err(io::Error::other)?
    }
}

/// The local path of what is copied.
fn place(to: PathBuf, name: &str) -> PathBuf {
    let is_folder = to.as_os_str().as_encoded_bytes().ends_with(b"/") || to.is_dir();
    if is_folder { to.join(name) } else { to }
}

/// Moves the only entry of a folder to its place. A file is replaced, a folder is not.
fn move_to(folder: &Path, to: &Path) -> Result<(), Problem> {
    let mut entries = fs::read_dir(folder)?;
    let (Some(entry), None) = (entries.next().transpose()?, entries.next()) else {
        let cause = "the archive has more than the file or folder".to_owned();
        return Err(Problem::Refused(cause));
    };
    if to.is_dir() || to.exists() && entry.file_type()?.is_dir() {
        let cause = format!("`{}` already exists; remove it first", to.display());
        return Err(Problem::Refused(cause));
    }
    let from = entry.path();
    // A folder that cannot be written to cannot be moved: its entry `..` changes.
    let permissions = entry.metadata()?.permissions();
    let is_folder = entry.file_type()?.is_dir();
    if is_folder {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&from, fs::Permissions::from_mode(0o700))?;
    }
    fs::rename(&from, to).map_err(|error| of_path(to, &error))?;
    if is_folder {
        fs::set_permissions(to, permissions)?;
    }
    Ok(())
}

fn of_path(path: &Path, error: &io::Error) -> Problem {
    let cause = crate::core::diagnostic::plain(error);
    Problem::Refused(format!("`{}`: {cause}", path.display()))
}

/// The entries of an archive below its only top entry, by their path there.
pub(super) fn below(entry: &Entry) -> PathBuf {
    entry.path.components().skip(1).collect()
}
