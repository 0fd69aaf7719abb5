//! Files of a container whose image has no shell.

use async_trait::async_trait;

use super::Inside;
use crate::{
    docker::{Error, copy::Written},
    machine::{self, LocalContent, LocalFile, RawContent, RawFiles, WriteOptions},
};

/// The mode of a new file, as for other machines.
const NEW_MODE: u32 = 0o644;

impl Inside {
    /// Fails unless files may be read and written as root, which the engine does.
    fn check_root(&self, what: &str, sudo: bool) -> Result<(), Error> {
        if self.is_root || sudo {
            return Ok(());
        }
        Err(Error::WithoutShell {
            host: self.name.clone(),
            what: what.to_owned(),
            cause: "the engine does it as root".to_owned(),
            help: "allow that with `sudo=true`",
        })
    }

    fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') {
            return path.to_owned();
        }
        format!("{}/{path}", self.folder.trim_end_matches('/'))
    }

    fn written(&self, what: &str, options: &WriteOptions) -> Result<Written, Error> {
        self.check_root(what, options.sudo)?;
        let mode = |mode: &Option<String>| {
            mode.as_deref()
                .and_then(|mode| u32::from_str_radix(mode, 8).ok())
        };
        let owner = options.owner.as_deref().map(|owner| {
            numbers(owner).ok_or_else(|| Error::WithoutShell {
                host: self.name.clone(),
                what: what.to_owned(),
                cause: format!("owner `{owner}` cannot be looked up"),
                help: "write numbers, for example `1000:1000`",
            })
        });
        Ok(Written {
            mode: mode(&options.mode),
            new_mode: mode(&options.new_mode).unwrap_or(NEW_MODE),
            is_private: options.is_private,
            owner: owner.transpose()?,
            folders: options.folders,
        })
    }
}

/// The numbers in `USER` or `USER:GROUP`.
fn numbers(owner: &str) -> Option<(u64, Option<u64>)> {
    match owner.split_once(':') {
        Some((user, group)) => Some((user.parse().ok()?, Some(group.parse().ok()?))),
        None => Some((owner.parse().ok()?, None)),
    }
}

#[async_trait]
impl RawFiles for Inside {
    async fn read(&self, path: &str, sudo: bool) -> Result<RawContent, machine::Error> {
        self.check_root(&format!("reading `{path}`"), sudo)?;
        let id = self.look().await?.id;
        let read = self.engine.read_raw(&id, &self.absolute(path)).await;
        Ok(read.map_err(|error| error.inside(&self.name))?)
    }

    async fn write_file(
        &self,
        path: &str,
        content: LocalContent,
        options: &WriteOptions,
    ) -> Result<(), machine::Error> {
        let written = self.written(&format!("writing `{path}`"), options)?;
        let (id, path) = (self.look().await?.id, self.absolute(path));
        let writing = self.engine.write_raw_file(&id, &path, content, &written);
        Ok(writing.await.map_err(|error| error.inside(&self.name))?)
    }

    async fn write_folder(
        &self,
        path: &str,
        files: Vec<LocalFile>,
        options: &WriteOptions,
    ) -> Result<(), machine::Error> {
        let written = self.written(&format!("writing `{path}`"), options)?;
        let (id, path) = (self.look().await?.id, self.absolute(path));
        let path = path.trim_end_matches('/');
        let writing = self.engine.write_raw_folder(&id, path, files, &written);
        Ok(writing.await.map_err(|error| error.inside(&self.name))?)
    }
}
