//! `docker.events`: what engines report about containers, images, volumes and networks, merged by
//! time.

use std::{collections::HashMap, sync::Arc};

use bollard::{models::EventMessage, query_parameters::EventsOptions};
use futures_util::StreamExt;
use jiff::Timestamp;

use super::{
    Engine, Error,
    logs::{Lines, merge},
};
use crate::core::{
    event::{Events, Stream},
    log::{LogLine, LogSource},
    units::moment,
    value::{Fields, Invalid, Value},
};

/// Attributes that are not shown with an event: they are hitc's own, or shown otherwise.
const HIDDEN: [&str; 2] = ["name", "hitc."];

/// Which events are shown.
#[derive(Clone, Debug, Default)]
pub struct EventOptions {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl EventOptions {
    /// Decodes `since` and `until`.
    pub fn decode(options: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::new(options, "docker.events")?;
        let now = Timestamp::now();
        let time = |value: &Value, what: &str| moment(value, what, now);
        let decoded = EventOptions {
            since: fields.decode("since", time)?,
            until: fields.decode("until", time)?,
        };
        fields.finish()?;
        Ok(decoded)
    }
}

/// Shows the events of engines as they happen, until `until`, else until Ctrl-C. Returns the errors of
/// engines that failed.
pub async fn show_events(
    engines: &[Engine],
    options: &EventOptions,
    events: &Events,
) -> Vec<Error> {
    let streams = engines.iter().map(|engine| lines(engine, options));
    merge(streams.collect(), true, engines.len() > 1, events).await
}

fn lines(engine: &Engine, options: &EventOptions) -> Lines {
    // The engine reads a fraction with nine digits.
    let seconds = |time: Option<Timestamp>| {
        time.map(|time| format!("{}.{:09}", time.as_second(), time.subsec_nanosecond()))
    };
    let query = EventsOptions {
        since: seconds(options.since),
        until: seconds(options.until),
        filters: None,
    };
    let source = Arc::new(LogSource {
        host: engine.host.clone(),
        container: None,
    });
    let engine = engine.clone();
    let events = engine.docker.events(Some(query));
    let lines = events.map(move |event| match event {
        Ok(event) => Ok(line(&event, &source)),
        Err(error) => Err(engine.error("reading events", &error)),
    });
    lines.boxed()
}

fn line(event: &EventMessage, source: &Arc<LogSource>) -> LogLine {
    let nanoseconds = i128::from(event.time_nano.unwrap_or_default());
    let time = Timestamp::from_nanosecond(nanoseconds).unwrap_or_default();
    let kind = event.typ.map(|kind| kind.to_string()).unwrap_or_default();
    let action = event.action.as_deref().unwrap_or_default();
    let actor = event.actor.clone().unwrap_or_default();
    let attributes: HashMap<String, String> = actor.attributes.unwrap_or_default();
    let id = actor.id.unwrap_or_default();
    let name = attributes.get("name").unwrap_or(&id);
    let mut rest: Vec<String> = attributes
        .iter()
        .filter(|(key, _)| !HIDDEN.iter().any(|hidden| key.starts_with(hidden)))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    rest.sort();
    let local = time.to_zoned(jiff::tz::TimeZone::system());
    let local = local.strftime("%Y-%m-%d %H:%M:%S%.3f");
    let rest = match rest.join(", ") {
        rest if rest.is_empty() => rest,
        rest => format!(" ({rest})"),
    };
    let text = format!("{local} {kind} {name}: {action}{rest}");
    // Attributes are labels, which may have several lines.
    let text = crate::core::text::escape_controls(&text);
    LogLine {
        source: source.clone(),
        time,
        stream: Stream::Stdout,
        line: format!("{text}\n").into_bytes(),
    }
}
