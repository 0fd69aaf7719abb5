//! HTTP requests of scripts, JSON APIs of providers, access tokens, image registries.

mod access_token;
mod json_api;
mod jwt;
mod network;
mod registry_api;
mod retry;

use std::time::Duration;

pub use access_token::{AccessTokens, Assertion, TokenError, TokenRequest};
pub use json_api::{ApiRequest, Error, JsonApi};
pub use jwt::JwtError;
pub use network::{Network, Reply, Responder, SendError, Sent, Unanswered};
pub use registry_api::{RegistryApi, RegistryError, RegistryLogin, read_challenge};
pub use reqwest::Method;
use rustls::crypto::ring;

use crate::core::diagnostic::plain;

/// Creates a client with a time limit for a request and its response.
pub fn client(timeout: Duration) -> reqwest::Result<reqwest::Client> {
    builder(timeout).build()
}

fn builder(timeout: Duration) -> reqwest::ClientBuilder {
    // Fails if a provider is installed already, which is the same one.
    let _ = ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(timeout)
        .user_agent(concat!("hitc/", env!("CARGO_PKG_VERSION")))
}

/// The largest body of a response, in bytes. A server must not fill the memory.
pub const MAX_BODY: usize = 64 * 1024 * 1024;

/// Why the body of a response could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is larger than the limit.
    #[error("the response is larger than {} MiB", MAX_BODY / 1024 / 1024)]
    TooLarge,
    /// The connection broke, or timed out.
    #[error("{}", root_cause(.0))]
    Broken(reqwest::Error),
}

/// Reads the body of a response as text, up to [`MAX_BODY`]. Invalid UTF-8 is replaced.
pub async fn read_text(mut response: reqwest::Response) -> Result<String, BodyError> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(BodyError::Broken)? {
        if body.len() + bytes.len() > MAX_BODY {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&bytes);
    }
    Ok(match String::from_utf8(body) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// The innermost cause of an error. The outer ones describe the request, which hitc does itself.
pub fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    plain(root)
}
