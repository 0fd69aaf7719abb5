//! The Docker configuration of this machine: the credentials that the docker command stores.
//!
//! The format is that of `~/.docker/config.json`
//! (<https://docs.docker.com/reference/cli/docker/login/>).

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::helper::Helper;
use crate::{
    core::diagnostic::plain, docker::Error, docker::image::reference::HUB, http::RegistryLogin,
    project::make_private_folder,
};

/// The name of the file in the configuration's folder.
const FILE: &str = "config.json";

/// The name under which the docker command stores the credentials for Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The file, or the folder that contains it.
#[derive(Clone, Debug)]
pub struct ConfigPath {
    path: PathBuf,
    /// Whether the user named the file: then it must exist.
    is_required: bool,
}

impl ConfigPath {
    /// The path of the user's configuration: `configured` by the settings of hitc, relative to the
    /// folder `root`; else `$DOCKER_CONFIG`, else `~/.docker`.
    pub fn find(configured: Option<&Path>, root: &Path, home: &Path) -> Self {
        let folder = std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty());
        let is_required = configured.is_some();
        let path = match (configured, folder) {
            (Some(path), _) => match path.strip_prefix("~") {
                Ok(rest) => home.join(rest),
                Err(_) => root.join(path),
            },
            (None, Some(folder)) => PathBuf::from(folder).join(FILE),
            (None, None) => home.join(".docker").join(FILE),
        };
        let path = if path.is_dir() { path.join(FILE) } else { path };
        ConfigPath { path, is_required }
    }

    /// The same file, which need not exist.
    pub(super) fn optional(&self) -> Self {
        ConfigPath {
            is_required: false,
            ..self.clone()
        }
    }
}

/// The content of the file, as far as credentials are concerned.
#[derive(Default, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

/// The credentials for one registry.
#[derive(Default, Deserialize)]
struct Auth {
    /// `USER:PASSWORD` in base64.
    #[serde(default, rename = "auth")]
    encoded: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default, rename = "identitytoken")]
    identity: Option<String>,
}

impl Config {
    /// Reads the file. One that does not exist has no credentials.
    pub fn read(path: &ConfigPath) -> Result<Self, Error> {
        let text = match fs::read_to_string(&path.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_required => {
                return Ok(Config::default());
            }
            Err(error) => return Err(path.error(plain(error))),
        };
        // The message of the parser may quote the content.
        serde_json::from_str(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            path.error(format!("invalid JSON at line {line}, column {column}"))
        })
    }

    /// The credentials for a registry: those of its own helper, of the helper for all registries, or
    /// of the file itself, as the docker command finds them.
    pub async fn login(
        &self,
        path: &ConfigPath,
        registry: &str,
    ) -> Result<Option<RegistryLogin>, Error> {
        if let Some(helper) = self.helper(registry) {
            return helper.get(registry, key_of(registry)).await;
        }
        let exact = self.auths.get(key_of(registry));
        let named = || {
            let mut auths = self.auths.iter();
            auths.find_map(|(key, auth)| (registry_of(key) == registry).then_some(auth))
        };
        match exact.or_else(named) {
            Some(auth) => auth
                .login()
                .map_err(|cause| path.error(format!("credentials for `{registry}`: {cause}"))),
            None => Ok(None),
        }
    }

    /// The credential helper for a registry.
    pub fn helper(&self, registry: &str) -> Option<Helper> {
        let mut own = self.helpers.iter();
        let own = own.find_map(|(key, name)| (registry_of(key) == registry).then_some(name));
        let name = own
            .or(self.store.as_ref())
            .filter(|name| !name.is_empty())?;
        Some(Helper::new(name))
    }
}

impl Auth {
    fn login(&self) -> Result<Option<RegistryLogin>, &'static str> {
        if let Some(token) = self.identity.as_ref().filter(|token| !token.is_empty()) {
            return Ok(Some(RegistryLogin::Identity(token.clone())));
        }
        if let Some(encoded) = self.encoded.as_ref().filter(|auth| !auth.is_empty()) {
            let decoded = BASE64
                .decode(encoded.as_bytes())
                .map_err(|_| "invalid base64")?;
            let text = String::from_utf8(decoded).map_err(|_| "not UTF-8")?;
            let (user, password) = text.split_once(':').ok_or("missing `:`")?;
            return Ok(Some(RegistryLogin::Password {
                user: user.to_owned(),
                password: password.trim_end_matches('\0').to_owned(),
            }));
        }
        let pair = self.username.as_ref().zip(self.password.as_ref());
        // An empty entry tells that a helper has the credentials.
        Ok(pair.map(|(user, password)| RegistryLogin::Password {
            user: user.clone(),
            password: password.clone(),
        }))
    }
}

impl ConfigPath {
    /// Stores credentials in the file, which keeps everything else. Other users cannot read it.
    pub(super) fn store(&self, registry: &str, user: &str, password: &str) -> Result<(), Error> {
        let fail = |error: io::Error| self.error(plain(error));
        let before = match fs::read(&self.path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(fail(error)),
        };
        let login = RegistryLogin::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        };
        let text = merge(before.as_deref(), registry, &login).map_err(|e| self.error(e))?;
        // A link, for example into a folder of dotfiles, stays one.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let folder = path.parent().unwrap_or(Path::new("."));
        make_private_folder(folder).map_err(fail)?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
        file.write_all(text.as_bytes()).map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        file.persist(&path).map_err(|error| fail(error.error))?;
        Ok(())
    }

    fn error(&self, cause: impl Into<String>) -> Error {
        Error::Config {
            path: self.path.display().to_string(),
            cause: cause.into(),
        }
    }
}

/// Adds the credentials for a registry to the content of a configuration file.
pub(super) fn merge(
    before: Option<&[u8]>,
    registry: &str,
    login: &RegistryLogin,
) -> Result<String, String> {
    let invalid = || "its content is no JSON object".to_owned();
    let mut content: Map<String, Json> = match before {
        Some(text) if !text.trim_ascii().is_empty() => {
            serde_json::from_slice(text).map_err(|_| invalid())?
        }
        _ => Map::new(),
    };
    let auths = content.entry("auths").or_insert_with(|| json!({}));
    let auths = auths.as_object_mut().ok_or_else(invalid)?;
    let auth = match login {
        RegistryLogin::Password { user, password } => {
            json!({ "auth": BASE64.encode(format!("{user}:{password}").as_bytes()) })
        }
        RegistryLogin::Identity(token) => json!({ "identitytoken": token }),
    };
    auths.insert(key_of(registry).to_owned(), auth);
    let text = serde_json::to_string_pretty(&content).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

/// The key under which the docker command stores the credentials for a registry.
pub(super) fn key_of(registry: &str) -> &str {
    if registry == HUB { HUB_KEY } else { registry }
}

/// The registry that a key names. Old versions of Docker wrote `https://HOST/v1/`.
pub(super) fn registry_of(key: &str) -> &str {
    let host = key.strip_prefix("https://").or(key.strip_prefix("http://"));
    let host = host.unwrap_or(key);
    match host.split('/').next().unwrap_or(host) {
        "index.docker.io" | "registry-1.docker.io" => HUB,
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(config: &str, registry: &str) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), config).unwrap();
        let path = ConfigPath::find(Some(folder.path()), Path::new("/"), Path::new("/"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let login = Config::read(&path)
            .and_then(|config| runtime.block_on(config.login(&path, registry)))
            .map_err(|error| {
                let text = error.to_string();
                text.replace(&folder.path().display().to_string(), "")
            })?;
        Ok(match login {
            Some(RegistryLogin::Password { user, password }) => format!("{user} {password}"),
            Some(RegistryLogin::Identity(token)) => token,
            None => String::new(),
        })
    }

    #[test]
    fn credentials_of_a_registry() {
        let config = r#"{"auths": {
            "r:5000": {"auth": "am9lOmE6Yg=="},
            "https://index.docker.io/v1/": {"auth": "aHViOng="},
            "https://old.example.com/v1/": {"username": "old", "password": "y"},
            "token.example.com": {"auth": "am9lOg==", "identitytoken": "t"},
            "empty.example.com": {}
        }, "HttpHeaders": {}}"#;
        let of = |registry: &str| login(config, registry).unwrap();
        assert_eq!(of("r:5000"), "joe a:b");
        assert_eq!(of("docker.io"), "hub x");
        assert_eq!(of("old.example.com"), "old y");
        assert_eq!(of("token.example.com"), "t");
        assert_eq!(of("empty.example.com"), "");
        assert_eq!(of("r:5001"), "");
    }

    #[test]
    fn invalid_files() {
        assert_eq!(
            login("{\"auths\":", "r"),
            Err("Docker configuration `/config.json`: invalid JSON at line 1, column 9".to_owned())
        );
        assert_eq!(
            login(r#"{"auths": {"r": {"auth": "secret!"}}}"#, "r"),
            Err(
                "Docker configuration `/config.json`: credentials for `r`: invalid base64"
                    .to_owned()
            )
        );
        let missing = ConfigPath::find(Some(Path::new("x")), Path::new("/nowhere"), Path::new("/"));
        let error = Config::read(&missing).err().unwrap().to_string();
        assert_eq!(
            error,
            "Docker configuration `/nowhere/x`: no such file or directory"
        );
    }

    #[test]
    fn storing_keeps_everything_else() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("docker").join(FILE);
        let path = ConfigPath {
            path: file.clone(),
            is_required: false,
        };
        path.store("docker.io", "joe", "a").unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let text = text.replace("\"auths\"", "\"proxies\": {\"x\": 1}, \"auths\"");
        fs::write(&file, text).unwrap();
        path.store("r:5000", "joe", "b:c").unwrap();
        let content: Json = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(
            content,
            json!({
                "proxies": {"x": 1},
                "auths": {
                    "https://index.docker.io/v1/": {"auth": "am9lOmE="},
                    "r:5000": {"auth": "am9lOmI6Yw=="},
                }
            })
        );
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&file, "[]").unwrap();
        assert!(path.store("r", "joe", "b").is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "[]");
    }
}
