//! `http::`: requests from this machine.

use std::{sync::Arc, time::Duration};

use rhai::ImmutableString;

use super::{Api, call::Call, namespace::Namespace};
use crate::diagnostic::{Diagnostic, Kind, plain};

/// How long a request may take, its answer included.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut http = Namespace::new(api, "http", "Requests from this machine.");
    http.function(
        "get(url: string) -> string",
        "The body of the answer to a GET request. Throws unless the status is 2xx.",
        |call: &Call, url: ImmutableString| call.wait(get(&url)),
    );
    http
}

async fn get(url: &str) -> Result<String, Diagnostic> {
    let fail = |error: &reqwest::Error| {
        let mut root: &dyn std::error::Error = error;
        while let Some(source) = root.source() {
            root = source;
        }
        let kind = if error.is_builder() {
            Kind::Usage
        } else if error.is_timeout() {
            Kind::Timeout
        } else {
            Kind::Failed
        };
        Diagnostic::new(kind, format!("GET {url}: {}", plain(root)))
    };
    let provider = rustls::crypto::ring::default_provider();
    // Fails when a provider is set already, which is fine.
    let _ = provider.install_default();
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .user_agent(concat!("hitc/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| fail(&error))?;
    let answer = client.get(url).send().await.map_err(|error| fail(&error))?;
    let status = answer.status();
    if !status.is_success() {
        return Err(Diagnostic::new(
            Kind::Failed,
            format!("GET {url}: status {status}"),
        ));
    }
    answer.text().await.map_err(|error| fail(&error))
}
