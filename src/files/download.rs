//! Downloads of files and folders from a server.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use super::{
    Error, Progress, TransferCounts,
    pattern::Pattern,
    private_file::{PrivateFile, unpack},
    tree::{self, Links},
};
use crate::{
    core::{
        event::{Events, Stream},
        process::Keep,
    },
    machine::Machine,
    ssh::{Command, Input, quote},
};

/// A download of a file or folder. Files that are identical already are not transferred.
#[derive(Clone, Copy)]
pub struct Download<'a> {
    /// Where the progress is reported.
    pub events: &'a Events,
    /// The server.
    pub machine: &'a dyn Machine,
    /// The path on the server. A pattern with `*`, `?` or `[…]` stands for all paths that match it.
    pub from: &'a str,
    /// The local path; a folder if it ends with a slash.
    pub to: &'a Path,
    /// Reads as root.
    pub sudo: bool,
    /// Removes local files of the folder that the server does not have.
    pub remove: bool,
}

impl Download<'_> {
    /// Runs the download.
    pub async fn run(self) -> Result<TransferCounts, Error> {
        if let Some(files) = self.machine.raw_files().await? {
            return self.raw(files).await;
        }
        match Pattern::parse(self.from) {
            Some(pattern) => self.all_of(&pattern).await,
            None => self.one().await,
        }
    }

    /// Downloads all files and folders that match a pattern into a folder.
    async fn all_of(self, pattern: &Pattern) -> Result<TransferCounts, Error> {
        let Download { machine, from, .. } = self;
        let wrong = |cause: &str| Error::Pattern {
            host: machine.name().to_owned(),
            from: from.to_owned(),
            cause: cause.to_owned(),
        };
        // A path that exists is not a pattern.
        let path = quote(from);
        let query = Command {
            sudo: self.sudo,
            ..Command::new(format!(
                "if [ -e {path} ]; then printf '%s\\0' {path}; exit; fi
                 for path in {}; do [ ! -e \"$path\" ] || printf '%s\\0' \"$path\"; done",
                pattern.word
            ))
        };
        let output = machine.run(&query).await?;
        Error::check(machine.name(), &format!("download {from}"), &output)?;
        let text = str::from_utf8(&output.stdout).map_err(|_| wrong("a name is not UTF-8"))?;
        let paths: Vec<&str> = text
            .split_terminator('\0')
            .map(|path| path.trim_end_matches('/'))
            .filter(|path| !matches!(name_of(path), "" | "." | ".."))
            .collect();
        if paths.is_empty() {
            return Err(wrong("no file matches"));
        }
        if paths == [from.trim_end_matches('/')] {
            return self.one().await;
        }
        if !paths.iter().all(|path| pattern.matches(path)) {
            return Err(wrong("the server answered with a path that does not match"));
        }
        if self.remove {
            return Err(wrong("`delete` needs the path of one folder"));
        }
        let names: BTreeSet<&str> = paths.iter().map(|path| name_of(path)).collect();
        if names.len() < paths.len() {
            return Err(wrong("two matches have the same name"));
        }
        fs::create_dir_all(self.to).map_err(|error| Error::local(self.to, error))?;
        let mut counts = TransferCounts::default();
        for path in paths {
            let to = &self.to.join(name_of(path));
            let from = path;
            let added = Download { from, to, ..self }.one().await?;
            counts.transferred += added.transferred;
            counts.unchanged += added.unchanged;
            counts.bytes += added.bytes;
        }
        Ok(counts)
    }

    /// Downloads one file or folder.
    async fn one(self) -> Result<TransferCounts, Error> {
        let Download {
            machine,
            from,
            sudo,
            ..
        } = self;
        let host = machine.name();
        let what = format!("download {from}");
        let path = quote(from);
        let query = Command {
            sudo,
            ..Command::new(format!(
                "if [ -d {path} ]; then echo folder
                 elif [ -f {path} ]; then wc -c <{path} && stat -Lc %a -- {path}
                 elif [ ! -e {path} ]; then echo {path}: not found, or its folder cannot be read >&2; exit 1
                 else echo {path}: neither a file nor a folder >&2; exit 1; fi"
            ))
        };
        let output = machine.run(&query).await?;
        Error::check(host, &what, &output)?;
        let text = output.text();
        let mut words = text.split_whitespace();
        let size = words.next().and_then(|word| word.parse().ok());
        let mode = words
            .next()
            .and_then(|word| u32::from_str_radix(word, 8).ok());
        match size.zip(mode) {
            None => self.folder().await,
            Some((size, mode)) => self.file(size, mode, &self.place()).await,
        }
    }

    /// The local path of a file.
    pub(super) fn place(&self) -> PathBuf {
        let Download { from, to, .. } = self;
        let name = name_of(from);
        if to.to_string_lossy().ends_with('/') || to.is_dir() {
            to.join(name)
        } else {
            (*to).to_owned()
        }
    }

    async fn file(self, size: u64, mode: u32, to: &Path) -> Result<TransferCounts, Error> {
        let Download {
            events,
            machine,
            from,
            sudo,
            ..
        } = self;
        let host = machine.name();
        let what = format!("download {from}");
        let fail = |error: io::Error| Error::local(to, error);
        // Continues an interrupted download, if its part equals the beginning of the file.
        let part = PrivateFile::resume(to).map_err(fail)?;
        let part_size = part.file().metadata().map_err(fail)?.len();
        let path = quote(from);
        let start = if part_size > 0 && part_size <= size {
            let query = Command {
                sudo,
                ..Command::new(format!("head -c {part_size} {path} | sha256sum"))
            };
            let output = machine.run(&query).await?;
            let digest = tree::digest_of(part.file()).map_err(fail)?;
            if output.text().starts_with(&digest) {
                part_size
            } else {
                0
            }
        } else {
            0
        };
        let mut into = part.file();
        into.set_len(start)
            .and_then(|()| into.seek(SeekFrom::Start(start)))
            .map_err(fail)?;
        let progress = Progress::new(events, host, format!("downloading {from}"), Some(size));
        progress.done.store(start, Ordering::Relaxed);
        let command = Command {
            sudo,
            keep: Keep::End,
            ..Command::new(format!("tail -c +{} {path}", start + 1))
        };
        fetch(machine, &command, &what, into, &progress, to).await?;
        if into.metadata().map_err(fail)?.len() < size {
            return Err(Error::Remote {
                host: host.to_owned(),
                what,
                cause: "the file shrank during the transfer".to_owned(),
            });
        }
        part.finish(mode).map_err(fail)?;
        Ok(TransferCounts {
            transferred: 1,
            bytes: size,
            ..TransferCounts::default()
        })
    }

    async fn folder(self) -> Result<TransferCounts, Error> {
        let Download {
            events,
            machine,
            from,
            to,
            sudo,
            remove,
        } = self;
        let host = machine.name();
        let what = format!("download {from}");
        let remote = tree::read_remote(machine, from, sudo, Links::Follow).await?;
        fs::create_dir_all(to).map_err(|error| Error::local(to, error))?;
        // Without following links, so that no file outside the folder is removed.
        let local = tree::read_local(to, false)?;
        let changed: BTreeSet<&Path> = remote
            .iter()
            .filter(|(path, found)| local.get(*path) != Some(&found.digest))
            .map(|(path, _)| path.as_path())
            .collect();
        let mut tally = TransferCounts {
            transferred: changed.len(),
            unchanged: remote.len() - changed.len(),
            removed: 0,
            bytes: 0,
        };
        if !changed.is_empty() {
            let mut archive = tempfile::tempfile().map_err(|error| Error::local(to, error))?;
            let progress = Progress::new(events, host, format!("downloading {from}"), None);
            let names: Vec<u8> = changed
                .iter()
                .flat_map(|path| [b"./", path.as_os_str().as_bytes(), b"\0"].concat())
                .collect();
            // GNU tar would take a backslash in a name for an escape.
            let command = Command {
                sudo,
                keep: Keep::End,
                stdin: Input::Bytes(names.into()),
                ..Command::new(format!(
                    "cd -- {} && if tar --no-unquote --version >/dev/null 2>&1
                     then xargs -0 tar --no-unquote -chf -; else xargs -0 tar -chf -; fi",
                    quote(from)
                ))
            };
            fetch(machine, &command, &what, &archive, &progress, to).await?;
            tally.bytes = progress.done.load(Ordering::Relaxed);
            archive
                .seek(SeekFrom::Start(0))
                .map_err(|error| Error::local(to, error))?;
            unpack(archive, to, &changed).map_err(|error| Error::local(to, error))?;
        }
        if remove {
            for path in local.keys().filter(|path| !remote.contains_key(*path)) {
                let path = to.join(path);
                fs::remove_file(&path).map_err(|error| Error::local(&path, error))?;
                tally.removed += 1;
            }
        }
        Ok(tally)
    }
}

/// The last part of a path on a server.
fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Runs a command, and writes its standard output to a file.
async fn fetch(
    machine: &dyn Machine,
    command: &Command,
    what: &str,
    mut into: &File,
    progress: &Progress,
    path: &Path,
) -> Result<(), Error> {
    let mut written = Ok(());
    let output = machine
        .exec(command, &mut |stream, bytes| {
            if stream == Stream::Stdout && written.is_ok() {
                written = into.write_all(bytes);
                progress
                    .done
                    .fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
        })
        .await?;
    written.map_err(|error| Error::local(path, error))?;
    Error::check(machine.name(), what, &output)
}
