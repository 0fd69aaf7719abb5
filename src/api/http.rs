//! `http::`: HTTP requests from the local machine.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use reqwest::{Method, header::HeaderMap};
use rhai::{Dynamic, Engine, ImmutableString, Map};

use super::{
    Api,
    call::{Answer, Call},
    namespace::Namespace,
    secret::{self, Secret},
    value::{from_json, to_options},
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        units,
        value::{Data, Fields, Value},
    },
    http::{self, ApiRequest, Assertion, BodyError, JsonApi, Network, SendError, TokenRequest},
};

/// The default timeout of a request, including its response.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut http = Namespace::new(
        api,
        "http",
        "HTTP requests from the local machine. In a test, `test::http` answers them.",
    );
    http.function(
        "get(url: string) -> string",
        "Sends a GET request and returns the body of the response. Throws unless the status is 2xx.",
        |call: &Call, url: ImmutableString| {
            let request = Request::new(Method::GET, &url);
            let response = answered(call, |network| request.send(network))?;
            if (200..300).contains(&response.status) {
                return Ok(response.body);
            }
            let text = format!("GET {url}: status {}", response.status);
            Err(call.fail(Diagnostic::new(Kind::Failed, text)))
        },
    );
    http.change(
        "request(method: string, url: string, options: map) -> map",
        "Sends a request and returns `#{ok, status, headers, body}`, whatever the status is.
         Options: `headers` (map), `body` (text, or a map or list that is sent as JSON), `timeout`
         (`30s`). In a dry run, only GET and HEAD are sent.",
        |call: &Call, method: ImmutableString, url: ImmutableString, options: Map| {
            request(call, &method, &url, &options)
        },
    );
    http.change(
        "request(method: string, url: string) -> map",
        "Sends a request without headers and body. Returns `#{ok, status, headers, body}`, whatever
         the status is.",
        |call: &Call, method: ImmutableString, url: ImmutableString| {
            request(call, &method, &url, &Map::new())
        },
    );
    http.function(
        "api(options: map) -> HttpApi",
        "Returns a client of a JSON API, with the options `#{name, url, token}`. Its methods `get`,
         `post`, `put` and `delete` take a path below `url`, and return the decoded response. They
         throw the message of the API, with the status as `code`. Temporary errors (5xx, broken
         connections) are retried; a POST only if it was not executed. A request that is over a rate
         limit (429) waits up to 15 minutes, as `Retry-After` or `RateLimit-Reset` say; one that meets a
         lock (423, or 409 with the code `conflict`) up to 2 minutes. Only a few requests are sent at the
         same time. In a dry run, only `get` is sent.",
        |call: &Call, options: Map| api_of(call, &options),
    );
    http.function(
        "access_token(options: map) -> Secret",
        "Returns an access token of OAuth 2.0 (RFC 6749) for `http::api`. Options: `url` (the token
         endpoint) and `form` (a map of the form's fields; secrets are masked). With `assertion`, a
         map `#{claims, key, id}`, the claims are signed as a JSON Web Token (RS256; RFC 7523) and
         sent as the field `assertion`. `key` is an RSA private key as PEM, `id` its id. The claims
         `iat` and `exp` are added. The token is cached until shortly before it expires. If an API
         refuses it earlier (401), give it as the option `refused` to get another one.",
        |call: &Call, options: Map| access_token(call, &options),
    );
    add_methods(&mut http);
    http
}

/// Adds the methods of `HttpApi`.
fn add_methods(http: &mut Namespace) {
    http.method(
        "get(api: HttpApi, path: string) -> ?",
        "See `http::api`.",
        |call: &Call, api: HttpApi, path: ImmutableString| {
            send(
                call,
                &api,
                &ApiRequest::new(Method::GET, path.as_str(), None),
            )
        },
    );
    http.method(
        "get_once(api: HttpApi, path: string) -> ?",
        "As `get`, but returns the same response for the same path until hitc ends. For lists that do not
         change while servers are created.",
        |call: &Call, api: HttpApi, path: ImmutableString| {
            let response = answered(call, |_| api.0.get_once(&path))?;
            Ok(from_json(&response))
        },
    );
    http.change_method(
        "delete(api: HttpApi, path: string) -> ?",
        "See `http::api`.",
        |call: &Call, api: HttpApi, path: ImmutableString| {
            send(
                call,
                &api,
                &ApiRequest::new(Method::DELETE, path.as_str(), None),
            )
        },
    );
    for (signature, method) in [
        (
            "post(api: HttpApi, path: string, body: map) -> ?",
            Method::POST,
        ),
        (
            "put(api: HttpApi, path: string, body: map) -> ?",
            Method::PUT,
        ),
    ] {
        http.change_method(
            signature,
            "See `http::api`.",
            move |call: &Call, api: HttpApi, path: ImmutableString, body: Map| {
                let body = Some(to_options(&body).to_revealed_json());
                send(
                    call,
                    &api,
                    &ApiRequest::new(method.clone(), path.as_str(), body),
                )
            },
        );
    }
}

/// A client of a JSON API, as scripts see it.
#[derive(Clone)]
pub(super) struct HttpApi(Arc<JsonApi>);

/// Registers the type.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<HttpApi>("HttpApi");
}

/// Returns the client of an API. All callers in a run share it, and so its limits.
fn api_of(call: &Call, options: &Map) -> Answer<HttpApi> {
    let options = to_options(options);
    let read = || {
        let mut fields = Fields::new(&options, "http::api")?;
        let name = fields.require("name")?.to_text("name")?;
        let url = fields.require("url")?.to_text("url")?;
        let token = fields.require("token")?.to_text_or_secret("token")?;
        fields.finish()?;
        call.context.events.hide(&token);
        Ok::<_, Diagnostic>(call.context.api(&name, &url, &token)?)
    };
    call.check(read()).map(HttpApi)
}

fn access_token(call: &Call, options: &Map) -> Answer<Secret> {
    let options = to_options(options);
    let (request, refused) = call.check(token_request(call, &options))?;
    let tokens = &call.context.tokens;
    let token = answered(call, |_| tokens.get(&request, refused.as_deref()))?;
    Ok(secret::create(call, &token))
}

/// Decodes a request for a token, and the token that the API refused. Masks the secrets in it.
fn token_request(
    call: &Call,
    options: &Value,
) -> Result<(TokenRequest, Option<String>), Diagnostic> {
    let mut fields = Fields::new(options, "http::access_token")?;
    let url = fields.require("url")?.to_text("url")?;
    let mut form = BTreeMap::new();
    for field in fields.require("form")?.to_map("form")? {
        let text = field.value.to_text_or_secret(&field.key)?;
        form.insert(field.key, text);
    }
    let assertion = fields.take("assertion");
    let assertion = assertion.map(|assertion| {
        let mut fields = Fields::new(&assertion, "assertion")?;
        let claims = fields.require("claims")?.to_revealed_json();
        let key = fields.require("key")?.to_text_or_secret("key")?;
        let id = fields.decode("id", Value::to_text)?;
        fields.finish()?;
        call.context.events.hide(&key);
        let claims = claims.as_object().cloned().unwrap_or_default();
        Ok::<_, Diagnostic>(Assertion { claims, key, id })
    });
    let refused = fields.decode("refused", Value::to_text_or_secret)?;
    fields.finish()?;
    let request = TokenRequest {
        url,
        form,
        assertion: assertion.transpose()?,
    };
    Ok((request, refused))
}

fn send(call: &Call, api: &HttpApi, request: &ApiRequest) -> Answer<Dynamic> {
    let what = || format!("send {} {}", request.method, request.path);
    let response = send_once(call, &request.method, what, |_| api.0.send(request))?;
    Ok(response.map_or(Dynamic::UNIT, |response| from_json(&response)))
}

/// Sends a request. In a dry run, one that may change something is not sent. In a test, it is recorded
/// and answered.
fn send_once<'a, T, E: Into<Diagnostic>, F: Future<Output = Result<T, E>>>(
    call: &'a Call,
    method: &Method,
    what: impl FnOnce() -> String,
    send: impl FnOnce(&'a Network) -> F,
) -> Answer<Option<T>> {
    let is_safe = [Method::GET, Method::HEAD].contains(method);
    if !is_safe && call.would(what) && call.mock().is_none() {
        return Ok(None);
    }
    answered(call, send).map(Some)
}

/// Waits for the response to a request. In a test, one that the test has no answer to is an error that
/// says so.
fn answered<'a, T, E: Into<Diagnostic>, F: Future<Output = Result<T, E>>>(
    call: &'a Call,
    send: impl FnOnce(&'a Network) -> F,
) -> Answer<T> {
    let unanswered = || {
        call.mock()
            .map_or_else(Vec::new, |mock| mock.all_unanswered())
    };
    let before = unanswered().len();
    let response = call.wait(send(&call.context.network));
    match unanswered().into_iter().nth(before) {
        Some(error) if response.is_err() => Err(call.fail(error)),
        _ => response,
    }
}

struct Request {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Option<String>,
    timeout: Duration,
}

struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

fn request(call: &Call, method: &str, url: &str, options: &Map) -> Answer<Map> {
    let request = call.check(Request::decode(method, url, options))?;
    let what = || format!("send {} {url}", request.method);
    let response = send_once(call, &request.method, what, |network| request.send(network))?;
    // A dry run assumes that the request succeeds.
    let response = response.unwrap_or(Response {
        status: 200,
        headers: Vec::new(),
        body: String::new(),
    });
    let headers: Map = response
        .headers
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let mut map = Map::new();
    map.insert("ok".into(), (200..300).contains(&response.status).into());
    map.insert("status".into(), i64::from(response.status).into());
    map.insert("headers".into(), Dynamic::from_map(headers));
    map.insert("body".into(), response.body.into());
    Ok(map)
}

impl Request {
    fn new(method: Method, url: &str) -> Self {
        Request {
            method,
            url: url.to_owned(),
            headers: HeaderMap::new(),
            body: None,
            timeout: TIMEOUT,
        }
    }

    fn decode(method: &str, url: &str, options: &Map) -> Result<Self, Diagnostic> {
        let invalid = |text: String| Diagnostic::new(Kind::Usage, format!("http::request: {text}"));
        let method: Method = method
            .to_uppercase()
            .parse()
            .map_err(|_| invalid(format!("invalid method `{method}`")))?;
        let mut request = Request::new(method, url);
        let options = to_options(options);
        let mut fields = Fields::new(&options, "http::request")?;
        let headers = fields.decode("headers", Value::to_map)?.unwrap_or_default();
        let body = fields.take("body");
        let timeout = fields.decode("timeout", units::duration)?;
        fields.finish()?;
        for header in headers {
            let value = header.value.to_text_or_secret("headers")?;
            let name: reqwest::header::HeaderName = header
                .key
                .parse()
                .map_err(|_| invalid(format!("invalid header name `{}`", header.key)))?;
            let value = value
                .parse()
                .map_err(|_| invalid(format!("invalid value of the header `{name}`")))?;
            request.headers.insert(name, value);
        }
        if let Some(body) = body {
            let is_json = matches!(body.data, Data::Map(_) | Data::List(_));
            request.body = Some(if is_json {
                body.to_revealed_json().to_string()
            } else {
                body.to_text_or_secret("body")?
            });
            if is_json {
                let json = reqwest::header::HeaderValue::from_static("application/json");
                request
                    .headers
                    .entry(reqwest::header::CONTENT_TYPE)
                    .or_insert(json);
            }
        }
        request.timeout = timeout.unwrap_or(TIMEOUT);
        Ok(request)
    }

    async fn send(&self, network: &Network) -> Result<Response, Diagnostic> {
        let fail = |error: SendError| self.explain(&error);
        let client = http::client(self.timeout);
        let client = client.map_err(|error| fail(SendError::Failed(error)))?;
        let mut request = client
            .request(self.method.clone(), &self.url)
            .headers(self.headers.clone());
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        let response = network.send(request).await.map_err(fail)?;
        let text = |value: &reqwest::header::HeaderValue| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), text(value)));
        let (status, headers) = (response.status().as_u16(), headers.collect());
        let body = http::read_text(response).await;
        Ok(Response {
            status,
            headers,
            body: body.map_err(|error| match error {
                BodyError::TooLarge => self.too_large(),
                BodyError::Broken(error) => fail(SendError::Failed(error)),
            })?,
        })
    }

    fn too_large(&self) -> Diagnostic {
        let Request { method, url, .. } = self;
        let text = format!("{method} {url}: {}", BodyError::TooLarge);
        Diagnostic::new(Kind::Failed, text)
            .help("download it into a file with a command, for example `curl`".to_owned())
    }

    fn explain(&self, error: &SendError) -> Diagnostic {
        let kind = if error.is_invalid() {
            Kind::Usage
        } else if error.is_timeout() {
            Kind::Timeout
        } else {
            Kind::Failed
        };
        let Request { method, url, .. } = self;
        Diagnostic::new(kind, format!("{method} {url}: {}", error.cause()))
    }
}
