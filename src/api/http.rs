//! `http::`: requests from this machine.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, header::HeaderMap};
use rhai::{Dynamic, Engine, ImmutableString, Map};

use super::{
    Api,
    call::{Answer, Call},
    namespace::Namespace,
    value::{from_json, to_json, to_options},
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        units,
        value::{Data, Fields, Value},
    },
    http::{self, ApiRequest, JsonApi},
};

/// How long a request may take, its answer included, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut http = Namespace::new(api, "http", "Requests from this machine.");
    http.function(
        "get(url: string) -> string",
        "The body of the answer to a GET request. Throws unless the status is 2xx.",
        |call: &Call, url: ImmutableString| {
            let request = Request::new(Method::GET, &url);
            let answer = call.wait(request.send())?;
            if (200..300).contains(&answer.status) {
                return Ok(answer.body);
            }
            let text = format!("GET {url}: status {}", answer.status);
            Err(call.fail(Diagnostic::new(Kind::Failed, text)))
        },
    );
    http.change(
        "request(method: string, url: string, options: map) -> map",
        "Sends a request and returns `#{ok, status, headers, body}`, whatever the status. Options:
         `headers` (map), `body` (text, or a map or list that is sent as JSON), `timeout` (`30s`).
         In a dry run only GET and HEAD are sent.",
        |call: &Call, method: ImmutableString, url: ImmutableString, options: Map| {
            request(call, &method, &url, &options)
        },
    );
    http.change(
        "request(method: string, url: string) -> map",
        "The same without options.",
        |call: &Call, method: ImmutableString, url: ImmutableString| {
            request(call, &method, &url, &Map::new())
        },
    );
    http.function(
        "api(options: map) -> HttpApi",
        "An API that speaks JSON: `#{name, url, token}`. Its `get`, `post`, `put` and `delete` take a
         path below `url` and return what it answers, decoded. What may pass is asked again (429,
         5xx, broken connections, and after a POST only what was not heard); `Retry-After` is
         honoured; few requests are under way at once. They throw what the API says, with the
         status as `code`. In a dry run only `get` is sent.",
        |call: &Call, options: Map| api_of(call, &options),
    );
    http.method(
        "get(api: HttpApi, path: string) -> ?",
        "See `http::api`.",
        |call: &Call, api: HttpApi, path: ImmutableString| {
            ask(
                call,
                &api,
                &ApiRequest::new(Method::GET, path.as_str(), None),
            )
        },
    );
    http.change_method(
        "delete(api: HttpApi, path: string) -> ?",
        "See `http::api`.",
        |call: &Call, api: HttpApi, path: ImmutableString| {
            ask(
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
                let body = Some(to_json(&body.into()));
                ask(
                    call,
                    &api,
                    &ApiRequest::new(method.clone(), path.as_str(), body),
                )
            },
        );
    }
    http
}

/// An API in the hands of a script.
#[derive(Clone)]
pub(super) struct HttpApi(Arc<JsonApi>);

/// Makes the type known.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<HttpApi>("HttpApi");
}

/// The same API is the same one for the whole run: all who ask wait for their turn together.
fn api_of(call: &Call, options: &Map) -> Answer<HttpApi> {
    let options = to_options(options);
    let read = || {
        let mut fields = Fields::new(&options, "http::api")?;
        let name = fields.require("name")?.to_text("name")?;
        let url = fields.require("url")?.to_text("url")?;
        let token = fields.require("token")?.to_text("token")?;
        fields.finish()?;
        call.context.events.hide(&token);
        Ok::<_, Diagnostic>(call.context.api(&name, &url, &token)?)
    };
    call.check(read()).map(HttpApi)
}

fn ask(call: &Call, api: &HttpApi, ask: &ApiRequest) -> Answer<Dynamic> {
    let send = api.0.send(ask);
    let answer = if ask.method == Method::GET {
        Some(call.wait(send)?)
    } else {
        let what = || format!("send {} {}", ask.method, ask.path);
        call.change(what, send)?
    };
    Ok(answer.map_or(Dynamic::UNIT, |answer| from_json(&answer)))
}

struct Request {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Option<String>,
    timeout: Duration,
}

struct Received {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

fn request(call: &Call, method: &str, url: &str, options: &Map) -> Answer<Map> {
    let request = call.check(Request::decode(method, url, options))?;
    let is_safe = [Method::GET, Method::HEAD].contains(&request.method);
    let answer = if is_safe {
        Some(call.wait(request.send())?)
    } else {
        call.change(|| format!("send {} {url}", request.method), request.send())?
    };
    // What a dry run does not know goes on as if it had gone well.
    let answer = answer.unwrap_or(Received {
        status: 200,
        headers: Vec::new(),
        body: String::new(),
    });
    let headers: Map = answer
        .headers
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let mut map = Map::new();
    map.insert("ok".into(), (200..300).contains(&answer.status).into());
    map.insert("status".into(), i64::from(answer.status).into());
    map.insert("headers".into(), Dynamic::from_map(headers));
    map.insert("body".into(), answer.body.into());
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
        let wrong = |text: String| Diagnostic::new(Kind::Usage, format!("http::request: {text}"));
        let method: Method = method
            .to_uppercase()
            .parse()
            .map_err(|_| wrong(format!("`{method}` is no method")))?;
        let mut request = Request::new(method, url);
        let options = to_options(options);
        let mut fields = Fields::new(&options, "http::request")?;
        let headers = fields.decode("headers", Value::to_map)?.unwrap_or_default();
        let body = fields.take("body");
        let timeout = fields.decode("timeout", units::duration)?;
        fields.finish()?;
        for header in headers {
            let value = header.value.to_text("headers")?;
            let name: reqwest::header::HeaderName = header
                .key
                .parse()
                .map_err(|_| wrong(format!("`{}` is no name of a header", header.key)))?;
            let value = value
                .parse()
                .map_err(|_| wrong(format!("the value of `{name}` cannot be sent")))?;
            request.headers.insert(name, value);
        }
        if let Some(body) = body {
            let is_json = matches!(body.data, Data::Map(_) | Data::List(_));
            request.body = Some(if is_json {
                body.to_json().to_string()
            } else {
                body.to_text("body")?
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

    async fn send(&self) -> Result<Received, Diagnostic> {
        let fail = |error: &reqwest::Error| self.explain(error);
        let client = http::client(self.timeout).map_err(|error| fail(&error))?;
        let mut request = client
            .request(self.method.clone(), &self.url)
            .headers(self.headers.clone());
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        let answer = request.send().await.map_err(|error| fail(&error))?;
        let text = |value: &reqwest::header::HeaderValue| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        let headers = answer.headers().iter();
        Ok(Received {
            status: answer.status().as_u16(),
            headers: headers
                .map(|(name, value)| (name.to_string(), text(value)))
                .collect(),
            body: answer.text().await.map_err(|error| fail(&error))?,
        })
    }

    fn explain(&self, error: &reqwest::Error) -> Diagnostic {
        let kind = if error.is_builder() {
            Kind::Usage
        } else if error.is_timeout() {
            Kind::Timeout
        } else {
            Kind::Failed
        };
        let Request { method, url, .. } = self;
        Diagnostic::new(kind, format!("{method} {url}: {}", http::root_cause(error)))
    }
}
