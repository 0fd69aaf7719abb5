//! The providers of a run.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::{
    inventory::NodeCache,
    provider::{Error, MockProvider, MockServers, Node, Provider, UNMANAGED, Volume},
};

/// The providers, by name.
#[derive(Clone)]
pub struct Providers(Vec<Arc<dyn Provider>>);

impl Providers {
    /// These providers, in the order in which their servers are listed.
    pub fn new(providers: Vec<Arc<dyn Provider>>) -> Self {
        Providers(providers)
    }

    /// Adds providers.
    pub fn add(&mut self, further: Vec<Arc<dyn Provider>>) {
        self.0.extend(further);
    }

    /// Keeps the providers of these names, and `unmanaged`, which reads a file of the project. `ec2`
    /// includes its further regions. Keeps all of them if there are no names. Fails if a name is unknown.
    pub fn keep(&mut self, names: &[String]) -> Result<(), Error> {
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            self.get(name)?;
        }
        self.0.retain(|provider| {
            let name = provider.name();
            let family = name.split(':').next().unwrap_or(name);
            name == UNMANAGED || names.iter().any(|kept| kept == name || kept == family)
        });
        Ok(())
    }

    /// Providers of servers in memory, with the names and options of these.
    #[must_use]
    pub fn mocked(&self, servers: &Arc<MockServers>) -> Self {
        let reals = self.0.iter().cloned().map(Some).chain([None]);
        let mocked = reals.map(|real| -> Arc<dyn Provider> {
            let servers = servers.clone();
            Arc::new(MockProvider { real, servers })
        });
        Providers(mocked.collect())
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

    /// All providers.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Provider>> {
        self.0.iter()
    }

    /// The provider of a server. A container has none.
    pub fn of(&self, node: &Node) -> Result<&Arc<dyn Provider>, Error> {
        node.require_server()?;
        self.get(&node.provider)
    }

    /// A server that exists without being listed, because its name is its address.
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

    /// Lists the servers of all providers at once. Returns the errors of those that failed, too. A
    /// provider that is not configured has no servers. A fresh listing in the cache is used instead.
    pub async fn list(&self, recent: &NodeCache) -> (Vec<Node>, Vec<Error>) {
        let ask = async |provider: &Arc<dyn Provider>| {
            let key = provider.cache_key().await;
            let cached = key
                .as_ref()
                .and_then(|key| recent.get(provider.name(), key));
            if let Some(nodes) = cached {
                return (nodes, Vec::new());
            }
            let (nodes, errors) = provider.list_partially().await;
            if let Some(key) = key
                && errors.is_empty()
            {
                recent.keep(provider.name(), &key, &nodes);
            }
            (nodes, errors)
        };
        let answers = join_all(self.0.iter().map(ask)).await;
        let (mut nodes, mut errors) = (Vec::new(), Vec::new());
        for (mut found, failed) in answers {
            found.sort_by(|a, b| natural(&a.name).cmp(&natural(&b.name)));
            nodes.append(&mut found);
            let is_error = |error: &Error| !matches!(error, Error::NotConfigured { .. });
            errors.extend(failed.into_iter().filter(is_error));
        }
        (nodes, errors)
    }

    /// Lists the volumes of all providers at once. Returns the errors of those that failed, too. A
    /// provider that is not configured, or does not have volumes, has none.
    pub async fn volumes(&self) -> (Vec<Volume>, Vec<Error>) {
        let answers = join_all(self.0.iter().map(|provider| provider.volumes())).await;
        let (mut volumes, mut errors) = (Vec::new(), Vec::new());
        for answer in answers {
            match answer {
                Ok(mut found) => {
                    found.sort_by(|a, b| natural(&a.name).cmp(&natural(&b.name)));
                    volumes.append(&mut found);
                }
                Err(Error::NotConfigured { .. } | Error::Unsupported { .. }) => {}
                Err(error) => errors.push(error),
            }
        }
        (volumes, errors)
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
            owner::Ownership,
            value::{Invalid, Value},
        },
        provider::{Address, Create, NodeState, ServerChange},
        ssh::Login,
    };

    /// A provider that counts how often it is listed, in an account.
    struct Cloud {
        listed: AtomicUsize,
        account: &'static str,
    }

    #[async_trait]
    impl Provider for Cloud {
        fn name(&self) -> &'static str {
            "cloud"
        }

        fn validate(&self, _: &Value) -> Result<(), Invalid> {
            Ok(())
        }

        async fn cache_key(&self) -> Option<String> {
            Some(self.account.to_owned())
        }

        async fn list(&self) -> Result<Vec<Node>, Error> {
            let listed = self.listed.fetch_add(1, Ordering::SeqCst);
            Ok(vec![Node {
                provider: "cloud".to_owned(),
                name: format!("{}-{listed}", self.account),
                id: "1".to_owned(),
                size: String::new(),
                image: String::new(),
                ip: Address::parse_ip("192.0.2.1"),
                internal_ip: None,
                state: NodeState::Running,
                created: Some("2026-11-22T00:00:00Z".parse().unwrap()),
                owner: Ownership::Foreign,
                user: None,
                region: String::new(),
                is_protected: false,
                container: None,
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

        async fn start(&self, _: &Node) -> Result<(), Error> {
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

    fn providers(account: &'static str) -> Providers {
        let listed = AtomicUsize::new(0);
        Providers::new(vec![Arc::new(Cloud { listed, account })])
    }

    #[tokio::test]
    async fn listings_are_cached() {
        let folder = tempfile::tempdir().unwrap();
        let cache = NodeCache::new(folder.path().join("nodes"));
        let providers = providers("web");
        let (first, _) = providers.list(&cache).await;
        let (second, _) = providers.list(&cache).await;
        assert_eq!(first, second);
        cache.flush();
        let (third, _) = providers.list(&cache).await;
        assert_eq!(third[0].name, "web-1");
        // A file that cannot be read is not used. Nor is it readable for others.
        let path = std::fs::read_dir(folder.path().join("nodes")).unwrap();
        let path = path.map(|entry| entry.unwrap().path()).next().unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
            0o600
        );
        std::fs::write(path, "nonsense").unwrap();
        let (fourth, _) = providers.list(&cache).await;
        assert_eq!(fourth[0].name, "web-2");
    }

    #[tokio::test]
    async fn another_account_has_another_listing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = NodeCache::new(folder.path().join("nodes"));
        let (work, _) = providers("work").list(&cache).await;
        let (home, _) = providers("home").list(&cache).await;
        assert_eq!([&*work[0].name, &*home[0].name], ["work-0", "home-0"]);
    }
}
