//! Builds images with BuildKit, which Dockerfiles with mounts, here-documents or a syntax of their own
//! need.
//!
//! BuildKit takes the context from the body of the request, as the classic builder does. It gets no
//! credentials: private base images are pulled before. Secrets need a session ([`super::session`]).
//! bollard's own support brings gRPC along, which doubles the time to build bollard, and without it
//! bollard cannot read the answer. So this is a request of our own.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::Arc,
};

use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::{Stream, TryStreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::{Method, Request, body::Frame, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;

use super::{Platform, Secrets, protobuf::fields, session::Session};
use crate::{
    core::diagnostic::plain,
    docker::{Engine, transport::SOCKET},
    ssh::Endpoint,
};

/// The id of messages about the progress.
const TRACE: &str = "moby.buildkit.trace";

/// What the engine tells about a build.
pub(super) enum News {
    /// A step begins.
    Step(String),
    /// A step writes a line.
    Output(String),
}

/// Why a build failed.
pub(super) enum Failure {
    /// The engine or the build itself failed.
    Refused(String),
    /// The connection to the engine ended before the build did.
    Broken(String),
}

/// A line of the response.
#[derive(Deserialize)]
struct Answer {
    id: Option<String>,
    #[serde(default)]
    aux: serde_json::Value,
    error: Option<String>,
    message: Option<String>,
}

/// Whether only BuildKit understands a Dockerfile.
pub(super) fn is_needed(dockerfile: &str) -> bool {
    let mut is_top = true;
    dockerfile.lines().map(str::trim).any(|line| {
        is_top &= line.starts_with('#');
        if is_top {
            let directive = line.trim_start_matches(['#', ' ']);
            return directive.to_ascii_lowercase().starts_with("syntax");
        }
        let (instruction, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let flags = || {
            rest.split_whitespace()
                .take_while(|word| word.starts_with("--"))
        };
        let has = |names: &[&str]| flags().any(|flag| names.iter().any(|n| flag.starts_with(n)));
        match instruction.to_ascii_uppercase().as_str() {
            "RUN" => {
                has(&["--mount", "--network", "--security"]) || rest.trim_start().starts_with("<<")
            }
            "COPY" | "ADD" => {
                has(&["--link", "--chmod", "--parents", "--exclude"]) || rest.contains(" <<")
            }
            _ => false,
        }
    })
}

/// The ids of the secrets without which a Dockerfile cannot be built.
pub(super) fn required_secrets(dockerfile: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let joined = dockerfile.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    let flags = lines.flat_map(|line| {
        let (instruction, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let words = rest.split_whitespace();
        let flags = words.take_while(|word| word.starts_with("--"));
        flags.filter(move |_| instruction.eq_ignore_ascii_case("run"))
    });
    for mount in flags.filter_map(|flag| flag.strip_prefix("--mount=")) {
        let field = |key: &str| {
            let mut fields = mount
                .split(',')
                .map(|field| field.split_once('=').unwrap_or((field, "true")));
            fields
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value)
        };
        if field("type") != Some("secret") || field("required") != Some("true") {
            continue;
        }
        // Without an id, it is the name of the file.
        let target = || {
            ["target", "dst", "destination"]
                .iter()
                .find_map(|key| field(key))
        };
        let name = |target: &str| target.rsplit('/').next().unwrap_or(target).to_owned();
        let id = field("id")
            .map(str::to_owned)
            .or_else(|| target().map(name));
        ids.extend(id.filter(|id| !id.contains('$')));
    }
    ids
}

impl Engine {
    /// Builds an image on the local machine from the archive of a context.
    pub(super) async fn build_with_buildkit(
        &self,
        name: &str,
        platform: Option<&Platform>,
        secrets: &Secrets,
        labels: &HashMap<String, String>,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        mut tell: impl FnMut(News),
    ) -> Result<(), Failure> {
        let socket = socket().ok_or_else(|| {
            Failure::Refused("BuildKit is used only through a Unix socket".to_owned())
        })?;
        let socket = Endpoint::Unix(socket);
        let dial = async || {
            let stream = self.machine().dial(&socket).await;
            stream.map_err(|error| Failure::Broken(error.to_string()))
        };
        // The body of the request is the user's; all else is the connection's.
        let failed = |error: hyper::Error| {
            let is_user = error.is_user();
            let cause = root(&error);
            if is_user {
                Failure::Refused(cause)
            } else {
                Failure::Broken(cause)
            }
        };
        let version = self.docker.client_version().to_string();
        let session = if secrets.0.is_empty() {
            None
        } else {
            let secrets = Arc::new(secrets.clone());
            let opened = Session::open(dial().await?, &version, secrets).await;
            Some(opened.map_err(failed)?)
        };
        let stream = TokioIo::new(dial().await?);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(failed)?;
        // Ends together with the sender.
        let connection = tokio::spawn(connection);
        let mut path = format!("/v{version}/build?version=2&rm=1&t={name}");
        path.push_str(&format!("&labels={}", encoded(&json!(labels).to_string())));
        if let Some(platform) = platform {
            path.push_str(&format!("&platform={platform}"));
        }
        if let Some(session) = &session {
            path.push_str(&format!("&session={}", session.id));
        }
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, "docker")
            .header(header::CONTENT_TYPE, "application/x-tar")
            .body(StreamBody::new(Box::pin(archive.map_ok(Frame::data))))
            .map_err(|error| Failure::Refused(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(failed)?;
        let is_success = response.status().is_success();
        let mut body = response.into_body();
        let mut lines = Lines::default();
        let mut steps = HashSet::new();
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame.map_err(failed)?.into_data() else {
                continue;
            };
            for line in lines.add(&bytes) {
                read(&line, &mut steps, &mut tell).map_err(Failure::Refused)?;
            }
            if lines.rest.len() > MAX_LINE {
                let limit = MAX_LINE / 1024 / 1024;
                let cause = format!("a message of the answer is larger than {limit} MiB");
                return Err(Failure::Refused(cause));
            }
        }
        connection.abort();
        let rest = std::mem::take(&mut lines.rest);
        if is_success && rest.trim_ascii().is_empty() {
            return Ok(());
        }
        read(&rest, &mut steps, &mut tell).map_err(Failure::Refused)?;
        Err(Failure::Refused("the engine refused it".to_owned()))
    }
}

/// The root cause of an error.
fn root(error: &hyper::Error) -> String {
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    plain(root)
}

/// Reads one line of the response. An error is the cause why the build failed.
fn read(
    line: &[u8],
    steps: &mut HashSet<String>,
    tell: &mut impl FnMut(News),
) -> Result<(), String> {
    let Ok(message) = serde_json::from_slice::<Answer>(line) else {
        return Ok(());
    };
    if let Some(error) = message.error.or(message.message) {
        return Err(error.trim().to_owned());
    }
    let trace = message
        .aux
        .as_str()
        .filter(|_| message.id.as_deref() == Some(TRACE));
    let Some(Ok(trace)) = trace.map(|trace| BASE64.decode(trace.as_bytes())) else {
        return Ok(());
    };
    // `StatusResponse` of github.com/moby/buildkit/api/services/control/control.proto.
    for (field, value) in fields(&trace) {
        match field {
            // `Vertex`: its name is field 3.
            1 => {
                let name = fields(value).find(|(field, _)| *field == 3);
                let name = name.map(|(_, name)| String::from_utf8_lossy(name).into_owned());
                let name = name.filter(|name| name.starts_with('[') && !name.starts_with("[int"));
                if let Some(name) = name
                    && steps.insert(name.clone())
                {
                    tell(News::Step(name));
                }
            }
            // `VertexLog`: its text is field 4.
            3 => {
                for (_, text) in fields(value).filter(|(field, _)| *field == 4) {
                    let text = String::from_utf8_lossy(text);
                    text.lines()
                        .for_each(|line| tell(News::Output(line.to_owned())));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The longest line of the response, in bytes: BuildKit sends what several steps wrote in one.
const MAX_LINE: usize = 16 * 1024 * 1024;

/// Splits a stream into lines.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn add(&mut self, bytes: &Bytes) -> Vec<Vec<u8>> {
        self.rest.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            lines.push(self.rest.drain(..=end).collect());
        }
        lines
    }
}

/// The socket of the local engine, as the docker command finds it; none if it is reached otherwise.
fn socket() -> Option<String> {
    match std::env::var("DOCKER_HOST") {
        Ok(host) if !host.is_empty() => host.strip_prefix("unix://").map(str::to_owned),
        _ => Some(SOCKET.to_owned()),
    }
}

/// A value in the query of a URL.
fn encoded(value: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockerfiles_that_need_it() {
        for text in [
            "# syntax=docker/dockerfile:1\nFROM a",
            "FROM a\nRUN --mount=type=cache,target=/c make",
            "FROM a\nrun --network=none make",
            "FROM a\nRUN <<EOF\nmake\nEOF\n",
            "FROM a\nCOPY --from=b --link x y",
        ] {
            assert!(is_needed(text), "{text}");
        }
        for text in [
            "FROM a\n# syntax=docker/dockerfile:1",
            "# escape=`\nFROM a\nRUN echo --mount <<EOF",
            "FROM --platform=linux/amd64 a\nCOPY --from=b --chown=1 x y\n",
            "",
        ] {
            assert!(!is_needed(text), "{text}");
        }
    }

    #[test]
    fn secrets_that_are_required() {
        let text = "FROM a\nRUN --mount=type=secret,id=a,required a\n\
                    run --mount=type=cache,target=/c --mount=type=secret,required=true,dst=/x/b \\\n \
                    --mount=type=secret,id=c,required=true --mount=type=secret,id=d e\n\
                    RUN --mount=type=secret,id=f,required=false --mount=type=secret,id=$g,required g\n\
                    ENV x --mount=type=secret,id=h,required\n";
        assert_eq!(required_secrets(text), ["a", "b", "c"]);
    }

    #[test]
    fn messages_of_an_engine() {
        // A step's beginning, and a line that another step writes, as Docker 20.10 sends them.
        let step = "CnYKR3NoYTI1Njo3MWYwZmRlNDcyMTM3NWRkOTg4NmQ4NDU3OTE2MmQwMzgxYTJkMTlmYmI3ZGJlZmYxNjQ0NDk1MDE3MGQyNjZkGitbc3RhZ2UtMCAxLzJdIEZST00gZG9ja2VyLmlvL2hpdGMvZGViaWFuOjEz";
        let output = "GlwKR3NoYTI1NjoyMjFjNjk4MjVkYzlkM2I5NGFiZGJiYzc2MzE3MzRiNDE2ZWQ5MzE1NjIwNWY2Zjk0OGYxMmQwMmNlZTZjM2FmEgsIyvmi2AYQ25H+DxgBIgJ4Cg==";
        let mut told = Vec::new();
        let mut tell = |news: News| {
            told.push(match news {
                News::Step(name) => format!("step {name}"),
                News::Output(line) => format!("output {line}"),
            });
        };
        let mut steps = HashSet::new();
        for aux in [step, output, step] {
            let line = format!("{{\"id\":\"{TRACE}\",\"aux\":\"{aux}\"}}\n");
            read(line.as_bytes(), &mut steps, &mut tell).unwrap();
        }
        let image = b"{\"id\":\"moby.image.id\",\"aux\":{\"ID\":\"sha256:0\"}}";
        read(image, &mut steps, &mut tell).unwrap();
        let error = b"{\"errorDetail\":{\"message\":\"exit code: 3\"},\"error\":\"exit code: 3\"}";
        let error = read(error, &mut steps, &mut tell).unwrap_err();
        assert_eq!(error, "exit code: 3");
        assert_eq!(
            told,
            [
                "step [stage-0 1/2] FROM docker.io/hitc/debian:13",
                "output x"
            ]
        );
    }
}
