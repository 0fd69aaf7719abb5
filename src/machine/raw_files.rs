//! `RawFiles`: the files of a machine without a shell, which no command could read or write.

use std::{fs::File, path::PathBuf};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Error, WriteOptions};

/// Reads and writes files without running anything on the machine.
///
/// Relative paths start where commands do. Unlike a command, the machine cannot rename: while a file
/// is replaced, it is missing or incomplete for a moment.
#[async_trait]
pub trait RawFiles: Send + Sync {
    /// Reads a file or a folder; links to it are followed.
    async fn read(&self, path: &str, sudo: bool) -> Result<RawContent, Error>;

    /// Writes one file. An existing file keeps its owner and mode, unless the options set them.
    async fn write_file(
        &self,
        path: &str,
        content: LocalContent,
        options: &WriteOptions,
    ) -> Result<(), Error>;

    /// Writes files below a folder, which is created if it is missing.
    async fn write_folder(
        &self,
        path: &str,
        files: Vec<LocalFile>,
        options: &WriteOptions,
    ) -> Result<(), Error>;
}

/// What was read.
pub enum RawContent {
    /// The path does not exist.
    Missing,
    /// A file.
    File {
        /// Its content.
        content: File,
        /// Its permissions.
        mode: u32,
    },
    /// An archive (tar) of the files of a folder, by their relative paths.
    Folder {
        /// The archive.
        archive: File,
        /// The symbolic links, which the archive does not have.
        links: Vec<PathBuf>,
    },
}

/// The content of a file to write.
pub enum LocalContent {
    /// The content itself.
    Bytes(Bytes),
    /// That of a local file.
    File(PathBuf),
}

/// A file to write below a folder.
pub struct LocalFile {
    /// Its path below the folder.
    pub path: PathBuf,
    /// The local file.
    pub from: PathBuf,
    /// Its mode.
    pub mode: u32,
}
