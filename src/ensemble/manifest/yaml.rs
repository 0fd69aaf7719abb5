//! Parses YAML into values with spans.

use std::{fmt, ops::Range, sync::Arc};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::core::{
    diagnostic::{Diagnostic, Kind, Source},
    value::{Data, Entry, Value, shorten},
};

/// Parses a YAML document. An empty one is an empty map.
pub fn parse(source: &Arc<Source>) -> Result<Value, Diagnostic> {
    let parsed: Spanned<Raw> = serde_saphyr::from_str_with_options(&source.text, options(source))
        .map_err(|error| explain(source, &error))?;
    let mut value = value(parsed);
    spell_numbers(&mut value, &source.text);
    Ok(match value.data {
        Data::Null => Value::empty_map(),
        _ => value,
    })
}

/// The options of the parser. Its limits protect against small documents that expand to large ones;
/// they grow with the document, so that a large document is not refused.
fn options(source: &Source) -> serde_saphyr::Options {
    let bytes = source.text.len();
    let defaults = serde_saphyr::Budget::default();
    serde_saphyr::options! {
        // `yes`, `no`, `on` and `off` are text: `no` is also a country.
        strict_booleans: true,
        // Numbers are kept as they are written, also ones that no float can hold.
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: (2 * bytes).max(1_000_000),
        },
        budget: serde_saphyr::budget! {
            // A node takes a byte at least, and two events.
            max_nodes: defaults.max_nodes.max(bytes + 16),
            max_events: defaults.max_events.max(4 * bytes),
            max_aliases: defaults.max_aliases.max(bytes),
            max_anchors: defaults.max_anchors.max(bytes),
            max_merge_keys: defaults.max_merge_keys.max(bytes),
            max_recorded_anchor_events: defaults.max_recorded_anchor_events.max(4 * bytes),
            max_recorded_anchor_bytes: defaults.max_recorded_anchor_bytes.max(4 * bytes),
            max_total_scalar_bytes: defaults.max_total_scalar_bytes.max(4 * bytes),
            // Many servers may use one anchor.
            enforce_alias_anchor_ratio: false,
            max_depth: DEPTH,
        },
    }
}

/// The maximum number of nested levels. A manifest has about eight.
const DEPTH: usize = 64;

fn explain(source: &Arc<Source>, error: &serde_saphyr::Error) -> Diagnostic {
    let (message, help) = describe(error);
    let diagnostic = Diagnostic::new(Kind::Usage, message).help(help.map(str::to_owned));
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

/// Describes an error of the parser: the message, and what to do.
fn describe(error: &serde_saphyr::Error) -> (String, Option<&'static str>) {
    use serde_saphyr::{Error, budget::BudgetBreach};
    const ALIASES: &str = "use aliases (`*name`) less, or templates instead";
    let own = |message: &str, help| (message.to_owned(), help);
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => describe(error),
        Error::Budget { breach, .. } => match breach {
            BudgetBreach::Depth { .. } => {
                (format!("nested too deeply: more than {DEPTH} levels"), None)
            }
            BudgetBreach::SequenceUnbalanced => own("unbalanced brackets", None),
            _ => own(
                "the document is too large once its aliases are expanded",
                Some(ALIASES),
            ),
        },
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => own(
            "the document is too large once its aliases are expanded",
            Some(ALIASES),
        ),
        Error::AliasReplayStackDepthExceeded { .. } => {
            own("aliases are nested too deeply", Some(ALIASES))
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            own("alias refers to the value that contains it", None)
        }
        Error::UnknownAnchor { .. } => own(
            "unknown anchor",
            Some("define it before with `&NAME`; text that begins with `*` needs quotes"),
        ),
        Error::NullIntoString { .. } => own("a key must be text, not null", None),
        Error::MultipleDocuments { .. } => own(
            "more than one YAML document",
            Some("write one manifest in each file"),
        ),
        Error::DuplicateMappingKey { key, .. } => match key {
            Some(key) => (format!("duplicate key `{}`", shorten(key)), None),
            None => own("duplicate key", None),
        },
        Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            own("`<<` must be a map or a list of maps", None)
        }
        Error::InvalidBinaryBase64 { .. } => own("invalid base64 after `!!binary`", None),
        Error::BinaryNotUtf8 { .. } => own("the value of `!!binary` is not valid UTF-8", None),
        Error::TaggedScalarCannotDeserializeIntoString { .. } => own(
            "unsupported YAML tag",
            Some("remove the tag, or quote the text"),
        ),
        Error::Eof { .. } => own("unexpected end of the document", None),
        Error::InvalidScalar { .. } => own("the value does not match its tag", None),
        other => {
            // The text of the scanner. The place is shown as an excerpt.
            let text = other.to_string();
            let text = text.split(" at line ").next().unwrap_or(&text);
            (text.to_owned(), None)
        }
    }
}

/// The content of a node, without its span.
enum Raw {
    Null,
    Bool(bool),
    /// The parser passes the number; what is kept is its spelling, see [`spell_numbers`].
    Number,
    Text(String),
    List(Vec<Value>),
    Map(Vec<Entry>),
}

/// A value with the span of the node. Nodes become values one by one, because the parser's spans
/// are large.
fn value(node: Spanned<Raw>) -> Value {
    let span = range(&node.referenced);
    let data = match node.value {
        Raw::Null => Data::Null,
        Raw::Bool(b) => Data::Bool(b),
        Raw::Number => {
            let defined = range(&node.defined);
            // Behind an alias the number is spelt elsewhere.
            let is_alias = defined != span;
            let place = is_alias.then(|| format!("{} {}", defined.start, defined.end));
            Data::Number(place.unwrap_or_default())
        }
        Raw::Text(text) => Data::Text(text),
        Raw::List(items) => Data::List(items),
        Raw::Map(entries) => Data::Map(entries),
    };
    Value {
        data,
        span: Some(span),
    }
}

/// Replaces the places that [`value`] left in numbers by their spelling in the text.
fn spell_numbers(value: &mut Value, text: &str) {
    match &mut value.data {
        Data::Number(place) => {
            let range = match place.split_once(' ') {
                Some((start, end)) => start.parse().ok().zip(end.parse().ok()),
                None => value.span.as_ref().map(|span| (span.start, span.end)),
            };
            let spelling = range.and_then(|(start, end): (usize, usize)| text.get(start..end));
            spelling.unwrap_or_default().clone_into(place);
        }
        Data::List(items) => items.iter_mut().for_each(|item| spell_numbers(item, text)),
        Data::Map(entries) => {
            for entry in entries {
                spell_numbers(&mut entry.value, text);
            }
        }
        _ => {}
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

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
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
            items.push(value(item));
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = access.next_entry::<Spanned<String>, Spanned<Raw>>()? {
            entries.push(Entry {
                key_span: Some(range(&key.referenced)),
                key: key.value,
                value: value(node),
            });
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
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn scalars_stay_as_they_were_written() {
        let text = "a: 1.10\nb: yes\nc: true\nd: ~\n22: \"*\"\nf: [80, 80:8080]\n\
                    base: &x {k: 007}\nalias: *x\nport: &p 0080\nsame: *p\n";
        let value = parse(&Source::new("x", text)).unwrap();
        assert_eq!(
            show(&value),
            "{a: number 1.10, b: \"yes\", c: bool true, d: ~, 22: \"*\", \
             f: [number 80, \"80:8080\"], base: {k: number 007}, alias: {k: number 007}, \
             port: number 0080, same: number 0080}"
        );
    }

    #[test]
    fn numbers_are_kept_as_they_are_written() {
        let value = parse(&Source::new("x", "a: .inf\nb: 1e999\nc: .nan\n")).unwrap();
        assert_eq!(
            show(&value),
            "{a: number .inf, b: number 1e999, c: number .nan}"
        );
    }

    #[test]
    fn many_servers_may_share_an_anchor() {
        let mut text = "a: &a {provider: local}\n".to_owned();
        (0..3000).for_each(|n| text.push_str(&format!("s{n}: *a\n")));
        assert!(parse(&Source::new("x", text)).is_ok());
    }

    #[test]
    fn large_documents_are_read() {
        let mut text = String::new();
        (0..60_000).for_each(|n| text.push_str(&format!("s{n}: [1, 2, 3, 4]\n")));
        assert!(parse(&Source::new("x", text)).is_ok());
    }

    #[test]
    fn spans_are_in_bytes() {
        let text = "é: ü\nb: c\n";
        let value = parse(&Source::new("x", text)).unwrap();
        let entries = value.to_map("x").unwrap();
        assert_eq!(&text[entries[0].value.span.clone().unwrap()], "ü");
        assert_eq!(&text[entries[1].key_span.clone().unwrap()], "b");
    }

    #[test]
    fn errors_are_in_our_words() {
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
        assert_eq!(error("a: 1\na: 2"), "duplicate key `a` @5");
        assert_eq!(error("x: 1\n---\ny: 2"), "more than one YAML document @9");
        assert_eq!(error("a: *x"), "unknown anchor @3");
        assert_eq!(
            error("a: &x [*x]"),
            "alias refers to the value that contains it @7"
        );
        assert_eq!(error("a: {~: 1}"), "a key must be text, not null @4");
        assert_eq!(
            error(&format!("a: {}{}", "[".repeat(100), "]".repeat(100))),
            "nested too deeply: more than 64 levels @66"
        );
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                    c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
                    e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
        assert!(
            error(bomb).starts_with("the document is too large once"),
            "{}",
            error(bomb)
        );
    }
}
