//! Manifests: the wanted servers and containers.

mod check;
mod depends;
mod facts;
mod file;
mod load;
mod name;
mod template;
mod tree;
mod variable;
mod warning;
mod yaml;

pub use depends::Dependency;
pub use facts::Facts;
pub use file::{LARGEST, find, find_only, is_manifest, names};
pub use load::{load, read};
pub use tree::Tree;
pub use variable::{Awaited, Variable, read_variables};
pub use warning::warnings;
pub use yaml::parse as parse_yaml;

use std::{
    collections::{BTreeMap, HashMap, hash_map},
    path::PathBuf,
    sync::Arc,
};

use crate::{
    core::{
        diagnostic::Source,
        value::{Span, Value},
    },
    docker::Inputs,
};

/// A manifest with expanded templates and counts, and with unresolved variables.
///
/// Everything that it needs from the local machine was read when it was loaded.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The name of its file, without the extension.
    pub name: String,
    /// The path within the project, without the extension. Resources are labelled with it, so
    /// that manifests of one name in different folders do not share resources.
    pub id: String,
    /// Its text.
    pub source: Arc<Source>,
    /// The folder that relative paths in it start from.
    pub folder: PathBuf,
    /// Its servers, in the order in which they are written.
    pub servers: Vec<Server>,
    /// The index of each server, by name.
    index: HashMap<String, usize>,
    /// The env files and build folders that its containers refer to.
    pub(in crate::ensemble) inputs: Arc<Inputs>,
    /// The environment variables that it uses.
    environment: Arc<BTreeMap<String, String>>,
}

/// A server of a manifest.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// The name of its provider.
    pub provider: String,
    /// The provider's options.
    pub(in crate::ensemble) options: Arc<Tree>,
    /// The block device for the engine's data, which is used when Docker is set up.
    pub docker_mount: Option<String>,
    /// Its firewall.
    pub(in crate::ensemble) firewall: Option<Arc<Tree>>,
    /// Its containers, in the order in which they are written.
    pub containers: Vec<Container>,
    /// The index of each container, by name.
    index: Arc<HashMap<String, usize>>,
    /// The span of its key.
    pub(in crate::ensemble) span: Option<Span>,
}

/// A container of a manifest.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its options. Copies share them.
    pub(in crate::ensemble) body: Arc<Tree>,
    /// The containers that are ready before it is created or replaced. Copies share them.
    pub(in crate::ensemble) depends_on: Arc<[Dependency]>,
    /// The span of its key.
    pub(in crate::ensemble) span: Option<Span>,
}

impl Manifest {
    /// The purpose of the locks of its servers, which other runs are told.
    pub(super) fn lock_purpose(&self) -> String {
        format!("`{}` is being changed", self.name)
    }

    /// The same manifest without its servers.
    pub fn without_servers(&self) -> Self {
        Manifest {
            servers: Vec::new(),
            index: HashMap::new(),
            ..self.clone()
        }
    }

    /// A manifest without servers.
    fn new(name: &str, source: Arc<Source>, folder: PathBuf) -> Self {
        Manifest {
            name: name.to_owned(),
            id: name.to_owned(),
            source,
            folder,
            servers: Vec::new(),
            index: HashMap::new(),
            inputs: Arc::default(),
            environment: Arc::default(),
        }
    }

    /// Adds a server. Returns whether its name was free.
    fn add(&mut self, server: Server) -> bool {
        match self.index.entry(server.name.clone()) {
            hash_map::Entry::Occupied(_) => false,
            hash_map::Entry::Vacant(entry) => {
                entry.insert(self.servers.len());
                self.servers.push(server);
                true
            }
        }
    }

    /// The number of servers, their firewalls, and containers.
    pub fn resources(&self) -> usize {
        let containers = self.servers.iter().map(|server| server.containers.len());
        self.servers.len() * 2 + containers.sum::<usize>()
    }

    /// A server by name.
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.get(*self.index.get(name)?)
    }

    /// The servers that a name stands for: that of the first copy which a `count` makes stands for all
    /// copies.
    pub fn servers_named(&self, name: &str) -> Vec<&Server> {
        let Some(named) = self.server(name) else {
            return Vec::new();
        };
        let copies = self.servers.iter();
        let copies = copies.filter(|other| Arc::ptr_eq(&other.options, &named.options));
        let copies: Vec<&Server> = copies.collect();
        match copies.first() {
            Some(first) if first.name == name => copies,
            _ => vec![named],
        }
    }

    /// A container, by the names of its server and its own.
    pub fn container(&self, server: &str, name: &str) -> Option<&Container> {
        self.server(server)?.container(name)
    }
}

impl Container {
    /// The image whose registry is asked whether it has another one by now (`pull: check`), if that
    /// is wanted and known.
    pub fn checked_image(&self, known: &dyn Fn(&Variable) -> Option<Value>) -> Option<String> {
        let text = |key: &str| {
            let value = self.body.field(key)?.resolve(known).ok()?;
            value.to_text(key).ok()
        };
        (text("pull")? == "check").then(|| text("image"))?
    }
}

impl Server {
    /// A container by name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.get(*self.index.get(name)?)
    }

    /// The containers that a name stands for, as [`Manifest::servers_named`] says.
    pub fn containers_named(&self, name: &str) -> Vec<&Container> {
        let Some(named) = self.container(name) else {
            return Vec::new();
        };
        let copies = self.containers.iter();
        let copies = copies.filter(|other| Arc::ptr_eq(&other.body, &named.body));
        let copies: Vec<&Container> = copies.collect();
        match copies.first() {
            Some(first) if first.name == name => copies,
            _ => vec![named],
        }
    }
}
