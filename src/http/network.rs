//! Where requests go: to the network, or in a test of scripts to a mock.

use std::{sync::Arc, time::Duration};

use reqwest::{
    RequestBuilder, Response, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use tokio::time::{Instant, sleep};

use super::root_cause;

/// A request, as a mock sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The method.
    pub method: String,
    /// The address, with its query.
    pub url: String,
    /// The names and values of the headers.
    pub headers: Vec<(String, String)>,
    /// The body; empty if there is none.
    pub body: String,
}

/// What a mock replies.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A response.
    Response {
        /// Its status.
        status: u16,
        /// The names and values of its headers.
        headers: Vec<(String, String)>,
        /// Its body.
        body: String,
    },
    /// No connection, and why.
    NoConnection(String),
}

/// A mock has no reply to a request.
#[derive(Clone, Copy, Debug)]
pub struct Unanswered;

/// A mock of the network. Its time passes only by sleeping.
pub trait Responder: Send + Sync {
    /// Replies to a request.
    fn respond(&self, sent: Sent) -> Result<Reply, Unanswered>;

    /// The time that has passed.
    fn elapsed(&self) -> Duration;

    /// Lets time pass.
    fn sleep(&self, duration: Duration);
}

/// Where requests go, and the clock of their pauses.
#[derive(Clone, Default)]
pub struct Network(Option<Mocked>);

#[derive(Clone)]
struct Mocked {
    responder: Arc<dyn Responder>,
    start: Instant,
}

/// Why there is no response.
#[derive(Debug)]
pub enum SendError {
    /// The network failed.
    Failed(reqwest::Error),
    /// A mock replied that there is no connection.
    NoConnection(String),
    /// A mock has no reply.
    Unanswered,
}

impl SendError {
    /// What went wrong.
    pub fn cause(&self) -> String {
        match self {
            SendError::Failed(error) => root_cause(error),
            SendError::NoConnection(cause) => cause.clone(),
            SendError::Unanswered => "no answer in this test".to_owned(),
        }
    }

    /// Whether the server may have received the request.
    pub fn was_sent(&self) -> bool {
        match self {
            SendError::Failed(error) => !error.is_connect() && !error.is_builder(),
            SendError::NoConnection(_) | SendError::Unanswered => false,
        }
    }

    /// Whether the request itself is invalid, or is never answered: to send it again does not help.
    pub fn is_final(&self) -> bool {
        match self {
            SendError::Failed(error) => error.is_builder(),
            SendError::NoConnection(_) => false,
            SendError::Unanswered => true,
        }
    }

    /// Whether the time limit was exceeded.
    pub fn is_timeout(&self) -> bool {
        matches!(self, SendError::Failed(error) if error.is_timeout())
    }

    /// Whether the request itself is invalid.
    pub fn is_invalid(&self) -> bool {
        matches!(self, SendError::Failed(error) if error.is_builder())
    }
}

impl Network {
    /// A mock of the network.
    pub fn mocked(responder: Arc<dyn Responder>) -> Self {
        let start = Instant::now();
        Network(Some(Mocked { responder, start }))
    }

    /// Sends a request.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, SendError> {
        let Some(mocked) = &self.0 else {
            return request.send().await.map_err(SendError::Failed);
        };
        let request = request.build().map_err(SendError::Failed)?;
        let headers = request.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), text(value.as_bytes())));
        let body = request.body().and_then(reqwest::Body::as_bytes);
        let sent = Sent {
            method: request.method().to_string(),
            url: request.url().to_string(),
            headers: headers.collect(),
            body: body.map(text).unwrap_or_default(),
        };
        match mocked.responder.respond(sent) {
            Ok(reply) => reply.response(),
            Err(Unanswered) => Err(SendError::Unanswered),
        }
    }

    /// The present time.
    pub fn now(&self) -> Instant {
        match &self.0 {
            Some(mocked) => mocked.start + mocked.responder.elapsed(),
            None => Instant::now(),
        }
    }

    /// Sleeps. A mock returns at once.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Some(mocked) => mocked.responder.sleep(duration),
            None => sleep(duration).await,
        }
    }

    /// Sleeps until a point in time.
    pub async fn sleep_until(&self, until: Instant) {
        self.sleep(until.saturating_duration_since(self.now()))
            .await;
    }
}

impl Reply {
    fn response(self) -> Result<Response, SendError> {
        let (status, headers, body) = match self {
            Reply::Response {
                status,
                headers,
                body,
            } => (status, headers, body),
            Reply::NoConnection(cause) => return Err(SendError::NoConnection(cause)),
        };
        let mut response = hyper::Response::new(body);
        // Both were checked when the mock got the reply.
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_str(&value),
            ) {
                map.append(name, value);
            }
        }
        *response.headers_mut() = map;
        Ok(Response::from(response))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
