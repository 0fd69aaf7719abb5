//! The session of a BuildKit build: the engine asks it for secrets, over gRPC on a connection that it
//! opened the other way round.
//!
//! Two methods are served, on HTTP/2, which hyper has: `GetSecret`
//! (github.com/moby/buildkit/session/secrets/secrets.proto) and the health check, without which the
//! engine closes the session (github.com/grpc/grpc/blob/master/doc/health-checking.md).

use std::{collections::BTreeMap, convert::Infallible, fmt, num::NonZero, sync::Arc};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Frame, Incoming},
    client::conn::http1,
    header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use super::protobuf::fields;
use crate::machine::Stream;

const GET_SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// The bytes before a message of gRPC: that it is not compressed, and its length.
const PREFIX: usize = 5;

/// Statuses of gRPC.
const OK: &str = "0";
const NOT_FOUND: &str = "5";
const UNIMPLEMENTED: &str = "12";

/// The secrets of a build, by the ids that the Dockerfile uses. Not part of the image's name.
#[derive(Clone, Default)]
pub struct Secrets(pub BTreeMap<String, Bytes>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A session, until it is dropped.
pub(super) struct Session {
    pub id: String,
    task: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// Opens a session on a connection to the engine.
    pub async fn open(
        stream: Stream,
        version: &str,
        secrets: Arc<Secrets>,
    ) -> Result<Self, hyper::Error> {
        let id = format!("{:032x}", fastrand::u128(..));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.method_mut() = hyper::Method::POST;
        if let Ok(uri) = format!("/v{version}/session").parse() {
            *request.uri_mut() = uri;
        }
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("docker"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("h2c"));
        for (name, value) in [
            ("x-docker-expose-session-uuid", id.as_str()),
            ("x-docker-expose-session-name", "hitc"),
            ("x-docker-expose-session-grpc-method", GET_SECRET),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        let response = sender.send_request(request).await?;
        // Fails if the engine answered with anything but an upgrade.
        let upgraded = hyper::upgrade::on(response).await?;
        let service = service_fn(move |request| answer(request, secrets.clone()));
        let serving = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(TokioIo::new(upgraded)), service);
        let task = tokio::spawn(async move {
            // The end of the connection is the end of the build, which says why.
            let _ = serving.await;
        });
        Ok(Session { id, task })
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    secrets: Arc<Secrets>,
) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let message = body.get(PREFIX..).unwrap_or_default();
    let (status, message) = reply(&path, message, &secrets);
    let mut frames = Vec::new();
    if status == OK {
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let mut framed = vec![0];
        framed.extend(length.to_be_bytes());
        framed.extend(message);
        frames.push(Ok(Frame::data(framed.into())));
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    frames.push(Ok(Frame::trailers(trailers)));
    let mut response = Response::new(BoxBody::new(StreamBody::new(stream::iter(frames))));
    *response.status_mut() = StatusCode::OK;
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    Ok(response)
}

/// The status, and the message.
fn reply(path: &str, request: &[u8], secrets: &Secrets) -> (&'static str, Vec<u8>) {
    match path {
        // `HealthCheckResponse`: its status, field 1, is SERVING.
        HEALTH => (OK, vec![8, 1]),
        GET_SECRET => {
            // `GetSecretRequest`: its id is field 1. `GetSecretResponse`: its data is field 1.
            let id = fields(request).find(|(field, _)| *field == 1);
            let id = id.map(|(_, id)| String::from_utf8_lossy(id).into_owned());
            let Some(value) = id.and_then(|id| secrets.0.get(&id)) else {
                return (NOT_FOUND, Vec::new());
            };
            let mut message = vec![10];
            let mut length = value.len();
            // Seven bits a byte, the lowest first; all but the last byte have the highest bit.
            while let Some(more) = NonZero::new(length >> 7) {
                message.push(low_bits(length) | 0x80);
                length = more.get();
            }
            message.push(low_bits(length));
            message.extend_from_slice(value);
            (OK, message)
        }
        _ => (UNIMPLEMENTED, Vec::new()),
    }
}

fn low_bits(number: usize) -> u8 {
    number.to_le_bytes()[0] & 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_by_their_ids() {
        let long = Bytes::from(vec![b'x'; 300]);
        let secrets = Secrets([("a".to_owned(), long.clone())].into());
        let (status, message) = reply(GET_SECRET, &[10, 1, b'a'], &secrets);
        assert_eq!(status, OK);
        let found: Vec<_> = fields(&message).collect();
        assert_eq!(found, [(1, long.as_ref())]);
        assert_eq!(reply(GET_SECRET, &[10, 1, b'b'], &secrets).0, NOT_FOUND);
        assert_eq!(reply(GET_SECRET, &[], &secrets).0, NOT_FOUND);
        assert_eq!(reply("/other", &[], &secrets).0, UNIMPLEMENTED);
        assert_eq!(format!("{secrets:?}"), "{\"a\"}");
    }
}
