//! HTTP requests of scripts, JSON APIs of providers, image registries.

mod json_api;
mod registry_api;
mod retry;

use std::time::Duration;

pub use json_api::{ApiRequest, Error, JsonApi};
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
