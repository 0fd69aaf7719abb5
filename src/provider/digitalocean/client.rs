//! The client of DigitalOcean's API.

use std::{env, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::{DigitalOcean, options::NAME, token};
use crate::{
    http::{self, ApiRequest, JsonApi},
    provider::Error,
};

/// The default address of the API. `DIGITALOCEAN_API_URL` overrides it, as for doctl.
const URL: &str = "https://api.digitalocean.com";

/// The most items on a page (`per_page`).
const PAGE: usize = 200;

/// The most pages of a list.
const PAGES: usize = 1000;

/// How often a list is read that changes meanwhile.
const LISTINGS: usize = 5;

impl DigitalOcean {
    fn api(&self) -> Result<Arc<JsonApi>, Error> {
        let make = || {
            let token = self.token()?;
            JsonApi::new("DigitalOcean", &url(), &token, &self.events)
                .map(Arc::new)
                .map_err(explain)
        };
        self.api.get_or_init(make).clone()
    }

    pub(super) fn token(&self) -> Result<String, Error> {
        let token = token::find(&self.home)?;
        self.events.hide(&token);
        Ok(token)
    }

    pub(super) async fn ask(&self, ask: ApiRequest) -> Result<Json, Error> {
        self.api()?.send(&ask).await.map_err(explain)
    }

    /// Sends a request and decodes what is under `key` in the response.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        ask: ApiRequest,
        key: &str,
    ) -> Result<T, Error> {
        let what = format!("{} {}", ask.method, ask.path);
        decode(self.ask(ask).await?, key, &what)
    }

    /// Reads all pages of a list. `path` has a query already.
    pub(super) async fn all<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
    ) -> Result<Vec<T>, Error> {
        for _ in 0..LISTINGS {
            let (mut all, mut is_steady, mut total) = (Vec::new(), true, None);
            for page in 1..=PAGES {
                let path = format!("{path}&per_page={PAGE}&page={page}");
                let answer = self.ask(ApiRequest::get(&path)).await?;
                let now = answer["meta"]["total"].as_u64();
                is_steady &= *total.get_or_insert(now) == now;
                let is_last = answer["links"]["pages"]["next"].as_str().is_none();
                let mut found: Vec<T> = decode(answer, key, &path)?;
                all.append(&mut found);
                if is_last {
                    break;
                }
                if page == PAGES {
                    return Err(Error::Failed {
                        provider: NAME.to_owned(),
                        what: format!("listing {key}"),
                        cause: format!("the list has more than {PAGES} pages"),
                    });
                }
            }
            // An item that was added or removed meanwhile moves others from page to page.
            let is_whole = total
                .flatten()
                .is_none_or(|total| total == all.len() as u64);
            if is_steady && is_whole {
                return Ok(all);
            }
        }
        Err(Error::Failed {
            provider: NAME.to_owned(),
            what: format!("listing {key}"),
            cause: "the list changes faster than it can be read".to_owned(),
        })
    }
}

/// The address of the API.
pub(super) fn url() -> String {
    env::var("DIGITALOCEAN_API_URL").unwrap_or_else(|_| URL.to_owned())
}

/// Escapes a name as a part of a path.
pub(super) fn path(name: &str) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn decode<T: DeserializeOwned>(mut answer: Json, key: &str, what: &str) -> Result<T, Error> {
    let found = answer.get_mut(key).map(Json::take).unwrap_or_default();
    serde_json::from_value(found).map_err(|error| Error::Failed {
        provider: NAME.to_owned(),
        what: what.to_owned(),
        cause: format!("invalid response: `{key}`: {error}"),
    })
}

/// Succeeds if the thing to remove does not exist.
pub(super) fn gone_is_fine(result: Result<Json, Error>) -> Result<(), Error> {
    match result {
        Err(Error::Api(error, _)) if error.status() == Some(404) => Ok(()),
        result => result.map(drop),
    }
}

fn explain(error: http::Error) -> Error {
    let help = match error.status() {
        Some(401) => Some(
            "the token in DIGITALOCEAN_TOKEN, or doctl's, is invalid or has expired; create one \
             at https://cloud.digitalocean.com/account/api/tokens",
        ),
        Some(403) => Some("the token has no permission; create one with write access"),
        _ => None,
    };
    Error::Api(error, help.map(str::to_owned))
}
