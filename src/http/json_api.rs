//! A JSON API: authentication, retries, rate limits.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::Value as Json;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    BodyError, Network, client, read_text,
    retry::{
        LOCK_PATIENCE, MAX_ATTEMPTS, MAX_RETRY_AFTER, RATE_LIMIT_PATIENCE, RateLimit, backoff,
        is_locked, is_rate_limited, is_transient, retry_after,
    },
    root_cause,
};
use crate::core::{
    diagnostic::{Diagnostic, Kind},
    event::Events,
    memo::Memo,
    sync::lock,
};

/// The default time limit of one attempt.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How many requests are sent at the same time.
const CONCURRENCY: usize = 8;

/// The pause for a rate limit of which the user is told.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// The response headers with the id of the request, which the provider's support asks for.
const REQUEST_ID: [&str; 3] = ["x-request-id", "x-correlation-id", "x-amzn-requestid"];

/// A JSON API with a bearer token. Retries requests if that is safe and may help. A rate limit pauses
/// all requests, and is no error unless it lasts for very long.
pub struct JsonApi {
    events: Events,
    name: String,
    base: String,
    token: String,
    client: reqwest::Client,
    network: Network,
    slots: Semaphore,
    /// The end of the pause that the API requested.
    paused_until: Mutex<Option<Instant>>,
    /// Whether the user was told of the rate limit.
    told: AtomicBool,
    /// The responses of [`JsonApi::get_once`].
    once: Memo<Json>,
    /// The time limit of one attempt.
    pub timeout: Duration,
}

/// A request.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    /// The method.
    pub method: Method,
    /// The path below the address of the API, with its query.
    pub path: String,
    /// The JSON body.
    pub body: Option<Json>,
    /// The request is idempotent: to execute it twice has the same effect as once.
    pub is_repeatable: bool,
    /// A conflict (409) is the answer, also with the code `conflict`: see [`is_locked`].
    pub is_conflict_final: bool,
}

impl ApiRequest {
    /// Creates a GET request.
    pub fn get(path: impl Into<String>) -> Self {
        ApiRequest::new(Method::GET, path, None)
    }

    /// Creates a DELETE request.
    pub fn delete(path: impl Into<String>) -> Self {
        ApiRequest::new(Method::DELETE, path, None)
    }

    /// Creates a POST request. It is not retried if it may have been executed.
    pub fn post(path: impl Into<String>, body: Json) -> Self {
        ApiRequest::new(Method::POST, path, Some(body))
    }

    /// Creates a request. All methods but POST and PATCH are repeatable (RFC 9110, section 9.2.2).
    pub fn new(method: Method, path: impl Into<String>, body: Option<Json>) -> Self {
        ApiRequest {
            is_repeatable: ![Method::POST, Method::PATCH].contains(&method),
            method,
            path: path.into(),
            body,
            is_conflict_final: false,
        }
    }

    /// Makes a conflict the answer: another thing has the name, or is in use. It does not pass.
    #[must_use]
    pub fn conflict_is_final(mut self) -> Self {
        self.is_conflict_final = true;
        self
    }

    /// Marks the request as repeatable.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.is_repeatable = true;
        self
    }
}

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The API rejected the request.
    #[error("{api}: {what}: {message}{}", details(*.status, .code.as_deref(), .request.as_deref()))]
    Refused {
        /// The name of the API.
        api: String,
        /// The method and path of the request.
        what: String,
        /// The status of the response.
        status: u16,
        /// The API's error code.
        code: Option<String>,
        /// The message of the API.
        message: String,
        /// The id of the request.
        request: Option<String>,
    },
    /// There was no response, or an invalid one.
    #[error("{api}: {what}: {cause}")]
    NoAnswer {
        /// The name of the API.
        api: String,
        /// The method and path of the request.
        what: String,
        /// What went wrong.
        cause: String,
        /// The request may have been executed.
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
    /// Whether the request may have been executed.
    pub fn is_unclear(&self) -> bool {
        match self {
            Error::Refused { status, .. } => *status >= 500,
            Error::NoAnswer { is_unclear, .. } => *is_unclear,
        }
    }

    /// The status of the response, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Refused { status, .. } => Some(*status),
            Error::NoAnswer { .. } => None,
        }
    }

    /// The API's error code, if it gave one.
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
    /// Creates the API at an address; `name` is its name in errors.
    pub fn new(name: &str, base: &str, token: &str, events: &Events) -> Result<Self, Error> {
        let client = client(TIMEOUT).map_err(|error| Error::NoAnswer {
            api: name.to_owned(),
            what: "creating the HTTP client".to_owned(),
            cause: root_cause(&error),
            is_unclear: false,
        })?;
        Ok(JsonApi {
            events: events.clone(),
            name: name.to_owned(),
            base: base.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
            client,
            network: Network::default(),
            slots: Semaphore::new(CONCURRENCY),
            paused_until: Mutex::default(),
            told: AtomicBool::default(),
            once: Memo::default(),
            timeout: TIMEOUT,
        })
    }

    /// The same API over another network.
    #[must_use]
    pub fn over(mut self, network: &Network) -> Self {
        self.network = network.clone();
        self
    }

    /// Returns the response to a GET request, and the same one for the same path from then on. Concurrent
    /// callers share one request.
    pub async fn get_once(&self, path: &str) -> Result<Json, Error> {
        let ask = || async { self.send(&ApiRequest::get(path)).await };
        self.once.get(path, ask).await
    }

    /// Sends a request, and returns the response; null if it has no body.
    pub async fn send(&self, request: &ApiRequest) -> Result<Json, Error> {
        let (mut attempts, mut rejections) = (0, 0);
        // When the request was rejected for the first time.
        let mut since = None;
        loop {
            // The semaphore is never closed.
            let slot = self.slots.acquire().await.ok();
            let paused_until = *lock(&self.paused_until);
            if let Some(until) = paused_until {
                self.network.sleep_until(until).await;
            }
            let response = self.send_once(request).await;
            drop(slot);
            let (error, retry) = match response {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            match retry {
                // It was not executed, however often that happens.
                Some(Retry::Limited(limit)) => {
                    rejections += 1;
                    let wait = limit.pause(rejections);
                    let waited = self.since(&mut since);
                    if wait > MAX_RETRY_AFTER || waited > RATE_LIMIT_PATIENCE {
                        return Err(error);
                    }
                    self.pause(wait, waited);
                }
                Some(Retry::Locked) => {
                    rejections += 1;
                    if self.since(&mut since) > LOCK_PATIENCE {
                        return Err(error);
                    }
                    self.network.sleep(backoff(rejections.min(3))).await;
                }
                Some(Retry::After(wait))
                    if attempts + 1 < MAX_ATTEMPTS && wait <= MAX_RETRY_AFTER =>
                {
                    attempts += 1;
                    self.pause(wait, Duration::ZERO);
                }
                Some(Retry::Backoff) if attempts + 1 < MAX_ATTEMPTS => {
                    attempts += 1;
                    self.network.sleep(backoff(attempts)).await;
                }
                _ => return Err(error),
            }
        }
    }

    /// The time since a point, which is now if there is none.
    fn since(&self, since: &mut Option<Instant>) -> Duration {
        let now = self.network.now();
        now.saturating_duration_since(*since.get_or_insert(now))
    }

    /// Pauses all requests. Tells the user, once, how long they wait, if that is long.
    fn pause(&self, wait: Duration, waited: Duration) {
        let until = self.network.now() + wait;
        let mut paused_until = lock(&self.paused_until);
        *paused_until = (*paused_until).max(Some(until));
        drop(paused_until);
        if wait + waited > LONG_PAUSE && !self.told.swap(true, Ordering::Relaxed) {
            let text = format!(
                "{}: rate limit reached; waiting {} s, and up to {} minutes in all if it admits no more \
                 requests",
                self.name,
                wait.as_secs_f64().ceil(),
                RATE_LIMIT_PATIENCE.as_secs() / 60
            );
            self.events.note(text);
        }
    }

    /// Sends a request once. An error says whether, and when, to retry.
    async fn send_once(&self, request: &ApiRequest) -> Result<Json, (Error, Option<Retry>)> {
        let what = format!("{} {}", request.method, request.path);
        let no_answer = |cause: String, is_unclear: bool| Error::NoAnswer {
            api: self.name.clone(),
            what: what.clone(),
            cause,
            is_unclear,
        };
        let mut http_request = self
            .client
            .request(
                request.method.clone(),
                format!("{}{}", self.base, request.path),
            )
            .timeout(self.timeout)
            .bearer_auth(&self.token);
        if let Some(body) = &request.body {
            http_request = http_request
                .header(reqwest::header::CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        let if_repeatable = request.is_repeatable.then_some(Retry::Backoff);
        let sending = self.network.send(http_request);
        let response = sending.await.map_err(|error| {
            let was_sent = error.was_sent();
            let retry = if was_sent {
                if_repeatable
            } else {
                (!error.is_final()).then_some(Retry::Backoff)
            };
            (
                no_answer(error.cause(), was_sent && !request.is_repeatable),
                retry,
            )
        })?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = read_text(response).await.map_err(|error| {
            // A second response would be as large.
            let retry = match error {
                BodyError::TooLarge => None,
                BodyError::Broken(_) => if_repeatable,
            };
            (no_answer(error.to_string(), !request.is_repeatable), retry)
        })?;
        if status.is_success() {
            if text.trim().is_empty() {
                return Ok(Json::Null);
            }
            return serde_json::from_str(&text).map_err(|error| {
                let cause = format!("invalid JSON in the response: {error}");
                (no_answer(cause, !request.is_repeatable), if_repeatable)
            });
        }
        let error = self.rejection(what, status, &headers, &text);
        let retry = if is_rate_limited(status) || error.code().is_some_and(is_quota) {
            Some(Retry::Limited(RateLimit::of(&headers)))
        } else if is_locked(status, error.code())
            && !(request.is_conflict_final && status == StatusCode::CONFLICT)
        {
            Some(Retry::Locked)
        } else if is_transient(status) && request.is_repeatable {
            Some(retry_after(&headers).map_or(Retry::Backoff, Retry::After))
        } else {
            None
        };
        Err((error, retry))
    }

    /// Creates the error of a rejected request from its response.
    fn rejection(
        &self,
        what: String,
        status: StatusCode,
        headers: &HeaderMap,
        text: &str,
    ) -> Error {
        let body: Json = serde_json::from_str(text).unwrap_or_default();
        // `{message, id, request_id}`, `{error: {message, code}}` or Google's
        // `{error: {message, code (the status), errors: [{reason}]}}`.
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
        if is_rate_limited(status)
            && let Some(wait) = retry_after(headers).filter(|wait| *wait > MAX_RETRY_AFTER)
        {
            message.push_str(&format!("; retry after {} s", wait.as_secs()));
        }
        Error::Refused {
            api: self.name.clone(),
            what,
            status: status.as_u16(),
            code: find(&["code", "id"]).or_else(|| {
                let reason = inner["errors"][0]["reason"].as_str();
                reason.map(str::to_owned)
            }),
            message,
            request: find(&["request_id"]).or_else(of_header),
        }
    }
}

/// Whether an API's error code says that a quota of requests is used up, and the request was not executed.
/// Google's APIs send it with status 403 and without `Retry-After`
/// (<https://docs.cloud.google.com/compute/docs/api/rate-limits>).
fn is_quota(code: &str) -> bool {
    ["rateLimitExceeded", "userRateLimitExceeded"].contains(&code)
}

/// When to retry.
#[derive(Clone, Copy)]
enum Retry {
    /// After a pause that grows with each attempt.
    Backoff,
    /// After the pause that the server requests.
    After(Duration),
    /// When a rate limit admits it.
    Limited(RateLimit),
    /// When another request has changed the resource.
    Locked,
}
