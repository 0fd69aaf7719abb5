//! Image registries, as this machine may use them: its credentials, and the digests of published
//! images.
//!
//! Credentials go with each request to an engine. They are never stored on a server unless the user
//! asks for it ([`Registries::store_on`]).

mod config;
mod helper;
mod store;

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::Path,
    sync::{Arc, Mutex},
};

use bollard::auth::DockerCredentials;
use tokio::sync::OnceCell;

use self::config::Config;
pub use self::config::ConfigPath;
use super::{
    Error,
    image::reference::{HUB, Location},
};
use crate::{
    core::{diagnostic::plain, event::Events, sync::lock},
    http::{RegistryApi, RegistryError, RegistryLogin},
};

/// Where the Docker Engine looks for the certificates of registries, by their names.
const CERTIFICATES: &str = "/etc/docker/certs.d";

/// The registries of a run. Everything is read and asked once.
pub struct Registries {
    /// None without credentials.
    path: Option<ConfigPath>,
    events: Events,
    config: OnceCell<Config>,
    logins: Once<String, Result<Option<RegistryLogin>, Error>>,
    digests: Once<String, Result<String, Error>>,
}

impl Default for Registries {
    /// Registries without credentials.
    fn default() -> Self {
        Registries {
            path: None,
            events: Events::silent(),
            config: OnceCell::new(),
            logins: Once::default(),
            digests: Once::default(),
        }
    }
}

impl Registries {
    /// The registries that the Docker configuration at `path` has credentials for. Passwords are
    /// masked in everything that `events` shows.
    pub fn new(path: ConfigPath, events: Events) -> Self {
        Registries {
            path: Some(path),
            events,
            ..Registries::default()
        }
    }

    /// Warns the user.
    pub(super) fn warn(&self, text: String) {
        self.events.warn(text);
    }

    /// The credentials for a registry, `HOST[:PORT]`; none if it is used without credentials.
    async fn login(&self, registry: &str) -> Result<Option<RegistryLogin>, Error> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        let read = async {
            let config = self
                .config
                .get_or_try_init(async || Config::read(path))
                .await?;
            let login = config.login(path, registry).await?;
            if let Some(
                RegistryLogin::Password { password: text, .. } | RegistryLogin::Identity(text),
            ) = &login
            {
                self.events.hide(text);
            }
            Ok(login)
        };
        self.logins.get(registry.to_owned(), Box::pin(read)).await
    }

    /// The credentials for the registry of an image, as the engine expects them.
    pub(super) async fn credentials(
        &self,
        location: &Location,
    ) -> Result<Option<DockerCredentials>, Error> {
        let login = self.login(&location.registry).await?;
        Ok(login.map(|login| {
            let server = match location.registry.as_str() {
                HUB => "https://index.docker.io/v1/".to_owned(),
                other => other.to_owned(),
            };
            let empty = DockerCredentials {
                serveraddress: Some(server),
                ..DockerCredentials::default()
            };
            match login {
                RegistryLogin::Password { user, password } => DockerCredentials {
                    username: Some(user),
                    password: Some(password),
                    ..empty
                },
                RegistryLogin::Identity(token) => DockerCredentials {
                    identitytoken: Some(token),
                    ..empty
                },
            }
        }))
    }

    /// The credentials for several registries, by their names, as the engine expects them for a
    /// build.
    pub(super) async fn credentials_of(
        &self,
        images: &[String],
    ) -> Result<HashMap<String, DockerCredentials>, Error> {
        let mut all = HashMap::new();
        for image in images {
            if let Some(found) = self.credentials(&Location::of(image)).await? {
                let server = found.serveraddress.clone().unwrap_or_default();
                all.insert(server, found);
            }
        }
        Ok(all)
    }

    /// The digest that the registry has for the tag of an image now; none if the name contains a
    /// digest or is an id, which cannot move. Each image is asked for once in a run.
    ///
    /// # Errors
    /// [`Error::Registry`] if the registry did not answer the question: the digest is unknown then.
    pub async fn digest(&self, image: &str) -> Result<Option<String>, Error> {
        let location = Location::of(image);
        let Some(tag) = &location.tag else {
            return Ok(None);
        };
        let ask = async {
            let login = self.login(&location.registry).await?;
            let api = api(&location.registry, login)?;
            Ok(api.digest(&location.repository, tag).await?)
        };
        let key = format!("{}/{}:{tag}", location.registry, location.repository);
        self.digests.get(key, Box::pin(ask)).await.map(Some)
    }

    /// Checks credentials against a registry and stores them in the Docker configuration of this
    /// machine: through the credential helper if one is configured, else in the file.
    pub async fn log_in(&self, registry: &str, user: &str, password: &str) -> Result<(), Error> {
        self.events.hide(password);
        let registry = config::registry_of(registry);
        let login = RegistryLogin::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        };
        let api = api(registry, Some(login))?;
        Box::pin(api.check_login()).await?;
        let Some(path) = &self.path else {
            return Ok(());
        };
        // The first login creates the file.
        let config = Config::read(&path.optional())?;
        match config.helper(registry) {
            Some(helper) => {
                helper
                    .store(registry, config::key_of(registry), user, password)
                    .await
            }
            None => path.store(registry, user, password),
        }
    }
}

/// The API of a registry. Trusts the authorities that the local engine trusts for it.
fn api(registry: &str, login: Option<RegistryLogin>) -> Result<RegistryApi, Error> {
    let folder = Path::new(CERTIFICATES).join(registry);
    let read = certificates(&folder).map_err(|error| RegistryError {
        registry: registry.to_owned(),
        status: None,
        cause: format!(
            "reading certificates in `{}`: {}",
            folder.display(),
            plain(error)
        ),
    })?;
    Ok(RegistryApi::new(registry, login, &read)?)
}

/// The certificates of authorities in a folder, `*.crt`. None if the folder does not exist.
fn certificates(folder: &Path) -> io::Result<Vec<Vec<u8>>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "crt") {
            found.push(fs::read(path)?);
        }
    }
    Ok(found)
}

/// Values that are computed once each. Concurrent callers wait for the first one.
struct Once<K, V>(Mutex<BTreeMap<K, Arc<OnceCell<V>>>>);

impl<K, V> Default for Once<K, V> {
    fn default() -> Self {
        Once(Mutex::default())
    }
}

impl<K: Ord, V: Clone> Once<K, V> {
    async fn get(&self, key: K, compute: impl Future<Output = V>) -> V {
        let cell = lock(&self.0).entry(key).or_default().clone();
        cell.get_or_init(|| compute).await.clone()
    }
}
