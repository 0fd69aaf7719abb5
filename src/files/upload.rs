//! Uploads of files and folders to a server.

use std::{fs, io, path::Path};

use super::{Error, Progress, TransferCounts, tree};
use crate::{
    core::event::Events,
    machine::{Machine, WriteOptions, size_check},
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

impl Upload<'_> {
    /// Runs the upload.
    pub async fn run(self) -> Result<TransferCounts, Error> {
        let Upload {
            machine,
            from,
            to,
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
        // A path with a trailing slash names a folder.
        let name = from.file_name().unwrap_or_default().to_string_lossy();
        let to = if to.ends_with('/') {
            format!("{to}{name}")
        } else {
            to.to_owned()
        };
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
        let part = quote(&format!("{to}.part"));
        let query = Command {
            sudo: write_options.sudo,
            ..Command::new(format!(
                "{}if [ -f {part} ] && [ ! -L {part} ] && [ -O {part} ]; then
             wc -c <{part}; sha256sum <{part}; else rm -f {part}; fi",
                write_options.parents_command(to)
            ))
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
        // A new part must not exist (`set -C`): nothing is written through another user's link.
        let (begin, into) = if start > 0 {
            ("", ">>")
        } else {
            ("rm -f \"$t\"; set -C; ", ">")
        };
        // Another process may still write to the part that is continued, so the digest is checked.
        let check = if start > 0 {
            let digest = tree::digest(from, None).map_err(|error| Error::local(from, error))?;
            format!(
                "[ \"$(sha256sum <\"$t\" | cut -c1-64)\" = {digest} ] || {{ rm -f \"$t\"; echo the resumed upload does not match the local file >&2; exit 1; }}"
            )
        } else {
            String::new()
        };
        let line = format!(
            "set -e; umask 077; t={part}; {begin}cat {into}\"$t\"\n{}\n{check}\n{}",
            size_check(size),
            write_options.rename_command(to)
        );
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
            remove,
        } = self;
        let host = machine.name();
        let (local, remote) = (
            tree::read_local(from, true)?,
            tree::read_remote(machine, to, write_options.sudo, false).await?,
        );
        let changed: Vec<&String> = local
            .iter()
            .filter(|(path, digest)| remote.get(*path) != Some(digest))
            .map(|(path, _)| path)
            .collect();
        let extra: Vec<&String> = remote
            .keys()
            .filter(|path| remove && !local.contains_key(*path))
            .collect();
        let tally = TransferCounts {
            transferred: changed.len(),
            unchanged: local.len() - changed.len(),
            removed: extra.len(),
        };
        let folder = quote(to);
        let make = if write_options.folders {
            format!("mkdir -p -- {folder}")
        } else {
            format!("[ -d {folder} ] || mkdir -- {folder}")
        };
        if !changed.is_empty() || remote.is_empty() {
            let archive = tempfile::NamedTempFile::new()
                .and_then(|file| {
                    let mode = write_options.mode.as_deref();
                    let mode = mode.and_then(|mode| u32::from_str_radix(mode, 8).ok());
                    tree::archive(from, &changed, mode, file.as_file())?;
                    Ok(file)
                })
                .map_err(|error| Error::local(from, error))?;
            let size = archive
                .as_file()
                .metadata()
                .map_or(0, |metadata| metadata.len());
            let progress = Progress::new(events, host, format!("uploading {to}"), Some(size));
            let command = Command {
                sudo: write_options.sudo,
                stdin: Input::File {
                    path: archive.path().to_owned(),
                    from: 0,
                    sent: progress.done.clone(),
                },
                ..Command::new(format!("set -e; {make}; cd -- {folder}; tar -xof -"))
            };
            let output = machine.run(&command).await?;
            Error::check(host, &format!("upload {to}"), &output)?;
            if let Some(owner) = &write_options.owner {
                self.run_on_files(&format!("chown {} --", quote(owner)), &changed)
                    .await?;
            }
        }
        if !extra.is_empty() {
            self.run_on_files("rm -f --", &extra).await?;
        }
        Ok(tally)
    }

    /// Runs a command with the names of files of a folder as arguments, in several batches if there
    /// are many (`xargs`).
    async fn run_on_files(self, command: &str, paths: &[&String]) -> Result<(), Error> {
        let Upload {
            machine,
            write_options,
            to: folder,
            ..
        } = self;
        let names: Vec<u8> = paths
            .iter()
            .flat_map(|path| format!("./{path}\0").into_bytes())
            .collect();
        let command_line = Command {
            sudo: write_options.sudo,
            stdin: Input::Bytes(names.into()),
            ..Command::new(format!("cd -- {} && xargs -0 {command}", quote(folder)))
        };
        let output = machine.run(&command_line).await?;
        Error::check(machine.name(), &format!("{command} in {folder}"), &output)
    }
}
