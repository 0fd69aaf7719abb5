//! Transfers to and from a machine without a shell.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Seek, SeekFrom},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use super::{
    Download, Error, TransferCounts, Upload,
    pattern::Pattern,
    private_file::{PrivateFile, unpack},
    tree,
};
use crate::machine::{LocalContent, LocalFile, Machine, RawContent, RawFiles};

/// Reads a file or folder of a machine without a shell; none if the machine has one.
pub async fn read_raw(
    machine: &dyn Machine,
    path: &str,
    sudo: bool,
) -> Result<Option<RawContent>, Error> {
    match machine.raw_files().await? {
        Some(files) => Ok(Some(files.read(path, sudo).await?)),
        None => Ok(None),
    }
}

/// The SHA-256 digest of a file, in hexadecimal digits; none if it is no file.
pub fn digest(content: RawContent) -> io::Result<Option<String>> {
    match content {
        RawContent::File { content, .. } => tree::digest_of(content).map(Some),
        RawContent::Missing | RawContent::Folder { .. } => Ok(None),
    }
}

impl Upload<'_> {
    /// Uploads a file.
    pub(super) async fn raw_file(self, files: &dyn RawFiles, to: &str) -> Result<(), Error> {
        let content = LocalContent::File(self.from.to_owned());
        Ok(files.write_file(to, content, self.write_options).await?)
    }

    /// Uploads the files of a folder that differ.
    pub(super) async fn raw_folder(self, files: &dyn RawFiles) -> Result<TransferCounts, Error> {
        let Upload {
            machine,
            from,
            to,
            write_options,
            remove,
            ..
        } = self;
        let local = tree::read_local(from, true)?;
        let found = files.read(to, write_options.sudo).await?;
        let (is_new, remote) = match found {
            RawContent::Missing => (true, tree::Digests::new()),
            RawContent::Folder { archive, .. } => {
                let tree = tree::read_archive(archive);
                (false, tree.map_err(|error| Error::local(from, error))?)
            }
            RawContent::File { .. } => return Err(failed(self.machine.name(), to, "it is a file")),
        };
        let mut extra = remote.keys().filter(|path| !local.contains_key(*path));
        if let Some(path) = extra.next().filter(|_| remove) {
            let cause = format!(
                "`{}` cannot be removed, as the image has no shell",
                path.display()
            );
            return Err(failed(machine.name(), to, &cause));
        }
        let (mut changed, mut bytes) = (Vec::new(), 0);
        for (path, digest) in &local {
            if remote.get(path) != Some(digest) {
                let from = from.join(path);
                let found = fs::metadata(&from).map_err(|error| Error::local(&from, error))?;
                bytes += found.len();
                changed.push(LocalFile {
                    path: path.clone(),
                    mode: found.permissions().mode() & 0o777,
                    from,
                });
            }
        }
        let transferred = changed.len();
        if transferred > 0 || is_new {
            files.write_folder(to, changed, write_options).await?;
        }
        Ok(TransferCounts {
            transferred,
            unchanged: local.len() - transferred,
            removed: 0,
            bytes,
        })
    }
}

impl Download<'_> {
    /// Downloads a file, or the files of a folder that differ.
    pub(super) async fn raw(self, files: &dyn RawFiles) -> Result<TransferCounts, Error> {
        let host = self.machine.name();
        match files.read(self.from, self.sudo).await? {
            RawContent::Missing if Pattern::parse(self.from).is_some() => Err(Error::Pattern {
                host: host.to_owned(),
                from: self.from.to_owned(),
                cause: "a pattern needs a shell, which the container does not have".to_owned(),
            }),
            RawContent::Missing => Err(failed(host, self.from, "no such file or folder")),
            RawContent::File { mut content, mode } => {
                let to = self.place();
                let received = PrivateFile::create(&to).and_then(|file| {
                    let bytes = io::copy(&mut content, &mut file.file())?;
                    file.finish(mode).map(|()| bytes)
                });
                Ok(TransferCounts {
                    transferred: 1,
                    bytes: received.map_err(|error| Error::local(&to, error))?,
                    ..TransferCounts::default()
                })
            }
            RawContent::Folder { links, .. } if !links.is_empty() => {
                let link = links.first().map(|link| link.display().to_string());
                let link = link.unwrap_or_default();
                let cause = format!(
                    "`{link}` is a link, which `docker.cp` copies; the image has no shell to follow it"
                );
                Err(failed(host, self.from, &cause))
            }
            RawContent::Folder { archive, .. } => self.raw_folder(archive),
        }
    }

    fn raw_folder(self, mut archive: File) -> Result<TransferCounts, Error> {
        let to = self.to;
        let fail = |error: io::Error| Error::local(to, error);
        fs::create_dir_all(to).map_err(fail)?;
        let again = archive.try_clone().map_err(fail)?;
        let remote = tree::read_archive(again).map_err(fail)?;
        let local = tree::read_local(to, false)?;
        let changed: BTreeSet<&Path> = remote
            .iter()
            .filter(|(path, digest)| local.get(*path) != Some(digest))
            .map(|(path, _)| path.as_path())
            .collect();
        let mut counts = TransferCounts {
            transferred: changed.len(),
            unchanged: remote.len() - changed.len(),
            removed: 0,
            bytes: archive.metadata().map_err(fail)?.len(),
        };
        archive.seek(SeekFrom::Start(0)).map_err(fail)?;
        unpack(archive, to, &changed).map_err(fail)?;
        if self.remove {
            for path in local.keys().filter(|path| !remote.contains_key(*path)) {
                let path = to.join(path);
                fs::remove_file(&path).map_err(|error| Error::local(&path, error))?;
                counts.removed += 1;
            }
        }
        Ok(counts)
    }
}

fn failed(host: &str, path: &str, cause: &str) -> Error {
    Error::Remote {
        host: host.to_owned(),
        what: format!("transfer {path}"),
        cause: cause.to_owned(),
    }
}
