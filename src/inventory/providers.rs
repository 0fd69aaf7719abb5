//! All providers of a run.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::{
    inventory::NodeCache,
    provider::{Error, Node, Provider},
};

/// The providers that there are, by name.
#[derive(Clone)]
pub struct Providers(Vec<Arc<dyn Provider>>);

impl Providers {
    /// These providers, in the order in which their servers are listed.
    pub fn new(providers: Vec<Arc<dyn Provider>>) -> Self {
        Providers(providers)
    }

    /// Adds further ones.
    pub fn add(&mut self, further: Vec<Arc<dyn Provider>>) {
        self.0.extend(further);
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
        self.get(&node.provider)
    }

    /// A server that is there without being listed, because its name is its address.
    pub fn by_address(&self, name: &str) -> Option<Node> {
        self.0.iter().find_map(|provider| provider.by_address(name))
    }

    /// The names of all providers.
    pub fn names(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|provider| provider.name().to_owned())
            .collect()
    }

    /// The servers of all providers, asked at once, and what those said that could not answer. A
    /// provider that is not configured has no servers. One that is far away and said a moment ago
    /// what it has is not asked again.
    pub async fn list(&self, recent: &NodeCache) -> (Vec<Node>, Vec<Error>) {
        let ask = async |provider: &Arc<dyn Provider>| {
            if provider.is_far()
                && let Some(nodes) = recent.get(provider.name())
            {
                return Ok(nodes);
            }
            let nodes = provider.list().await?;
            if provider.is_far() {
                recent.keep(provider.name(), &nodes);
            }
            Ok(nodes)
        };
        let answers = join_all(self.0.iter().map(ask)).await;
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
    let role = crate::provider::role(name);
    let number = name[role.len()..].trim_start_matches('-');
    (role, number.parse().unwrap_or(0), name)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::{super::NodeCache, *};
    use crate::{
        core::{
            event::Activity,
            value::{Invalid, Value},
        },
        provider::{Create, NodeState, ServerChange},
        ssh::Login,
    };

    /// A provider that counts how often it is asked.
    struct Cloud(AtomicUsize);

    #[async_trait]
    impl Provider for Cloud {
        fn name(&self) -> &'static str {
            "cloud"
        }

        fn validate(&self, _: &Value) -> Result<(), Invalid> {
            Ok(())
        }

        async fn list(&self) -> Result<Vec<Node>, Error> {
            let asked = self.0.fetch_add(1, Ordering::SeqCst);
            Ok(vec![Node {
                provider: "cloud".to_owned(),
                name: format!("web-{asked}"),
                id: "1".to_owned(),
                size: String::new(),
                image: String::new(),
                ip: "192.0.2.1".to_owned(),
                internal_ip: String::new(),
                state: NodeState::Running,
                created: Some("2026-11-22T00:00:00Z".parse().unwrap()),
                manifest: None,
                region: String::new(),
                is_protected: false,
            }])
        }

        async fn create(&self, _: &Create, _: &Activity) -> Result<Node, Error> {
            Err(self.none())
        }

        async fn terminate(&self, _: &Node) -> Result<(), Error> {
            Err(self.none())
        }

        async fn reboot(&self, _: &Node) -> Result<(), Error> {
            Err(self.none())
        }

        async fn rename(&self, _: &Node, _: &str) -> Result<(), Error> {
            Err(self.none())
        }

        fn changes(&self, _: &Node, _: &Value) -> Result<Vec<ServerChange>, Invalid> {
            Ok(Vec::new())
        }

        async fn resize(&self, _: &Node, _: &Value) -> Result<(), Error> {
            Err(self.none())
        }

        async fn login(&self, _: &Node) -> Result<Login, Error> {
            Err(self.none())
        }

        async fn set_up(&self, _: &Activity) -> Result<(), Error> {
            Err(self.none())
        }
    }

    impl Cloud {
        fn none(&self) -> Error {
            Error::Unsupported {
                provider: self.name().to_owned(),
                what: "do that",
                help: String::new(),
            }
        }
    }

    #[tokio::test]
    async fn asked_once_in_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let recent = NodeCache::new(folder.path().join("nodes"));
        let providers = Providers::new(vec![Arc::new(Cloud(AtomicUsize::new(0)))]);
        let (first, _) = providers.list(&recent).await;
        let (second, _) = providers.list(&recent).await;
        assert_eq!(first, second);
        recent.flush();
        let (third, _) = providers.list(&recent).await;
        assert_eq!(third[0].name, "web-1");
        // What is old does not count, nor what cannot be read.
        std::fs::write(folder.path().join("nodes/cloud"), "nonsense").unwrap();
        let (fourth, _) = providers.list(&recent).await;
        assert_eq!(fourth[0].name, "web-2");
    }
}
