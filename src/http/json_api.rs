//! An API that speaks JSON.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::Value as Json;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, sleep_until},
};

use super::{
    client,
    retry::{LONGEST, TRIES, is_passing, is_turned_away, pause, retry_after},
    root_cause,
};
use crate::core::diagnostic::{Diagnostic, Kind};

/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How many requests are under way at once.
const AT_ONCE: usize = 8;

/// The headers by which providers name a request, for their support.
const REQUEST_ID: [&str; 3] = ["x-request-id", "x-correlation-id", "x-amzn-requestid"];

/// An API at one address, for whoever has a token. What is asked of it is asked again if that is
/// safe and may help; when it wants to be left alone, everybody waits.
pub struct JsonApi {
    name: String,
    base: String,
    token: String,
    client: reqwest::Client,
    slots: Semaphore,
    quiet_until: Mutex<Option<Instant>>,
    /// How long one try may take.
    pub timeout: Duration,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    /// GET, POST, …
    pub method: Method,
    /// Below the address of the API, with its query.
    pub path: String,
    /// What is sent along.
    pub body: Option<Json>,
    /// Done twice, it is as if it was done once.
    pub is_repeatable: bool,
}

impl ApiRequest {
    /// A GET request.
    pub fn get(path: impl Into<String>) -> Self {
        ApiRequest::new(Method::GET, path, None)
    }

    /// A DELETE request.
    pub fn delete(path: impl Into<String>) -> Self {
        ApiRequest::new(Method::DELETE, path, None)
    }

    /// A POST request, which is not sent twice if it may have been heard.
    pub fn post(path: impl Into<String>, body: Json) -> Self {
        ApiRequest::new(Method::POST, path, Some(body))
    }

    /// Any request; only POST and PATCH are not repeatable (RFC 9110, 9.2.2).
    pub fn new(method: Method, path: impl Into<String>, body: Option<Json>) -> Self {
        ApiRequest {
            is_repeatable: ![Method::POST, Method::PATCH].contains(&method),
            method,
            path: path.into(),
            body,
        }
    }

    /// Says that it may be done twice.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.is_repeatable = true;
        self
    }
}

/// Why an API did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It said no.
    #[error("{api}: {what}: {message}{}", details(*.status, .code.as_deref(), .request.as_deref()))]
    Refused {
        /// The API.
        api: String,
        /// What was asked.
        what: String,
        /// The status of the answer.
        status: u16,
        /// The API's own word for what is wrong.
        code: Option<String>,
        /// What it said.
        message: String,
        /// How it calls the request.
        request: Option<String>,
    },
    /// There was no answer, or none that can be read.
    #[error("{api}: {what}: {cause}")]
    NoAnswer {
        /// The API.
        api: String,
        /// What was asked.
        what: String,
        /// What went wrong.
        cause: String,
        /// It may have been done.
        is_unclear: bool,
    },
}

fn details(status: u16, code: Option<&str>, request: Option<&str>) -> String {
    let mut text = format!(" (status {status}");
    if let Some(code) = code {
        text.push_str(&format!(", `{code}`"));
    }
    if let Some(request) = request {
        text.push_str(&format!(", request {request}"));
    }
    text + ")"
}

impl Error {
    /// Nobody knows whether it was done.
    pub fn is_unclear(&self) -> bool {
        match self {
            Error::Refused { status, .. } => *status >= 500,
            Error::NoAnswer { is_unclear, .. } => *is_unclear,
        }
    }

    /// The status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Refused { status, .. } => Some(*status),
            Error::NoAnswer { .. } => None,
        }
    }

    /// The API's own word for what is wrong.
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Refused { code, .. } => code.as_deref(),
            Error::NoAnswer { .. } => None,
        }
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        let kind = match error.status() {
            Some(401) => Kind::Usage,
            _ => Kind::Failed,
        };
        let mut diagnostic = Diagnostic::new(kind, error.to_string());
        diagnostic.code = error.status().map(u32::from);
        diagnostic
    }
}

impl JsonApi {
    /// The API at an address. It is called `name` in errors.
    pub fn new(name: &str, base: &str, token: &str) -> Result<Self, Error> {
        let client = client(TIMEOUT).map_err(|error| Error::NoAnswer {
            api: name.to_owned(),
            what: "beginning".to_owned(),
            cause: root_cause(&error),
            is_unclear: false,
        })?;
        Ok(JsonApi {
            name: name.to_owned(),
            base: base.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
            client,
            slots: Semaphore::new(AT_ONCE),
            quiet_until: Mutex::default(),
            timeout: TIMEOUT,
        })
    }

    /// Asks, and gives the answer; null if there is none to read.
    pub async fn send(&self, ask: &ApiRequest) -> Result<Json, Error> {
        let mut tried = 0;
        loop {
            // It is never closed.
            let slot = self.slots.acquire().await.ok();
            let quiet_until = *self.quiet();
            if let Some(until) = quiet_until {
                sleep_until(until).await;
            }
            let answer = self.send_once(ask).await;
            drop(slot);
            tried += 1;
            let (error, wait) = match answer {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            match wait {
                Some(Again::After(wait)) if tried < TRIES && wait <= LONGEST => {
                    let until = Instant::now() + wait;
                    let mut quiet = self.quiet();
                    *quiet = (*quiet).max(Some(until));
                }
                Some(Again::Soon) if tried < TRIES => sleep(pause(tried)).await,
                _ => return Err(error),
            }
        }
    }

    async fn send_once(&self, ask: &ApiRequest) -> Result<Json, (Error, Option<Again>)> {
        let what = format!("{} {}", ask.method, ask.path);
        let lost = |cause: String, is_unclear: bool| Error::NoAnswer {
            api: self.name.clone(),
            what: what.clone(),
            cause,
            is_unclear,
        };
        let mut request = self
            .client
            .request(ask.method.clone(), format!("{}{}", self.base, ask.path))
            .timeout(self.timeout)
            .bearer_auth(&self.token);
        if let Some(body) = &ask.body {
            request = request
                .header(reqwest::header::CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        let safe = ask.is_repeatable.then_some(Again::Soon);
        let answer = request.send().await.map_err(|error| {
            let was_sent = !error.is_connect() && !error.is_builder();
            let again = if was_sent {
                safe
            } else {
                (!error.is_builder()).then_some(Again::Soon)
            };
            (
                lost(root_cause(&error), was_sent && !ask.is_repeatable),
                again,
            )
        })?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer
            .text()
            .await
            .map_err(|error| (lost(root_cause(&error), !ask.is_repeatable), safe))?;
        if status.is_success() {
            if text.trim().is_empty() {
                return Ok(Json::Null);
            }
            return serde_json::from_str(&text).map_err(|error| {
                let cause = format!("the answer is not JSON: {error}");
                (lost(cause, !ask.is_repeatable), safe)
            });
        }
        let may_go_better = is_turned_away(status) || is_passing(status) && ask.is_repeatable;
        let again = may_go_better.then(|| match retry_after(&headers) {
            Some(wait) => Again::After(wait),
            None => Again::Soon,
        });
        Err((self.refusal(what, status, &headers, &text), again))
    }

    fn refusal(&self, what: String, status: StatusCode, headers: &HeaderMap, text: &str) -> Error {
        let body: Json = serde_json::from_str(text).unwrap_or_default();
        // `{message, id, request_id}` or `{error: {message, code}}`.
        let inner = if body["error"].is_object() {
            &body["error"]
        } else {
            &body
        };
        let find = |keys: &[&str]| {
            keys.iter()
                .find_map(|key| inner[*key].as_str().or(body[*key].as_str()))
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let of_header = || {
            REQUEST_ID
                .iter()
                .find_map(|name| headers.get(*name)?.to_str().ok())
                .map(str::to_owned)
        };
        let reason = || status.canonical_reason().unwrap_or("refused").to_owned();
        let mut message = find(&["message"]).unwrap_or_else(reason);
        if is_turned_away(status)
            && let Some(wait) = retry_after(headers).filter(|wait| *wait > LONGEST)
        {
            message.push_str(&format!("; it may be asked again in {} s", wait.as_secs()));
        }
        Error::Refused {
            api: self.name.clone(),
            what,
            status: status.as_u16(),
            code: find(&["code", "id"]),
            message,
            request: find(&["request_id"]).or_else(of_header),
        }
    }

    fn quiet(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.quiet_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A try may go better.
#[derive(Clone, Copy)]
enum Again {
    /// In a while.
    Soon,
    /// When the server says so.
    After(Duration),
}
