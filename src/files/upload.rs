//! From this machine to a server.

use std::{fs, io, path::Path, sync::Arc};

use super::{Error, Progress, TransferCounts, WriteOptions, put, size_check, tree};
use crate::{
    core::event::Events,
    ssh::{Command, Connection, Input, quote},
};

/// A file that is smaller goes in one piece, without a question before it.
const SMALL: u64 = 1024 * 1024;

/// A file or a folder on its way to a server. A folder's files that are there already are left
/// alone.
#[derive(Clone, Copy)]
pub struct Upload<'a> {
    /// Who is told how far it is.
    pub events: &'a Events,
    /// The server.
    pub connection: &'a Arc<Connection>,
    /// What is sent.
    pub from: &'a Path,
    /// Where it goes; what ends with a slash is a folder.
    pub to: &'a str,
    /// How it comes to its place.
    pub write_options: &'a WriteOptions,
    /// Of a folder, files are removed that only the server has.
    pub remove: bool,
}

impl Upload<'_> {
    /// Sends it.
    pub async fn run(self) -> Result<TransferCounts, Error> {
        let Upload {
            connection,
            from,
            to,
            write_options,
            ..
        } = self;
        let metadata = fs::metadata(from).map_err(|error| Error::here(from, error))?;
        if metadata.is_dir() {
            return self.folder().await;
        }
        // Into a folder, if that is what it names.
        let name = from.file_name().unwrap_or_default().to_string_lossy();
        let to = if to.ends_with('/') {
            format!("{to}{name}")
        } else {
            to.to_owned()
        };
        let mode = format!(
            "{:o}",
            std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777
        );
        if metadata.len() < SMALL {
            let content = fs::read(from).map_err(|error| Error::here(from, error))?;
            put(connection, content.into(), &to, write_options, &mode).await?;
        } else {
            self.file(metadata.len(), &to, &mode).await?;
        }
        Ok(TransferCounts {
            transferred: 1,
            ..TransferCounts::default()
        })
    }

    /// Sends a large file, beside its place first. What is there of it since an earlier try is not
    /// sent again.
    async fn file(self, size: u64, to: &str, mode: &str) -> Result<(), Error> {
        let Upload {
            events,
            connection,
            from,
            write_options,
            ..
        } = self;
        let host = &connection.target().name;
        let part = quote(&format!("{to}.part"));
        let ask = Command {
            sudo: write_options.sudo,
            ..Command::new(format!(
                "{}if [ -f {part} ] && [ ! -L {part} ] && [ -O {part} ]; then
             wc -c <{part}; sha256sum <{part}; else rm -f {part}; fi",
                write_options.begin(to)
            ))
        };
        let output = connection.run(&ask).await?;
        let what = format!("upload {to}");
        Error::check(host, &what, &output)?;
        let text = output.text();
        let mut words = text.split_whitespace();
        let begun = words.next().and_then(|word| word.parse::<u64>().ok());
        let mut is_ours = |length: u64| -> io::Result<bool> {
            Ok(length <= size && Some(tree::digest(from, Some(length))?.as_str()) == words.next())
        };
        let start = match begun {
            Some(length) if is_ours(length).map_err(|error| Error::here(from, error))? => length,
            _ => 0,
        };
        let progress = Progress::new(events, host, format!("uploading {to}"), Some(size));
        progress
            .done
            .store(start, std::sync::atomic::Ordering::Relaxed);
        // What is not continued begins as a file that was not there before (`-C`).
        let (begin, into) = if start > 0 {
            ("", ">>")
        } else {
            ("rm -f \"$t\"; set -C; ", ">")
        };
        // Somebody else may still write to what is continued.
        let check = if start > 0 {
            let digest = tree::digest(from, None).map_err(|error| Error::here(from, error))?;
            format!(
                "[ \"$(sha256sum <\"$t\" | cut -c1-64)\" = {digest} ] || {{ rm -f \"$t\"; echo the parts do not fit >&2; exit 1; }}"
            )
        } else {
            String::new()
        };
        let line = format!(
            "set -e; umask 077; t={part}; {begin}cat {into}\"$t\"\n{}\n{check}\n{}",
            size_check(size),
            write_options.finish(to, mode)
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
        let output = connection.run(&command).await?;
        Error::check(host, &what, &output)
    }

    async fn folder(self) -> Result<TransferCounts, Error> {
        let Upload {
            events,
            connection,
            from,
            to,
            write_options,
            remove,
        } = self;
        let host = &connection.target().name;
        let (here, there) = (
            tree::here(from, true)?,
            tree::there(connection, to, write_options.sudo, false).await?,
        );
        let changed: Vec<&String> = here
            .iter()
            .filter(|(path, digest)| there.get(*path) != Some(digest))
            .map(|(path, _)| path)
            .collect();
        let extra: Vec<&String> = there
            .keys()
            .filter(|path| remove && !here.contains_key(*path))
            .collect();
        let tally = TransferCounts {
            transferred: changed.len(),
            unchanged: here.len() - changed.len(),
            removed: extra.len(),
        };
        let folder = quote(to);
        let make = if write_options.folders {
            format!("mkdir -p -- {folder}")
        } else {
            format!("[ -d {folder} ] || mkdir -- {folder}")
        };
        if !changed.is_empty() || there.is_empty() {
            let archive = tempfile::NamedTempFile::new()
                .and_then(|file| {
                    let mode = write_options.mode.as_deref();
                    let mode = mode.and_then(|mode| u32::from_str_radix(mode, 8).ok());
                    tree::archive(from, &changed, mode, file.as_file())?;
                    Ok(file)
                })
                .map_err(|error| Error::here(from, error))?;
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
            let output = connection.run(&command).await?;
            Error::check(host, &format!("upload {to}"), &output)?;
            if let Some(owner) = &write_options.owner {
                self.on_each(&format!("chown {} --", quote(owner)), &changed)
                    .await?;
            }
        }
        if !extra.is_empty() {
            self.on_each("rm -f --", &extra).await?;
        }
        Ok(tally)
    }

    /// Runs a command with the names of files of a folder; there may be more than fit into one.
    async fn on_each(self, command: &str, paths: &[&String]) -> Result<(), Error> {
        let Upload {
            connection,
            write_options,
            to: folder,
            ..
        } = self;
        let names: Vec<u8> = paths
            .iter()
            .flat_map(|path| format!("./{path}\0").into_bytes())
            .collect();
        let what = Command {
            sudo: write_options.sudo,
            stdin: Input::Bytes(names.into()),
            ..Command::new(format!("cd -- {} && xargs -0 {command}", quote(folder)))
        };
        let output = connection.run(&what).await?;
        Error::check(
            &connection.target().name,
            &format!("{command} in {folder}"),
            &output,
        )
    }
}
