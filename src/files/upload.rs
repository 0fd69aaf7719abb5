//! Uploads of files and folders to a server.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Error, Progress, TransferCounts,
    staged::Staged,
    tree::{self, Links},
};
use crate::{
    core::event::Events,
    machine::{Machine, WriteOptions},
    ssh::{Command, Input, quote},
};

/// Smaller files are written at once, without a query whether a part exists.
const RESUMABLE: u64 = 1024 * 1024;

/// An upload of a file or folder. Files of a folder that are identical already are not transferred.
#[derive(Clone, Copy)]
pub struct Upload<'a> {
    /// Where the progress is reported.
    pub events: &'a Events,
    /// The server.
    pub machine: &'a dyn Machine,
    /// The local path.
    pub from: &'a Path,
    /// The path on the server; a folder if it ends with a slash.
    pub to: &'a str,
    /// How the files are written.
    pub write_options: &'a WriteOptions,
    /// Removes files of the folder on the server that do not exist locally.
    pub remove: bool,
}

/// What an upload would change.
pub struct UploadPreview {
    /// The paths of the files that would be transferred, on the server.
    pub transferred: Vec<String>,
    /// The paths of the files that would be removed.
    pub removed: Vec<String>,
    /// Files that are identical on both sides.
    pub unchanged: usize,
}

/// The files of a folder on both sides.
struct Comparison {
    remote: tree::Tree,
    /// Files that differ, or do not exist on the server.
    changed: Vec<PathBuf>,
    /// Files that exist only on the server, if they are to be removed.
    extra: Vec<PathBuf>,
    unchanged: usize,
}

impl Upload<'_> {
    /// Compares the files without changing anything. None for a container without a shell.
    pub async fn preview(self) -> Result<Option<UploadPreview>, Error> {
        if self.machine.raw_files().await?.is_some() {
            return Ok(None);
        }
        let metadata = fs::metadata(self.from).map_err(|error| Error::local(self.from, error))?;
        if !metadata.is_dir() {
            let to = self.place();
            let is_identical = self.is_identical(&to).await?;
            return Ok(Some(UploadPreview {
                transferred: (!is_identical).then_some(to).into_iter().collect(),
                removed: Vec::new(),
                unchanged: usize::from(is_identical),
            }));
        }
        let Comparison {
            changed,
            extra,
            unchanged,
            ..
        } = self.compare().await?;
        let folder = self.to.trim_end_matches('/');
        let on_server = |paths: Vec<PathBuf>| {
            let paths = paths.iter();
            paths
                .map(|path| format!("{folder}/{}", path.display()))
                .collect()
        };
        Ok(Some(UploadPreview {
            transferred: on_server(changed),
            removed: on_server(extra),
            unchanged,
        }))
    }

    /// The path of a file on the server. A path with a trailing slash names a folder.
    fn place(&self) -> String {
        let Upload { from, to, .. } = self;
        let name = from.file_name().unwrap_or_default().to_string_lossy();
        if to.ends_with('/') {
            format!("{to}{name}")
        } else {
            (*to).to_owned()
        }
    }

    /// Whether a file on the server has the content of the local one, and its mode and owner are not to be
    /// changed.
    async fn is_identical(&self, to: &str) -> Result<bool, Error> {
        let options = self.write_options;
        if options.mode.is_some() || options.owner.is_some() {
            return Ok(false);
        }
        let query = Command {
            sudo: options.sudo,
            ..Command::new(format!("sha256sum <{} 2>/dev/null || true", quote(to)))
        };
        let output = self.machine.run(&query).await?;
        if output.stdout.is_empty() {
            return Ok(false);
        }
        let digest =
            tree::digest(self.from, None).map_err(|error| Error::local(self.from, error))?;
        Ok(output.text().starts_with(&digest))
    }

    /// Compares a folder with the one on the server.
    async fn compare(&self) -> Result<Comparison, Error> {
        let sudo = self.write_options.sudo;
        let local = tree::read_local(self.from, true)?;
        let remote = tree::read_remote(self.machine, self.to, sudo, Links::Skip).await?;
        let is_changed = |path: &PathBuf, digest: &String| {
            let found = remote.get(path);
            found.is_none_or(|found| found.digest != *digest)
        };
        let changed: Vec<PathBuf> = local
            .iter()
            .filter(|(path, digest)| is_changed(path, digest))
            .map(|(path, _)| path.clone())
            .collect();
        let extra = remote
            .keys()
            .filter(|path| self.remove && !local.contains_key(*path))
            .cloned()
            .collect();
        Ok(Comparison {
            unchanged: local.len() - changed.len(),
            remote,
            changed,
            extra,
        })
    }

    /// Runs the upload.
    pub async fn run(self) -> Result<TransferCounts, Error> {
        let Upload {
            machine,
            from,
            write_options,
            ..
        } = self;
        let metadata = fs::metadata(from).map_err(|error| Error::local(from, error))?;
        let raw = machine.raw_files().await?;
        if metadata.is_dir() {
            return match raw {
                Some(files) => self.raw_folder(files).await,
                None => self.folder().await,
            };
        }
        let to = self.place();
        if raw.is_none() && self.is_identical(&to).await? {
            return Ok(TransferCounts {
                unchanged: 1,
                ..TransferCounts::default()
            });
        }
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        let write_options = &WriteOptions {
            new_mode: Some(format!("{mode:o}")),
            ..write_options.clone()
        };
        if let Some(files) = raw {
            let upload = Upload {
                write_options,
                ..self
            };
            upload.raw_file(files, &to).await?;
        } else if metadata.len() < RESUMABLE {
            let content = fs::read(from).map_err(|error| Error::local(from, error))?;
            machine.put(&to, content.into(), write_options).await?;
        } else {
            let upload = Upload {
                write_options,
                ..self
            };
            upload.file(metadata.len(), &to).await?;
        }
        Ok(TransferCounts {
            transferred: 1,
            bytes: metadata.len(),
            ..TransferCounts::default()
        })
    }

    /// Sends a large file to a temporary file, which is then renamed. Continues an interrupted
    /// upload.
    async fn file(self, size: u64, to: &str) -> Result<(), Error> {
        let Upload {
            events,
            machine,
            from,
            write_options,
            ..
        } = self;
        let host = machine.name();
        let query = Command {
            sudo: write_options.sudo,
            ..Command::new(write_options.part_command(to))
        };
        let output = machine.run(&query).await?;
        let what = format!("upload {to}");
        Error::check(host, &what, &output)?;
        let text = output.text();
        let mut words = text.split_whitespace();
        let part_size = words.next().and_then(|word| word.parse::<u64>().ok());
        let mut is_part = |length: u64| -> io::Result<bool> {
            Ok(length <= size && Some(tree::digest(from, Some(length))?.as_str()) == words.next())
        };
        let start = match part_size {
            Some(length) if is_part(length).map_err(|error| Error::local(from, error))? => length,
            _ => 0,
        };
        let progress = Progress::new(events, host, format!("uploading {to}"), Some(size));
        progress
            .done
            .store(start, std::sync::atomic::Ordering::Relaxed);
        // Another process may still write to the part that is continued, so the digest is checked.
        let check = if start > 0 {
            let digest = tree::digest(from, None).map_err(|error| Error::local(from, error))?;
            format!(
                "[ \"$(sha256sum <file | cut -c1-64)\" = {digest} ] || {{ rm -f file; fail the resumed upload does not match the local file; }}"
            )
        } else {
            String::new()
        };
        let line = write_options.resume_command(to, size, start > 0, &check);
        let command = Command {
            sudo: write_options.sudo,
            stdin: Input::File {
                path: from.to_owned(),
                from: start,
                sent: progress.done.clone(),
            },
            ..Command::new(line)
        };
        let output = machine.run(&command).await?;
        Error::check(host, &what, &output)
    }

    async fn folder(self) -> Result<TransferCounts, Error> {
        let Upload {
            events,
            machine,
            from,
            to,
            write_options,
            ..
        } = self;
        let host = machine.name();
        let Comparison {
            remote,
            changed,
            extra,
            unchanged,
        } = self.compare().await?;
        let changed: Vec<&Path> = changed.iter().map(PathBuf::as_path).collect();
        let extra: Vec<&Path> = extra.iter().map(PathBuf::as_path).collect();
        let mut counts = TransferCounts {
            transferred: changed.len(),
            unchanged,
            removed: extra.len(),
            bytes: 0,
        };
        if changed.is_empty() && extra.is_empty() && !remote.is_empty() {
            return Ok(counts);
        }
        let mode = write_options.mode.as_deref();
        let mode = mode.and_then(|mode| u32::from_str_radix(mode, 8).ok());
        let archive = tempfile::NamedTempFile::new()
            .and_then(|file| {
                let staged = Staged::new(from, &changed, &extra);
                staged.write(&remote, mode, file.as_file())?;
                Ok(file)
            })
            .map_err(|error| Error::local(from, error))?;
        let size = archive
            .as_file()
            .metadata()
            .map_or(0, |metadata| metadata.len());
        counts.bytes = size;
        let progress = Progress::new(events, host, format!("uploading {to}"), Some(size));
        let command = Command {
            sudo: write_options.sudo,
            stdin: Input::File {
                path: archive.path().to_owned(),
                from: 0,
                sent: progress.done.clone(),
            },
            ..Command::new(write_options.folder_command(to))
        };
        let output = machine.run(&command).await?;
        Error::check(host, &format!("upload {to}"), &output)?;
        Ok(counts)
    }
}
