//! `docker.cp`: copies files and folders into containers and out of them, complete or with an error.
//!
//! The engine's archive API may report success for half of the files: it ends an archive early if a
//! file changes while it is read, and accepts an archive that was cut. So an archive that is read must
//! have its end, and what was written is read back and compared.

mod archive;
mod download;
mod place;
mod raw;
mod tree;
mod upload;

use std::path::PathBuf;

use archive::Problem;
pub use archive::{Tally, read_archive};
pub(super) use raw::Written;

use super::{Engine, Error};
use crate::core::diagnostic::{Diagnostic, Kind};

/// A copy between the local machine and a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copy {
    /// From a container.
    Download {
        /// The container's name.
        container: String,
        /// The path in the container.
        from: String,
        /// The path on the local machine, as the user writes it.
        to: String,
    },
    /// Into a container.
    Upload {
        /// The path on the local machine, as the user writes it.
        from: String,
        /// The container's name.
        container: String,
        /// The path in the container.
        to: String,
    },
}

impl Copy {
    /// Parses `CONTAINER:/PATH`, which one of both must be.
    pub fn parse(source: &str, target: &str) -> Result<Self, Diagnostic> {
        match (in_container(source), in_container(target)) {
            (Some((container, from)), None) => Ok(Copy::Download {
                container,
                from,
                to: target.to_owned(),
            }),
            (None, Some((container, to))) => Ok(Copy::Upload {
                from: source.to_owned(),
                container,
                to,
            }),
            _ => {
                let message =
                    format!("docker.cp: one of `{source}` and `{target}` must be in a container");
                let help = "write CONTAINER:/PATH for it, and a path of this machine for the other";
                Err(Diagnostic::new(Kind::Usage, message).help(help.to_owned()))
            }
        }
    }

    /// Copies, with a path on the local machine in place of the one that the user wrote.
    pub async fn run(&self, engine: &Engine, local: PathBuf) -> Result<Tally, Error> {
        match self {
            Copy::Download {
                container, from, ..
            } => engine.download(container, from, local).await,
            Copy::Upload { container, to, .. } => engine.upload(local, container, to).await,
        }
    }
}

/// Splits `CONTAINER:/PATH`.
fn in_container(text: &str) -> Option<(String, String)> {
    let (container, path) = text.split_once(':')?;
    let is_container = !container.is_empty() && !container.contains('/');
    (is_container && path.starts_with('/')).then(|| (container.to_owned(), path.to_owned()))
}

/// Splits a path in a container into the folder and the name.
fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix("/.").unwrap_or(path);
    let (folder, name) = path.rsplit_once('/')?;
    let folder = if folder.is_empty() { "/" } else { folder };
    (!["", ".", ".."].contains(&name)).then_some((folder, name))
}

impl Engine {
    /// The error of a copy; `what` is the copy.
    fn copy_failed(&self, what: &str, problem: Problem) -> Error {
        if let Err(lost) = self.machine().check_connected(what) {
            return lost.into();
        }
        let host = self.host.clone();
        let what = what.to_owned();
        match problem {
            Problem::Incomplete(cause) => Error::Incomplete { host, what, cause },
            Problem::Refused(cause) => Error::Api { host, what, cause },
            Problem::Io(error) => Error::Api {
                host,
                what,
                cause: crate::core::diagnostic::plain(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_side_is_a_container() {
        let download = Copy::parse("web:/etc/app.conf", "app.conf").unwrap();
        let expected = Copy::Download {
            container: "web".to_owned(),
            from: "/etc/app.conf".to_owned(),
            to: "app.conf".to_owned(),
        };
        assert_eq!(download, expected);
        assert!(matches!(
            Copy::parse("./a:/b", "web:/b"),
            Ok(Copy::Upload { .. })
        ));
        assert!(Copy::parse("a", "b").is_err());
        assert!(Copy::parse("a:/a", "b:/b").is_err());
        assert!(Copy::parse("a:b", "b").is_err());
    }

    #[test]
    fn paths_are_split() {
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("/a/"), Some(("/", "a")));
        assert_eq!(split("/a/b/."), Some(("/a", "b")));
        assert_eq!(split("/"), None);
        assert_eq!(split("/a/.."), None);
    }
}
