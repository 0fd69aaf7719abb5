//! `docker.logs`: the logs of containers on several servers, merged by the engines' timestamps.
//!
//! One task reads all streams. When the output is slower than they are, nothing is read, so that
//! the containers' lines wait in the engines and memory stays bounded.

use std::{pin::Pin, sync::Arc, time::Duration};

use bollard::{
    container::LogOutput, errors::Error as BollardError, query_parameters::LogsOptionsBuilder,
};
use futures_util::{Stream as Chunks, StreamExt, future::ready, stream};
use globset::{GlobBuilder, GlobMatcher};
use jiff::Timestamp;
use regex::bytes::Regex;
use tokio::time::{Instant, sleep_until};

use super::{Engine, Error, Listed, merge::Merge};
use crate::core::{
    diagnostic::{Diagnostic, Kind, nearest},
    event::{Event, Events, Stream},
    log::{LogLine, LogLines, LogSource},
    owner::Owner,
    units::moment,
    value::{Fields, Invalid, Value},
};

/// How long a source that writes nothing holds up the lines of others: while logs are followed, it may
/// write nothing for hours; else its lines are on their way.
const FOLLOWING: Duration = Duration::from_millis(200);
const READING: Duration = Duration::from_secs(10);

/// How many lines are read before the output gets its turn.
const AT_ONCE: usize = 1024;

/// The longest line. A longer one is split, so that memory stays bounded.
const MAX_LINE: usize = 64 * 1024;

/// Which lines of logs are shown.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Whether to wait for more lines until the containers end.
    pub follow: bool,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    tail: Option<u64>,
    grep: Option<Regex>,
}

impl LogOptions {
    /// Decodes `follow`, `since`, `until`, `tail` and `grep`.
    pub fn decode(options: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::new(options, "docker.logs")?;
        let now = Timestamp::now();
        let time = |value: &Value, what: &str| moment(value, what, now);
        let decoded = LogOptions {
            follow: fields.decode("follow", Value::to_bool)?.unwrap_or(false),
            since: fields.decode("since", time)?,
            until: fields.decode("until", time)?,
            tail: fields
                .decode("tail", |value, what| value.to_integer(what, 0..i64::MAX))?
                .map(i64::unsigned_abs),
            grep: fields.decode("grep", |value, what| {
                Regex::new(&value.to_text(what)?).map_err(|error| {
                    // The last line says what is wrong; those before point at the place.
                    let cause = error.to_string();
                    let cause = cause.lines().last().unwrap_or_default();
                    let cause = cause.trim_start_matches("error: ");
                    Invalid::new(
                        value,
                        format!("{what}: invalid regular expression: {cause}"),
                    )
                })
            })?,
        };
        fields.finish()?;
        Ok(decoded)
    }

    fn shows(&self, line: &[u8]) -> bool {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        self.grep.as_ref().is_none_or(|grep| grep.is_match(line))
    }
}

/// The names of containers, or globs; without any, the running containers of a project.
pub struct LogSelection {
    globs: Vec<(String, GlobMatcher)>,
    owner: Owner,
}

impl LogSelection {
    /// Parses the globs.
    pub fn new(names: &[String], owner: Owner) -> Result<Self, Diagnostic> {
        let glob = |name: &String| {
            let glob = GlobBuilder::new(name).build().map_err(|error| {
                let message = format!("invalid glob `{name}`: {}", error.kind());
                Diagnostic::new(Kind::Usage, message)
            })?;
            Ok::<_, Diagnostic>((name.clone(), glob.compile_matcher()))
        };
        Ok(LogSelection {
            globs: names.iter().map(glob).collect::<Result<_, _>>()?,
            owner,
        })
    }

    fn admits(&self, listed: &Listed) -> bool {
        if self.globs.is_empty() {
            return listed.owner.is_of_project(&self.owner.project);
        }
        let mut globs = self.globs.iter();
        globs.any(|(_, glob)| glob.is_match(&listed.name))
    }

    /// An error for each name that no container has.
    fn missing(&self, found: &[(Engine, Vec<Listed>)]) -> Vec<Error> {
        let names: Vec<&str> = found
            .iter()
            .flat_map(|(_, listed)| listed.iter().map(|listed| listed.name.as_str()))
            .collect();
        let missing = self.globs.iter().filter(|(_, glob)| {
            let mut names = names.iter();
            !names.any(|name| glob.is_match(name))
        });
        missing
            .map(|(name, _)| {
                let near = nearest(name, names.iter().copied()).map(str::to_owned);
                let name = name.clone();
                match found {
                    [(engine, _)] => Error::NoContainer {
                        host: engine.host.clone(),
                        name,
                        near,
                    },
                    _ => Error::NoneNamed { name, near },
                }
            })
            .collect()
    }
}

/// A container whose log is read.
struct Source {
    engine: Engine,
    id: String,
    log: Arc<LogSource>,
}

/// Shows the logs of the selected containers. An engine that fails is reported and does not stop the
/// others; its error is returned at the end.
pub async fn show_logs(
    engines: &[Engine],
    selection: &LogSelection,
    options: &LogOptions,
    events: &Events,
) -> Vec<Error> {
    let all = !selection.globs.is_empty();
    let lists = engines.iter().map(|engine| engine.list(all));
    let lists = futures_util::future::join_all(lists).await;
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for (engine, listed) in engines.iter().zip(lists) {
        match listed {
            Ok(listed) => found.push((engine.clone(), listed)),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        errors.extend(selection.missing(&found));
    }
    let mut sources = Vec::new();
    for (engine, listed) in found {
        let admitted: Vec<Listed> = listed.into_iter().filter(|l| selection.admits(l)).collect();
        if let Err(error) = engine.check_streams(admitted.len()) {
            errors.push(error);
            continue;
        }
        sources.extend(admitted.into_iter().map(|listed| {
            engine.remember_name(&listed.id, &listed.name);
            Source {
                log: Arc::new(LogSource {
                    host: engine.host.clone(),
                    container: Some(listed.name),
                }),
                engine: engine.clone(),
                id: listed.id,
            }
        }));
    }
    if sources.is_empty() && errors.is_empty() {
        events.note("no containers of this project run there; name those to show");
    }
    let has_prefix = sources.len() > 1;
    let streams = sources
        .into_iter()
        .map(|source| lines(source, options, events));
    let merged = merge(streams.collect(), options.follow, has_prefix, events).await;
    errors.extend(merged);
    errors
}

/// A line, or the error that ended the stream.
pub(super) type Lines = Pin<Box<dyn Chunks<Item = Result<LogLine, Error>> + Send>>;

/// Shows the lines of several streams in the order of their times. Returns the first error of each
/// host. If they are followed, which may take long, it is also reported when it happens.
pub(super) async fn merge(
    streams: Vec<Lines>,
    is_followed: bool,
    has_prefix: bool,
    events: &Events,
) -> Vec<Error> {
    let patience = if is_followed { FOLLOWING } else { READING };
    let mut merge = Merge::new(streams.len(), patience);
    let mut errors: Vec<Error> = Vec::new();
    let streams = streams.into_iter().enumerate().map(|(at, stream)| {
        let lines = stream.map(move |line| (at, Some(line)));
        lines.chain(stream::once(ready((at, None)))).boxed()
    });
    let mut streams = stream::select_all(streams).ready_chunks(AT_ONCE);
    loop {
        let now = Instant::now();
        let mut ready = Vec::new();
        while let Some(line) = merge.pop(now) {
            ready.push(line);
        }
        if !ready.is_empty() {
            let lines = ready;
            events.emit(Event::Logs(LogLines { lines, has_prefix }));
        }
        let deadline = merge.deadline();
        let chunk = tokio::select! {
            chunk = streams.next() => chunk,
            () = sleep_until(deadline.unwrap_or(now)), if deadline.is_some() => continue,
        };
        let Some(chunk) = chunk else {
            return errors;
        };
        let now = Instant::now();
        for (at, line) in chunk {
            match line {
                Some(Ok(line)) => merge.push(at, line.time, line.line.len(), line, now),
                None => merge.end(at),
                Some(Err(error)) => {
                    merge.end(at);
                    if !errors.iter().any(|known| known.host() == error.host()) {
                        if is_followed {
                            events.warn(error.to_string());
                        }
                        errors.push(error);
                    }
                }
            }
        }
    }
}

/// The lines of a container's log that are shown. Ends with the first error.
fn lines(source: Source, options: &LogOptions, events: &Events) -> Lines {
    let seconds = |time: Option<Timestamp>| {
        time.map_or(0, |time| {
            i32::try_from(time.as_second()).unwrap_or(i32::MAX)
        })
    };
    let tail = options.tail.map(|count| count.to_string());
    let query = LogsOptionsBuilder::new()
        .follow(options.follow)
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .since(seconds(options.since))
        .until(seconds(options.until))
        .tail(tail.as_deref().unwrap_or("all"))
        .build();
    let frames = source.engine.docker.logs(&source.id, Some(query));
    let mut joiner = Joiner::default();
    // None is the end, at which the rest of a line is passed on.
    let frames = frames.map(Some).chain(stream::once(ready(None)));
    let (log, events) = (source.log.clone(), events.clone());
    let lines = frames.flat_map(move |frame| {
        let joined = match frame {
            Some(Ok(frame)) => {
                let line = joiner.push(frame, |line| events.secrets().safe_cut(line));
                line.map(Ok).into_iter().collect()
            }
            Some(Err(error)) => vec![Err(source.failed(&error))],
            None => joiner.finish().map(Ok).collect(),
        };
        stream::iter(joined)
    });
    let options = options.clone();
    let lines = lines.filter_map(move |line| {
        let line = match line {
            Ok(line) if !options.shows(&line.bytes) => None,
            Ok(line) => Some(Ok(LogLine {
                source: log.clone(),
                time: line.time,
                stream: line.stream,
                line: line.bytes,
            })),
            Err(error) => Some(Err(error)),
        };
        ready(line)
    });
    lines.boxed()
}

impl Source {
    fn failed(&self, error: &BollardError) -> Error {
        self.engine.of(&self.id, "reading the log of", error)
    }
}

/// Joins the parts of long lines, each of which has a timestamp.
#[derive(Default)]
struct Joiner {
    /// The beginning of a line of each stream.
    open: [Option<Line>; 2],
    /// The time of the last line.
    time: Timestamp,
}

struct Line {
    stream: Stream,
    time: Timestamp,
    bytes: Vec<u8>,
}

impl Joiner {
    /// Adds a part. Returns the line if it is complete, or too long: then up to where `cut` allows.
    fn push(&mut self, frame: LogOutput, cut: impl Fn(&[u8]) -> usize) -> Option<Line> {
        let stream = match frame {
            LogOutput::StdErr { .. } => Stream::Stderr,
            _ => Stream::Stdout,
        };
        let frame = frame.into_bytes();
        let (time, text) = match split_time(&frame) {
            Some((time, text)) => (time, text),
            None => (self.time, frame.as_ref()),
        };
        self.time = time;
        let open = &mut self.open[stream as usize];
        let mut line = open.take().unwrap_or_else(|| Line {
            stream,
            time,
            bytes: Vec::with_capacity(text.len()),
        });
        line.bytes.extend_from_slice(text);
        let end = if line.bytes.ends_with(b"\n") {
            line.bytes.len()
        } else if line.bytes.len() >= MAX_LINE {
            cut(&line.bytes)
        } else {
            0
        };
        let rest = line.bytes.split_off(end);
        if !rest.is_empty() {
            let Line { stream, time, .. } = line;
            *open = Some(Line {
                stream,
                time,
                bytes: rest,
            });
        }
        (end > 0).then_some(line)
    }

    /// The rest, at the end of the log.
    fn finish(&mut self) -> impl Iterator<Item = Line> + use<> {
        std::mem::take(&mut self.open).into_iter().flatten()
    }
}

/// Splits a line into the engine's timestamp and its text.
fn split_time(line: &[u8]) -> Option<(Timestamp, &[u8])> {
    let end = line.iter().take(40).position(|byte| *byte == b' ')?;
    let (time, text) = line.split_at(end);
    let time = std::str::from_utf8(time).ok()?.parse().ok()?;
    Some((time, text.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_line_are_joined() {
        let mut joiner = Joiner::default();
        let mut push = |text: &str, is_error: bool| {
            let message = text.to_owned().into();
            let frame = if is_error {
                LogOutput::StdErr { message }
            } else {
                LogOutput::StdOut { message }
            };
            let line = joiner.push(frame, |line| line.len() - 2);
            line.map(|line| {
                (
                    line.time.to_string(),
                    String::from_utf8(line.bytes).unwrap(),
                )
            })
        };
        let line = |time: &str, text: &str| Some((time.to_owned(), text.to_owned()));
        let (one, two) = ("2026-01-01T00:00:00.000000001Z", "2026-01-01T00:00:00.5Z");
        assert_eq!(push(&format!("{one} a b\n"), false), line(one, "a b\n"));
        assert_eq!(push(&format!("{one} long"), false), None);
        assert_eq!(push(&format!("{two} other\n"), true), line(two, "other\n"));
        assert_eq!(push(&format!("{two} er\n"), false), line(one, "longer\n"));
        assert_eq!(push("no time\n", false), line(two, "no time\n"));
        assert_eq!(push(&format!("{two} rest"), false), None);
        let long = "x".repeat(MAX_LINE);
        let cut = line("2026-01-01T00:00:00.5Z", &format!("rest{}", &long[2..]));
        assert_eq!(push(&format!("{two} {long}"), false), cut);
        let rest: Vec<Line> = joiner.finish().collect();
        assert_eq!(rest[0].bytes, b"xx");
    }
}
