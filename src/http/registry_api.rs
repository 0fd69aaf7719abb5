//! The API of image registries (OCI distribution specification): the digest of an image, and the
//! check of a login.
//!
//! A registry answers a request without credentials with a challenge: `Basic`, or `Bearer` with the
//! address of a service that issues tokens (<https://distribution.github.io/distribution/spec/auth/token/>).

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use reqwest::{
    Certificate, Client, Method, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, WWW_AUTHENTICATE},
};
use serde::Deserialize;

use super::{builder, read_text, retry::retry_after, root_cause};

/// The time limit of one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The types of manifests, of one platform and of several ones. A registry that is not told that
/// the client accepts several ones answers with the digest of one.
const MANIFESTS: &str = "application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.oci.image.manifest.v1+json";

/// The id of this client in requests for tokens.
const CLIENT_ID: &str = "hitc";

/// The credentials for a registry. They have no printed form.
#[derive(Clone, PartialEq, Eq)]
pub enum RegistryLogin {
    /// A user name and a password or access token.
    Password {
        /// The user name.
        user: String,
        /// The password or access token.
        password: String,
    },
    /// A token that the registry's token service exchanges for access tokens (OAuth 2).
    Identity(String),
}

/// Why a registry could not be asked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("registry `{registry}`: {cause}")]
pub struct RegistryError {
    /// The registry.
    pub registry: String,
    /// The status of the response, if there was one.
    pub status: Option<u16>,
    /// What went wrong.
    pub cause: String,
}

/// The API of one registry.
pub struct RegistryApi {
    registry: String,
    login: Option<RegistryLogin>,
    client: Client,
    /// The addresses to try, in this order.
    bases: Vec<String>,
}

/// The answer of a token service.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl RegistryApi {
    /// Creates the API of a registry, `HOST[:PORT]`. `certificates` are PEM bundles of authorities
    /// that are trusted in addition to those of the system.
    ///
    /// As in the Docker Engine, a registry on a loopback address needs no valid certificate, and may
    /// speak HTTP without TLS.
    pub fn new(
        registry: &str,
        login: Option<RegistryLogin>,
        certificates: &[Vec<u8>],
    ) -> Result<Self, RegistryError> {
        let fail = |cause: String| RegistryError {
            registry: registry.to_owned(),
            status: None,
            cause,
        };
        let mut trusted = Vec::new();
        for bundle in certificates {
            let bundle = Certificate::from_pem_bundle(bundle);
            trusted.extend(bundle.map_err(|error| fail(root_cause(&error)))?);
        }
        // Docker Hub's API is not at its name.
        let host = match registry {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        let is_local = is_loopback(registry);
        let client = builder(TIMEOUT)
            .tls_certs_merge(trusted)
            .tls_danger_accept_invalid_certs(is_local)
            .build()
            .map_err(|error| fail(root_cause(&error)))?;
        let mut bases = vec![format!("https://{host}")];
        if is_local {
            bases.push(format!("http://{host}"));
        }
        Ok(RegistryApi {
            registry: registry.to_owned(),
            login,
            client,
            bases,
        })
    }

    /// Returns the digest of an image by one HEAD request, which registries do not count as a pull.
    /// `reference` is a tag or a digest.
    pub async fn digest(&self, repository: &str, reference: &str) -> Result<String, RegistryError> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let response = self.request(&Method::HEAD, &path).await?;
        let digest = response.headers().get("docker-content-digest");
        let digest = digest.and_then(|digest| digest.to_str().ok());
        match digest.filter(|digest| is_digest(digest)) {
            Some(digest) => Ok(digest.to_owned()),
            None => Err(self.fail("the response contains no digest of the image")),
        }
    }

    /// Checks that the registry accepts the login.
    pub async fn check_login(&self) -> Result<(), RegistryError> {
        self.request(&Method::GET, "/v2/").await.map(drop)
    }

    /// Sends a request, a second time with credentials if the registry asks for them.
    async fn request(&self, method: &Method, path: &str) -> Result<Response, RegistryError> {
        let mut tried = None;
        for base in &self.bases {
            match self.send(method, &format!("{base}{path}"), None).await {
                Ok(response) => return self.answered(method, base, path, response).await,
                // The first cause is the one of the regular address.
                Err(error) => tried = tried.or(Some(error)),
            }
        }
        Err(tried.unwrap_or_else(|| self.fail("no address")))
    }

    async fn answered(
        &self,
        method: &Method,
        base: &str,
        path: &str,
        response: Response,
    ) -> Result<Response, RegistryError> {
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.accept(response).await;
        }
        let header = self.authorize(base, &response).await?;
        let url = format!("{base}{path}");
        let response = self.send(method, &url, Some(&header)).await?;
        self.accept(response).await
    }

    async fn send(
        &self,
        method: &Method,
        url: &str,
        authorization: Option<&str>,
    ) -> Result<Response, RegistryError> {
        let mut request = self.client.request(method.clone(), url);
        request = request.header(ACCEPT, MANIFESTS);
        if let Some(header) = authorization {
            request = request.header(AUTHORIZATION, header);
        }
        let response = request.send().await;
        response.map_err(|error| self.fail(root_cause(&error)))
    }

    /// The value of the header `Authorization` that a challenge asks for.
    async fn authorize(&self, base: &str, response: &Response) -> Result<String, RegistryError> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenges: Vec<Challenge> = headers
            .filter_map(|header| Challenge::parse(header.to_str().ok()?))
            .collect();
        let named = |name: &str| {
            let mut challenges = challenges.iter();
            challenges.find(|challenge| challenge.scheme.eq_ignore_ascii_case(name))
        };
        if let Some(challenge) = named("bearer") {
            return Ok(format!("Bearer {}", self.token(base, challenge).await?));
        }
        match (&self.login, named("basic")) {
            (Some(RegistryLogin::Password { user, password }), Some(_)) => {
                let plain = format!("{user}:{password}");
                let encoded = data_encoding::BASE64.encode(plain.as_bytes());
                Ok(format!("Basic {encoded}"))
            }
            (Some(RegistryLogin::Identity(_)), Some(_)) => {
                Err(self.refused("it needs a password, and only an identity token is stored"))
            }
            (None, _) => Err(self.refused("authentication required")),
            (Some(_), None) => Err(self.refused("it requires an unknown kind of authentication")),
        }
    }

    /// Gets a token from the service that a challenge names.
    async fn token(&self, base: &str, challenge: &Challenge) -> Result<String, RegistryError> {
        let realm = challenge.parameters.get("realm");
        let realm = realm.and_then(|realm| Url::parse(realm).ok());
        let mut realm = realm.ok_or_else(|| self.fail("it names no valid token service"))?;
        // A password must not leave an encrypted connection.
        if base.starts_with("https:") && realm.scheme() != "https" && self.login.is_some() {
            let cause = format!("its token service `{realm}` is not encrypted");
            return Err(self.fail(&cause));
        }
        let parameters = ["service", "scope"].into_iter();
        let parameters: Vec<(&str, &str)> = parameters
            .filter_map(|name| Some((name, challenge.parameters.get(name)?.as_str())))
            .collect();
        let request = match &self.login {
            Some(RegistryLogin::Identity(token)) => {
                // The encoding of a form is that of a query.
                let mut form = realm.clone();
                form.set_query(None);
                form.query_pairs_mut()
                    .extend_pairs(&parameters)
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("refresh_token", token)
                    .append_pair("client_id", CLIENT_ID);
                let body = form.query().unwrap_or_default().to_owned();
                let kind = "application/x-www-form-urlencoded";
                let request = self.client.post(realm.clone());
                request.header("content-type", kind).body(body)
            }
            login => {
                realm.query_pairs_mut().extend_pairs(&parameters);
                let request = self.client.get(realm.clone());
                match login {
                    Some(RegistryLogin::Password { user, password }) => {
                        request.basic_auth(user, Some(password))
                    }
                    _ => request,
                }
            }
        };
        let host = realm.host_str().unwrap_or_default();
        let fail = |cause: String| self.fail(format!("its token service `{host}`: {cause}"));
        let response = request.send().await.map_err(|e| fail(root_cause(&e)))?;
        let response = self.accept(response).await?;
        let text = read_text(response).await;
        let text = text.map_err(|error| fail(error.to_string()))?;
        let token: Token = serde_json::from_str(&text)
            .map_err(|_| fail("the response is no JSON with a token".to_owned()))?;
        let token = token.token.or(token.access_token);
        token
            .filter(|token| !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic()))
            .ok_or_else(|| fail("the response contains no token".to_owned()))
    }

    /// Returns a successful response; the error of any other one.
    async fn accept(&self, response: Response) -> Result<Response, RegistryError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let wait = retry_after(response.headers());
        // The answer to a HEAD request has no text.
        let text = read_text(response).await.unwrap_or_default();
        let message = message(&text);
        let cause = match status {
            StatusCode::UNAUTHORIZED if self.login.is_some() => "the login was rejected".to_owned(),
            StatusCode::UNAUTHORIZED => "authentication required".to_owned(),
            StatusCode::FORBIDDEN => "access denied".to_owned(),
            StatusCode::NOT_FOUND => "image not found".to_owned(),
            StatusCode::TOO_MANY_REQUESTS => match wait {
                Some(wait) => format!("too many requests; retry after {} s", wait.as_secs()),
                None => "too many requests".to_owned(),
            },
            status => status
                .canonical_reason()
                .unwrap_or("rejected")
                .to_lowercase(),
        };
        let message = message.map(|text| format!(": {text}")).unwrap_or_default();
        Err(RegistryError {
            registry: self.registry.clone(),
            status: Some(status.as_u16()),
            cause: format!("{cause} (status {}){message}", status.as_u16()),
        })
    }

    fn refused(&self, cause: &str) -> RegistryError {
        RegistryError {
            status: Some(401),
            ..self.fail(cause)
        }
    }

    fn fail(&self, cause: impl Into<String>) -> RegistryError {
        RegistryError {
            registry: self.registry.clone(),
            status: None,
            cause: cause.into(),
        }
    }
}

/// The message in the body of an error: `{"errors": [{"code", "message"}]}`.
fn message(text: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(text).ok()?;
    let message = body["errors"][0]["message"].as_str()?;
    (!message.is_empty()).then(|| message.to_owned())
}

/// Whether a registry is on the machine itself: `localhost` or 127.0.0.0/8, as for the Docker Engine.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => registry,
    };
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Whether a text is a digest: `sha256:` and hexadecimal digits.
fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(kind, digits)| {
        kind.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && digits.len() >= 32
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// A challenge: `Bearer realm="https://…",service="…",scope="…"` (RFC 9110, section 11.6.1).
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    parameters: BTreeMap<String, String>,
}

impl Challenge {
    fn parse(header: &str) -> Option<Self> {
        let header = header.trim();
        let (scheme, mut rest) = header.split_once(' ').unwrap_or((header, ""));
        let mut parameters = BTreeMap::new();
        loop {
            rest = rest.trim_start_matches([' ', ',']);
            let Some((name, after)) = rest.split_once('=') else {
                break;
            };
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted_string(quoted)?,
                None => {
                    let end = after.find(',').unwrap_or(after.len());
                    (after[..end].trim().to_owned(), &after[end..])
                }
            };
            parameters.insert(name.trim().to_ascii_lowercase(), value);
            rest = after;
        }
        (!scheme.is_empty()).then(|| Challenge {
            scheme: scheme.to_owned(),
            parameters,
        })
    }
}

/// Reads the challenge of a registry.
pub fn read_challenge(header: &str) {
    drop(Challenge::parse(header));
}

/// Reads a quoted string after its first quote. Returns it and what follows.
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let parse = |header: &str| {
            let challenge = Challenge::parse(header).unwrap();
            let pairs = challenge.parameters.into_iter();
            let pairs: Vec<String> = pairs.map(|(k, v)| format!("{k}={v}")).collect();
            format!("{} {}", challenge.scheme, pairs.join(" "))
        };
        assert_eq!(
            parse(
                "Bearer realm=\"https://a/token?x=1\",service=\"a, b\", scope=\"repository:x:pull,push\""
            ),
            "Bearer realm=https://a/token?x=1 scope=repository:x:pull,push service=a, b"
        );
        assert_eq!(parse("Basic realm=plain"), "Basic realm=plain");
        assert_eq!(parse("basic Realm=\"a \\\"b\\\"\""), "basic realm=a \"b\"");
        assert_eq!(parse("Negotiate"), "Negotiate ");
        assert_eq!(Challenge::parse("Basic realm=\"open"), None);
        assert_eq!(Challenge::parse(""), None);
    }

    #[test]
    fn loopback_addresses() {
        for registry in [
            "localhost",
            "localhost:5000",
            "127.1.2.3:5000",
            "[::1]:5000",
        ] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in [
            "docker.io",
            "localhost.example.com",
            "10.0.0.1:5000",
            "host:5000",
        ] {
            assert!(!is_loopback(registry), "{registry}");
        }
    }

    #[test]
    fn digests() {
        assert!(is_digest(&format!("sha256:{}", "0a".repeat(32))));
        for text in ["", "sha256:", "sha256:0a", "0a"] {
            assert!(!is_digest(text), "{text}");
        }
    }
}
