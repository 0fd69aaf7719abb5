//! A manifest: which servers and containers there should be.

mod check;
mod load;
pub(super) mod template;
pub(super) mod tree;
pub(super) mod variable;
mod yaml;

#[cfg(test)]
pub(super) use load::read;
pub use load::{find, load};
pub use yaml::parse as parse_yaml;

use std::{path::PathBuf, sync::Arc};

use crate::{
    core::{diagnostic::Source, value::Span},
    ensemble::manifest::tree::Tree,
};

/// A manifest, loaded and understood. Counts and templates are worked out; variables are not.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its name: that of the file, without its ending.
    pub name: String,
    /// What it makes is labelled with this: the path within the project, without the ending. Two
    /// manifests of one name in different folders have nothing to do with each other.
    pub id: String,
    /// Its text.
    pub source: Arc<Source>,
    /// Where relative paths in it begin.
    pub folder: PathBuf,
    /// Its servers, in the order in which they are written.
    pub servers: Vec<Server>,
}

/// A server of a manifest.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub provider: String,
    /// The provider's options.
    pub(in crate::ensemble) options: Tree,
    /// Its containers.
    pub containers: Vec<Container>,
    /// Where it is written.
    pub(in crate::ensemble) span: Option<Span>,
}

/// A container of a manifest.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// What it should be.
    pub(in crate::ensemble) body: Tree,
    /// Where it is written.
    pub(in crate::ensemble) span: Option<Span>,
}

impl Manifest {
    /// A server by name.
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// A container by the names of its server and its own.
    pub fn container(&self, server: &str, name: &str) -> Option<&Container> {
        self.server(server)?
            .containers
            .iter()
            .find(|container| container.name == name)
    }
}
