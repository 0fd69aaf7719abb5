//! From the text of a manifest to values that know where they stand.

use std::{fmt, ops::Range, sync::Arc};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::core::{
    diagnostic::{Diagnostic, Kind, Source},
    value::{Data, Entry, Value},
};

/// Parses a YAML document. An empty one is an empty map.
pub fn parse(source: &Arc<Source>) -> Result<Value, Diagnostic> {
    let options = serde_saphyr::options! {
        // `yes`, `no`, `on` and `off` are text: the country is no boolean.
        strict_booleans: true,
        with_snippet: false,
    };
    let parsed: Spanned<Raw> = serde_saphyr::from_str_with_options(&source.text, options)
        .map_err(|error| explain(source, &error))?;
    let value = convert(parsed, &source.text);
    Ok(match value.data {
        Data::Null => Value::empty_map(),
        _ => value,
    })
}

fn explain(source: &Arc<Source>, error: &serde_saphyr::Error) -> Diagnostic {
    let text = error.to_string();
    // The place is shown as an excerpt, and the library's options are not the user's.
    let text = text.split(" at line ").next().unwrap_or(&text);
    let text = text
        .split(", set DuplicateKeyPolicy")
        .next()
        .unwrap_or(text);
    let text = match text.split_once("; use from_str_multiple") {
        Some((text, _)) => text,
        None => text,
    };
    let diagnostic = Diagnostic::new(Kind::Usage, text.to_owned());
    match error.location() {
        Some(location) if location.line() > 0 => {
            let line = usize::try_from(location.line()).unwrap_or(usize::MAX);
            let column = usize::try_from(location.column()).unwrap_or(1);
            let offset = source.offset(line, column);
            diagnostic.at(source, source.word_at(offset))
        }
        _ => diagnostic.at(source, source.text.len()..source.text.len()),
    }
}

/// A value as the deserializer gives it.
enum Raw {
    Null,
    Bool,
    Number,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn convert(raw: Spanned<Raw>, text: &str) -> Value {
    let span = range(&raw.referenced);
    let written = || {
        let range = range(&raw.defined);
        text.get(range).unwrap_or_default().to_owned()
    };
    let data = match raw.value {
        Raw::Null => Data::Null,
        Raw::Bool => Data::Bool(written().eq_ignore_ascii_case("true")),
        Raw::Number => Data::Number(written()),
        Raw::Text(text) => Data::Text(text),
        Raw::List(items) => Data::List(items.into_iter().map(|item| convert(item, text)).collect()),
        Raw::Map(entries) => {
            let entry = |(key, value): (Spanned<String>, _)| Entry {
                key_span: Some(range(&key.referenced)),
                key: key.value,
                value: convert(value, text),
            };
            Data::Map(entries.into_iter().map(entry).collect())
        }
    };
    Value {
        data,
        span: Some(span),
    }
}

fn range(location: &Location) -> Range<usize> {
    let span = location.span();
    let at = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let start = at(span.byte_offset());
    start..start + at(span.byte_len())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Bool)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(value: &Value) -> String {
        match &value.data {
            Data::Null => "~".to_owned(),
            Data::Bool(b) => format!("bool {b}"),
            Data::Number(n) => format!("number {n}"),
            Data::Text(t) => format!("{t:?}"),
            Data::List(items) => {
                let items: Vec<String> = items.iter().map(show).collect();
                format!("[{}]", items.join(", "))
            }
            Data::Map(entries) => {
                let entry = |e: &Entry| format!("{}: {}", e.key, show(&e.value));
                let entries: Vec<String> = entries.iter().map(entry).collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }

    #[test]
    fn scalars_stay_as_they_were_written() {
        let text = "a: 1.10\nb: yes\nc: true\nd: ~\n22: \"*\"\nf: [80, 80:8080]\n\
                    base: &x {k: 007}\nalias: *x\n";
        let value = parse(&Source::new("x", text)).unwrap();
        assert_eq!(
            show(&value),
            "{a: number 1.10, b: \"yes\", c: bool true, d: ~, 22: \"*\", \
             f: [number 80, \"80:8080\"], base: {k: number 007}, alias: {k: number 007}}"
        );
    }

    #[test]
    fn places_are_bytes() {
        let text = "é: ü\nb: c\n";
        let value = parse(&Source::new("x", text)).unwrap();
        let entries = value.to_map("x").unwrap();
        assert_eq!(&text[entries[0].value.span.clone().unwrap()], "ü");
        assert_eq!(&text[entries[1].key_span.clone().unwrap()], "b");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| {
            let error = parse(&Source::new("x", text)).err().unwrap();
            let start = error.excerpts[0].span.start;
            format!("{} @{start}", error.message)
        };
        assert_eq!(error("a: [1, 2"), "unclosed bracket '[' @3");
        assert_eq!(
            error("a: b: c"),
            "mapping values are not allowed in this context @4"
        );
        assert_eq!(error("a: 1\na: 2"), "duplicate mapping key: a @5");
        assert_eq!(
            error("x: 1\n---\ny: 2"),
            "multiple YAML documents detected @9"
        );
    }
}
