//! Events as JSON, one object a line, for programs.

use serde_json::{Map, Value, json};

use crate::core::{
    diagnostic::Diagnostic,
    event::{Event, Outcome, RecapLine, Stream},
    log::LogLine,
};

/// Formats an event as a line of JSON. None for events that are only for people.
pub(super) fn line(event: &Event) -> Option<String> {
    let object = match event {
        Event::Data(text) => json!({"event": "data", "text": text}),
        Event::Table(table) | Event::Refresh(table) => {
            let row = |cells: &Vec<String>| -> Map<String, Value> {
                let cells = table.columns.iter().zip(cells);
                cells
                    .map(|(column, cell)| (column.clone(), cell.as_str().into()))
                    .collect()
            };
            let rows: Vec<_> = if table.data.is_empty() {
                table.rows.iter().map(row).collect()
            } else {
                table.data.clone()
            };
            json!({"event": "table", "rows": rows})
        }
        Event::Logs(logs) => return Some(logs.lines.iter().map(log).collect()),
        Event::Output { host, stream, line } => {
            let mut object = json!({"event": "output", "host": host, "stream": name(*stream)});
            add_text(&mut object, line);
            object
        }
        Event::Hosts(hosts) => json!({"event": "start", "hosts": hosts}),
        Event::Begun(host) => json!({"event": "begin", "host": host}),
        Event::Ended(host) => json!({"event": "end", "host": host}),
        Event::WouldDo(what) => json!({"event": "would", "what": what}),
        Event::Diff(text) => json!({"event": "diff", "text": text}),
        Event::Plan { data, .. } => json!({"event": "plan", "plan": data}),
        Event::Record { name, data } => json!({"event": name, *name: data}),
        Event::Warning(text) => json!({"event": "warning", "text": text}),
        Event::Failure(diagnostic) => {
            let mut object = failure(diagnostic);
            object["event"] = "failure".into();
            object
        }
        Event::Recap { noun, lines, .. } => {
            let lines: Vec<_> = lines.iter().map(|line| recap(noun, line)).collect();
            json!({"event": "summary", "results": lines})
        }
        Event::Heading(_)
        | Event::Note(_)
        | Event::Detail(_)
        | Event::Started { .. }
        | Event::Progress { .. }
        | Event::Tick { .. }
        | Event::Finished { .. } => return None,
    };
    Some(format!("{object}\n"))
}

/// Formats a line of a log as a line of JSON.
fn log(line: &LogLine) -> String {
    let mut object = json!({
        "event": "log",
        "host": line.source.host,
        "container": line.source.container,
        "time": line.time.to_string(),
        "stream": name(line.stream),
    });
    add_text(&mut object, &line.line);
    format!("{object}\n")
}

fn name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

/// Adds the bytes of a line, as text if they are text.
fn add_text(object: &mut Value, line: &[u8]) {
    match std::str::from_utf8(line) {
        Ok(text) => object["text"] = text.into(),
        Err(_) => object["base64"] = data_encoding::BASE64.encode(line).into(),
    }
}

fn recap(noun: &str, line: &RecapLine) -> Value {
    let mut object = json!({noun: line.name, "result": line.outcome.name()});
    if line.outcome != Outcome::Skipped {
        object["seconds"] = ((line.seconds * 1000.0).round() / 1000.0).into();
    }
    if let Some(diagnostic) = &line.failure {
        object["failure"] = failure(diagnostic);
    }
    object
}

fn failure(diagnostic: &Diagnostic) -> Value {
    let places: Vec<Value> = diagnostic
        .excerpts
        .iter()
        .map(|excerpt| json!({"file": excerpt.source.name, "line": excerpt.line()}))
        .collect();
    json!({
        "kind": diagnostic.kind.name(),
        "message": diagnostic.message,
        "host": diagnostic.host,
        "code": diagnostic.code,
        "places": places,
        "notes": diagnostic.notes,
        "help": diagnostic.help,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{diagnostic::Kind, table::Table};

    /// Every event, as `docs/output.schema.json` says.
    #[test]
    fn the_schema_describes_every_event() {
        let text = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let mut compiler = boon::Compiler::new();
        let mut add = |name: &str, schema: &str| {
            let url = format!("file:///{name}");
            compiler.add_resource(&url, text(schema)).unwrap();
        };
        add(
            "plan.schema.json",
            include_str!("../../docs/plan.schema.json"),
        );
        add(
            "output.schema.json",
            include_str!("../../docs/output.schema.json"),
        );
        let mut schemas = boon::Schemas::new();
        let schema = compiler
            .compile("file:///output.schema.json", &mut schemas)
            .unwrap();
        let table = Table {
            columns: vec!["name".to_owned()],
            rows: vec![vec!["web".to_owned()]],
            ..Table::default()
        };
        let error = Diagnostic::new(Kind::Unreachable, "no")
            .note("why")
            .help("so".to_owned());
        let result = |outcome, failure| RecapLine {
            name: "web".to_owned(),
            outcome,
            seconds: 1.0,
            failure,
        };
        let plan = json!({
            "version": 1, "manifest": "it", "owner": {"project": "", "manifest": null},
            "observed": "", "steps": [], "left_alone": [], "cost": [], "servers": []
        });
        let output = |line: &[u8]| Event::Output {
            host: None,
            stream: Stream::Stdout,
            line: line.to_vec(),
        };
        let it = || "it".to_owned();
        let events = [
            Event::Data(it()),
            Event::Table(table.clone()),
            Event::Refresh(table),
            output(b"text\n"),
            output(b"\xff\n"),
            Event::Hosts(2),
            Event::Begun(it()),
            Event::Ended(it()),
            Event::WouldDo(it()),
            Event::Diff(it()),
            Event::Warning(it()),
            Event::Plan {
                lines: Vec::new(),
                data: Some(plan),
                requested: true,
                changes: false,
            },
            Event::Record {
                name: "checked",
                data: json!({"scripts": 1, "manifests": 0, "errors": 0}),
            },
            Event::Record {
                name: "test",
                data: json!({"name": "shop.deploys", "ok": true}),
            },
            Event::Record {
                name: "tested",
                data: json!({"passed": 1, "failed": 0, "covered": ["deploy"], "not_covered": []}),
            },
            Event::Failure(error.clone()),
            Event::Recap {
                noun: "host",
                lines: vec![
                    result(Outcome::Failed, Some(error)),
                    result(Outcome::Skipped, None),
                ],
                counts_only: false,
            },
            Event::Recap {
                noun: "resource",
                lines: vec![result(Outcome::Changed, None)],
                counts_only: true,
            },
        ];
        for event in events {
            let line = line(&event).unwrap();
            let value = text(&line);
            if let Err(error) = schemas.validate(&value, schema) {
                panic!("{error:#}\n{value:#}");
            }
        }
        let unknown = json!({"event": "data", "text": "x", "more": 1});
        assert!(schemas.validate(&unknown, schema).is_err());
    }
}
