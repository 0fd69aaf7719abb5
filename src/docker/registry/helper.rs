//! Credential helpers: programs `docker-credential-NAME` that keep credentials for registries.
//!
//! The protocol is that of <https://github.com/docker/docker-credential-helpers>.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::{
    core::{diagnostic::plain, process::Program},
    docker::Error,
    http::RegistryLogin,
};

/// How long a helper may take. It may ask the user to unlock a key.
const TIMEOUT: Duration = Duration::from_mins(2);

/// The user name that stands for an identity token.
const TOKEN_USER: &str = "<token>";

/// What a helper prints if it has no credentials for a registry.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// A credential helper.
#[derive(Clone, Debug)]
pub(super) struct Helper {
    program: String,
}

/// The credentials that a helper reads and writes.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials {
    #[serde(rename = "ServerURL", default)]
    server: String,
    username: String,
    secret: String,
}

impl Helper {
    pub fn new(name: &str) -> Self {
        Helper {
            program: format!("docker-credential-{name}"),
        }
    }

    /// The credentials for a registry; none if the helper has none. `key` is the registry's name for
    /// helpers.
    pub async fn get(&self, registry: &str, key: &str) -> Result<Option<RegistryLogin>, Error> {
        let fail = |cause: String| self.error(registry, cause);
        let output = match self.run("get", key.to_owned()).await {
            Ok(output) => output,
            // As in the docker command, this is no failure.
            Err(cause) if cause == NOT_FOUND => return Ok(None),
            Err(cause) => return Err(fail(cause)),
        };
        let credentials: Credentials = serde_json::from_slice(&output)
            .map_err(|_| fail("it printed no JSON with credentials".to_owned()))?;
        let Credentials {
            username: user,
            secret: password,
            ..
        } = credentials;
        Ok(Some(if user == TOKEN_USER {
            RegistryLogin::Identity(password)
        } else {
            RegistryLogin::Password { user, password }
        }))
    }

    /// Stores the credentials for a registry.
    pub async fn store(
        &self,
        registry: &str,
        key: &str,
        user: &str,
        password: &str,
    ) -> Result<(), Error> {
        let credentials = Credentials {
            server: key.to_owned(),
            username: user.to_owned(),
            secret: password.to_owned(),
        };
        let input = serde_json::to_string(&credentials).unwrap_or_default();
        let stored = self.run("store", input).await;
        stored
            .map(drop)
            .map_err(|cause| self.error(registry, cause))
    }

    /// Runs an action with this standard input. Returns its standard output, or why it failed.
    async fn run(&self, action: &str, input: String) -> Result<Vec<u8>, String> {
        if self.program.contains('/') {
            return Err("invalid name".to_owned());
        }
        let mut program = Program::new([self.program.as_str(), action]);
        program.stdin = input.into();
        let ran = timeout(TIMEOUT, program.run(|_, _| ())).await;
        let ran = ran.map_err(|_| format!("no answer within {} s", TIMEOUT.as_secs()))?;
        let output = ran.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "program not found".to_owned(),
            _ => plain(error),
        })?;
        if output.ok() {
            return Ok(output.stdout);
        }
        // Helpers print their errors to standard output.
        let text = match output.text() {
            text if text.is_empty() => output.tail(1),
            text => text,
        };
        let last = text
            .lines()
            .next_back()
            .unwrap_or_default()
            .trim()
            .to_owned();
        Err(if last.is_empty() {
            output.exit.to_string()
        } else {
            last
        })
    }

    fn error(&self, registry: &str, cause: String) -> Error {
        Error::Helper {
            program: self.program.clone(),
            registry: registry.to_owned(),
            cause,
        }
    }
}
