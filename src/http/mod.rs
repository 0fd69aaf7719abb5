//! Requests from this machine: to whatever a script names, and to the APIs of providers.

mod json_api;
mod retry;

use std::time::Duration;

pub use json_api::{ApiRequest, Error, JsonApi};
pub use reqwest::Method;
use rustls::crypto::ring;

use crate::core::diagnostic::plain;

/// A client that gives up after this long, the answer included.
pub fn client(timeout: Duration) -> reqwest::Result<reqwest::Client> {
    // Fails when a provider is set already, which is fine.
    let _ = ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(timeout)
        .user_agent(concat!("hitc/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// What was wrong at the bottom of it; the library says what it was doing, which we say ourselves.
pub fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    plain(root)
}
