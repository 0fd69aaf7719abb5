//! All providers of a run.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{Error, Node, Provider};

/// The providers that there are, by name.
#[derive(Clone)]
pub struct Providers(Vec<Arc<dyn Provider>>);

impl Providers {
    /// These providers, in the order in which their servers are listed.
    pub fn new(providers: Vec<Arc<dyn Provider>>) -> Self {
        Providers(providers)
    }

    /// A provider by name.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn Provider>, Error> {
        self.0
            .iter()
            .find(|provider| provider.name() == name)
            .ok_or_else(|| Error::Unknown {
                name: name.to_owned(),
                known: self.names(),
            })
    }

    /// The provider that a server comes from.
    pub fn of(&self, node: &Node) -> Result<&Arc<dyn Provider>, Error> {
        self.get(node.provider)
    }

    /// A server that is there without being listed, because its name is its address.
    pub fn by_address(&self, name: &str) -> Option<Node> {
        self.0.iter().find_map(|provider| provider.by_address(name))
    }

    /// The names of all providers.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|provider| provider.name()).collect()
    }

    /// The servers of all providers, asked at once, and what those said that could not answer. A
    /// provider that is not configured has no servers.
    pub async fn list(&self) -> (Vec<Node>, Vec<Error>) {
        let answers = join_all(self.0.iter().map(|provider| provider.list())).await;
        let (mut nodes, mut errors) = (Vec::new(), Vec::new());
        for answer in answers {
            match answer {
                Ok(mut found) => {
                    found.sort_by(|a, b| natural(&a.name).cmp(&natural(&b.name)));
                    nodes.append(&mut found);
                }
                Err(Error::NotConfigured { .. }) => {}
                Err(error) => errors.push(error),
            }
        }
        (nodes, errors)
    }
}

/// Sorts `web-2` before `web-10`.
fn natural(name: &str) -> (&str, u64, &str) {
    let role = super::role(name);
    let number = name[role.len()..].trim_start_matches('-');
    (role, number.parse().unwrap_or(0), name)
}
