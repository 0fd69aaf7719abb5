//! From a server to this machine.

use std::{
    fs,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use super::{Error, Progress, TransferCounts, tree};
use crate::{
    core::{
        event::{Events, Stream},
        process::Keep,
    },
    ssh::{Command, Connection, Input, quote},
};

/// A file or a folder on its way from a server. What is here already is left alone.
#[derive(Clone, Copy)]
pub struct Download<'a> {
    /// Who is told how far it is.
    pub events: &'a Events,
    /// The server.
    pub connection: &'a Arc<Connection>,
    /// What is fetched.
    pub from: &'a str,
    /// Where it goes; what ends with a slash is a folder.
    pub to: &'a Path,
    /// It is read as root.
    pub sudo: bool,
    /// Of a folder, files are removed that the server does not have.
    pub remove: bool,
}

impl Download<'_> {
    /// Fetches it.
    pub async fn run(self) -> Result<TransferCounts, Error> {
        let Download {
            connection,
            from,
            to,
            sudo,
            ..
        } = self;
        let host = &connection.target().name;
        let what = format!("download {from}");
        let path = quote(from);
        let ask = Command {
            sudo,
            ..Command::new(format!(
                "if [ -d {path} ]; then echo folder; else wc -c <{path}; fi"
            ))
        };
        let output = connection.run(&ask).await?;
        Error::check(host, &what, &output)?;
        match output.text().trim().parse::<u64>() {
            Err(_) => self.folder().await,
            Ok(size) => {
                let name = from.rsplit('/').next().unwrap_or(from);
                let to = if to.to_string_lossy().ends_with('/') || to.is_dir() {
                    to.join(name)
                } else {
                    to.to_owned()
                };
                self.file(size, &to).await
            }
        }
    }

    async fn file(self, size: u64, to: &Path) -> Result<TransferCounts, Error> {
        let Download {
            events,
            connection,
            from,
            sudo,
            ..
        } = self;
        let host = &connection.target().name;
        let what = format!("download {from}");
        let here = |error: io::Error| Error::here(to, error);
        make_parent(to)?;
        let mut name = to.as_os_str().to_owned();
        name.push(".part");
        let part = PathBuf::from(name);
        // What an earlier try has left is taken on, if it is the same so far.
        let begun = fs::metadata(&part).map_or(0, |metadata| metadata.len());
        let path = quote(from);
        let start = if begun > 0 && begun <= size {
            let ask = Command {
                sudo,
                ..Command::new(format!("head -c {begun} {path} | sha256sum"))
            };
            let output = connection.run(&ask).await?;
            let own = tree::digest(&part, None).map_err(here)?;
            if output.text().starts_with(&own) {
                begun
            } else {
                0
            }
        } else {
            0
        };
        let mut into = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&part)
            .map_err(here)?;
        into.set_len(start)
            .and_then(|()| into.seek(SeekFrom::Start(start)))
            .map_err(here)?;
        let progress = Progress::new(events, host, format!("downloading {from}"), Some(size));
        progress.done.store(start, Ordering::Relaxed);
        let command = Command {
            sudo,
            keep: Keep::End,
            ..Command::new(format!("tail -c +{} {path}", start + 1))
        };
        fetch(connection, &command, &what, &mut into, &progress, &part).await?;
        if into.metadata().map_err(here)?.len() < size {
            return Err(Error::There {
                host: host.clone(),
                what,
                cause: "it became shorter meanwhile".to_owned(),
            });
        }
        fs::rename(&part, to).map_err(here)?;
        Ok(TransferCounts {
            transferred: 1,
            ..TransferCounts::default()
        })
    }

    async fn folder(self) -> Result<TransferCounts, Error> {
        let Download {
            events,
            connection,
            from,
            to,
            sudo,
            remove,
        } = self;
        let host = &connection.target().name;
        let what = format!("download {from}");
        let there = tree::there(connection, from, sudo, true).await?;
        fs::create_dir_all(to).map_err(|error| Error::here(to, error))?;
        // Nothing outside the folder is compared, or removed.
        let here = tree::here(to, false)?;
        let changed: Vec<&String> = there
            .iter()
            .filter(|(path, digest)| here.get(*path) != Some(digest))
            .map(|(path, _)| path)
            .collect();
        let mut tally = TransferCounts {
            transferred: changed.len(),
            unchanged: there.len() - changed.len(),
            removed: 0,
        };
        if !changed.is_empty() {
            let mut archive = tempfile::tempfile().map_err(|error| Error::here(to, error))?;
            let progress = Progress::new(events, host, format!("downloading {from}"), None);
            let names: Vec<u8> = changed
                .iter()
                .flat_map(|path| format!("./{path}\0").into_bytes())
                .collect();
            let command = Command {
                sudo,
                keep: Keep::End,
                stdin: Input::Bytes(names.into()),
                ..Command::new(format!("cd -- {} && tar -chf - --null -T -", quote(from)))
            };
            fetch(connection, &command, &what, &mut archive, &progress, to).await?;
            archive
                .seek(SeekFrom::Start(0))
                .map_err(|error| Error::here(to, error))?;
            unpack(archive, to).map_err(|error| Error::here(to, error))?;
        }
        if remove {
            for path in here.keys().filter(|path| !there.contains_key(*path)) {
                let path = to.join(path);
                fs::remove_file(&path).map_err(|error| Error::here(&path, error))?;
                tally.removed += 1;
            }
        }
        Ok(tally)
    }
}

/// Unpacks plain files. Links are not made, and names that would lead out of the folder are not
/// followed: the server may be anybody's.
fn unpack(archive: fs::File, to: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            entry.unpack_in(to)?;
        }
    }
    Ok(())
}

/// Runs a command and writes what it writes into a file.
async fn fetch(
    connection: &Arc<Connection>,
    command: &Command,
    what: &str,
    into: &mut fs::File,
    progress: &Progress,
    path: &Path,
) -> Result<(), Error> {
    let mut written = Ok(());
    let output = connection
        .exec(command, |stream, bytes| {
            if stream == Stream::Stdout && written.is_ok() {
                written = into.write_all(bytes);
                progress
                    .done
                    .fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
        })
        .await?;
    written.map_err(|error| Error::here(path, error))?;
    Error::check(&connection.target().name, what, &output)
}

fn make_parent(path: &Path) -> Result<(), Error> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => {
            fs::create_dir_all(folder).map_err(|error| Error::here(folder, error))
        }
        _ => Ok(()),
    }
}
