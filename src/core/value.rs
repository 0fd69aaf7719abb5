//! Options as the user writes them, and their decoding.
//!
//! The same options are written in YAML (`ports: [80]`), in Rhai (`#{ ports: [80] }`) and on the
//! command line (`ports=80,81`). All three become a [`Value`] and are decoded here, with the same
//! errors. A value from a manifest keeps its span.

use std::{fmt, ops::Range};

use crate::core::{
    diagnostic::{Diagnostic, Kind, did_you_mean, nearest},
    secrets::{MASK, SecretText},
};

/// A byte range in the text that the value was read from.
pub type Span = Range<usize>;

/// One value, with its span if it was read from a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The content.
    pub data: Data,
    /// The span in the manifest. `None` for values from scripts, the command line and JSON.
    pub span: Option<Span>,
}

/// The content of a [`Value`].
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Nothing, or `~`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as it was written: `1.10` stays `1.10`.
    Number(String),
    /// Any other scalar. Its commas do not separate items.
    Text(String),
    /// Text from the command line or a script, where some lists and maps can only be written as
    /// text: where a list is expected, `80,81` is two items; where a map is expected, `A=1,B=2` is
    /// two entries.
    Argument(String),
    /// A secret. Only [`Value::to_text_or_secret`] accepts it, for options whose values are sent to
    /// their destination and neither stored nor shown.
    Secret(SecretText),
    /// A sequence.
    List(Vec<Value>),
    /// A mapping, in the order in which it was written.
    Map(Vec<Entry>),
    /// The value of a variable that stands for a list or a map, and the text that replaces the
    /// variable where text is expected.
    Expanded {
        /// The value as text: items separated by commas, or JSON.
        text: String,
        /// The value itself: a list or a map.
        data: Box<Data>,
    },
    /// Text with variables whose values are not known yet, as it was written. Its kind can be
    /// checked, its content cannot.
    Unknown(String),
}

/// One key of a mapping and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key as text; `22` and `"22"` are the same key.
    pub key: String,
    /// The span of the key.
    pub key_span: Option<Span>,
    /// The value.
    pub value: Value,
}

/// An error in a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// What is wrong, the subject first.
    pub message: String,
    /// The span of the value or key, if it has one.
    pub span: Option<Span>,
    /// What to do.
    pub help: Option<String>,
    /// Whether the error is about the content of a [`Data::Unknown`] value. A check that runs
    /// before variables are known ignores it.
    pub is_about_unknown: bool,
}

impl Invalid {
    /// An error in the content of `value`.
    pub fn new(value: &Value, message: impl Into<String>) -> Self {
        Invalid {
            is_about_unknown: matches!(value.data, Data::Unknown(_)),
            ..Invalid::at(value.span.clone(), message)
        }
    }

    /// An error at a span, such as that of a key.
    pub fn at(span: Option<Span>, message: impl Into<String>) -> Self {
        Invalid {
            message: message.into(),
            span,
            help: None,
            is_about_unknown: false,
        }
    }

    /// Says what to do. `None` changes nothing.
    #[must_use]
    pub fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into().or(self.help);
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Invalid {}

impl From<Invalid> for Diagnostic {
    /// Without an excerpt: only the caller knows the text that the span belongs to.
    fn from(invalid: Invalid) -> Self {
        Diagnostic::new(Kind::Usage, invalid.message).help(invalid.help)
    }
}

impl Value {
    /// A value without a span.
    pub fn new(data: Data) -> Self {
        Value { data, span: None }
    }

    /// Text from the command line or a script.
    pub fn text(text: impl Into<String>) -> Self {
        Value::new(Data::Argument(text.into()))
    }

    /// An empty mapping.
    pub fn empty_map() -> Self {
        Value::new(Data::Map(Vec::new()))
    }

    /// A mapping without spans.
    pub fn map<K: Into<String>>(pairs: impl IntoIterator<Item = (K, Value)>) -> Self {
        let entries = pairs.into_iter().map(|(key, value)| Entry {
            key: key.into(),
            key_span: None,
            value,
        });
        Value::new(Data::Map(entries.collect()))
    }

    /// The kind of the value, for messages.
    pub fn kind(&self) -> &'static str {
        self.data.kind()
    }

    /// The scalar as text; numbers and booleans as they were written.
    pub fn scalar(&self) -> Option<String> {
        match &self.data {
            Data::Bool(b) => Some(b.to_string()),
            Data::Number(s)
            | Data::Text(s)
            | Data::Argument(s)
            | Data::Unknown(s)
            | Data::Expanded { text: s, .. } => Some(s.clone()),
            Data::Null | Data::Secret(_) | Data::List(_) | Data::Map(_) => None,
        }
    }

    /// Whether the value is a secret, or contains one.
    pub fn has_secret(&self) -> bool {
        match &self.data {
            Data::Secret(_) => true,
            Data::List(items) => items.iter().any(Value::has_secret),
            Data::Map(entries) => entries.iter().any(|entry| entry.value.has_secret()),
            _ => false,
        }
    }

    /// Decodes a text. `what` names the value in errors.
    pub fn to_text(&self, what: &str) -> Result<String, Invalid> {
        self.scalar().ok_or_else(|| self.wrong(what, "text"))
    }

    /// Fails if the value is a secret, or contains one.
    pub fn refuse_secrets(&self, what: &str) -> Result<(), Invalid> {
        if self.has_secret() {
            let message = format!("{what}: a secret cannot be used here");
            return Err(Invalid::at(self.span.clone(), message).help(SECRETS_HELP.to_owned()));
        }
        Ok(())
    }

    /// Decodes a text that may be a secret, for an option whose value is neither stored in the clear
    /// nor shown.
    pub fn to_text_or_secret(&self, what: &str) -> Result<String, Invalid> {
        match &self.data {
            Data::Secret(secret) => Ok(secret.0.to_string()),
            _ => self.to_text(what),
        }
    }

    /// Decodes a whole number within `range`. An unknown value is the lowest one.
    pub fn to_integer(&self, what: &str, range: Range<i64>) -> Result<i64, Invalid> {
        if let Data::Unknown(_) = self.data {
            return Ok(range.start);
        }
        let wrong = || self.wrong(what, "a whole number");
        let number: i64 = self
            .scalar()
            .ok_or_else(wrong)?
            .parse()
            .map_err(|_| wrong())?;
        if range.contains(&number) {
            Ok(number)
        } else {
            Err(Invalid::new(
                self,
                format!(
                    "{what} must be from {} to {}, not {number}",
                    range.start,
                    range.end - 1
                ),
            ))
        }
    }

    /// Decodes `true` or `false`. An unknown value is `false`.
    pub fn to_bool(&self, what: &str) -> Result<bool, Invalid> {
        if let Data::Unknown(_) = self.data {
            return Ok(false);
        }
        match self.scalar().as_deref() {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => Err(self.wrong(what, "true or false")),
        }
    }

    /// Decodes a list. A scalar is a list of one item; an argument is split at its commas.
    pub fn to_list(&self, what: &str) -> Result<Vec<Value>, Invalid> {
        match &self.data {
            Data::List(items) => Ok(items.clone()),
            Data::Null => Ok(Vec::new()),
            Data::Argument(text) => Ok(split(text).map(Value::text).collect()),
            Data::Text(_) | Data::Number(_) | Data::Bool(_) | Data::Unknown(_) => {
                Ok(vec![self.clone()])
            }
            Data::Expanded { data, .. } => self.with(data).to_list(what),
            Data::Map(_) | Data::Secret(_) => Err(self.wrong(what, "a list")),
        }
    }

    /// Decodes a mapping, without a copy if it is one.
    pub fn into_map(self, what: &str) -> Result<Vec<Entry>, Invalid> {
        match self.data {
            Data::Map(entries) => Ok(entries),
            _ => self.to_map(what),
        }
    }

    /// Decodes a mapping. An argument such as `A=1,B=2` is one, too.
    pub fn to_map(&self, what: &str) -> Result<Vec<Entry>, Invalid> {
        match &self.data {
            Data::Map(entries) => Ok(entries.clone()),
            Data::Null => Ok(Vec::new()),
            Data::Argument(text) => split(text)
                .map(|pair| match pair.split_once('=') {
                    Some((key, value)) => Ok(Entry {
                        key: key.to_owned(),
                        key_span: None,
                        value: Value::text(value),
                    }),
                    None => Err(Invalid::new(self, format!("{what}: `{pair}` has no `=`"))
                        .help(format!("write {what}=KEY=VALUE,KEY=VALUE"))),
                })
                .collect(),
            Data::Expanded { data, .. } => self.with(data).to_map(what),
            Data::Text(_)
            | Data::Number(_)
            | Data::Bool(_)
            | Data::List(_)
            | Data::Unknown(_)
            | Data::Secret(_) => Err(self.wrong(what, "a map")),
        }
    }

    /// Converts the value to JSON. Secrets in it are masked.
    pub fn to_json(&self) -> serde_json::Value {
        self.json(&|_| MASK.to_owned())
    }

    /// Converts the value to JSON that contains its secrets.
    pub fn to_revealed_json(&self) -> serde_json::Value {
        self.json(&|secret| secret.0.to_string())
    }

    fn json(&self, show: &dyn Fn(&SecretText) -> String) -> serde_json::Value {
        match &self.data {
            Data::Secret(secret) => show(secret).into(),
            Data::Null => serde_json::Value::Null,
            Data::Bool(b) => (*b).into(),
            Data::Number(text) => {
                serde_json::from_str(text).unwrap_or_else(|_| text.clone().into())
            }
            Data::Text(text) | Data::Argument(text) | Data::Unknown(text) => text.clone().into(),
            Data::List(items) => items.iter().map(|item| item.json(show)).collect(),
            Data::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.json(show)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Data::Expanded { data, .. } => self.with(data).json(show),
        }
    }

    /// Creates a value with other content at the same span.
    fn with(&self, data: &Data) -> Value {
        Value {
            data: data.clone(),
            span: self.span.clone(),
        }
    }

    /// An error about the kind of the value.
    fn wrong(&self, what: &str, wanted: &str) -> Invalid {
        if let Err(refused) = self.refuse_secrets(what) {
            return refused;
        }
        let got = match self.scalar() {
            Some(text) => format!("`{}`", shorten(&text)),
            None => self.kind().to_owned(),
        };
        Invalid::at(
            self.span.clone(),
            format!("{what} must be {wanted}, not {got}"),
        )
    }
}

impl Data {
    /// The kind, for messages.
    fn kind(&self) -> &'static str {
        match self {
            Data::Null => "nothing",
            Data::Bool(_) => "true or false",
            Data::Number(_) => "a number",
            Data::Text(_) | Data::Argument(_) | Data::Unknown(_) => "text",
            Data::Secret(_) => "a secret",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
            Data::Expanded { data, .. } => data.kind(),
        }
    }
}

/// The advice for a secret in a place where others could read it.
pub const SECRETS_HELP: &str = "it would be stored or shown in the clear; pass it in `environment` of a container, in `env` or \
     `stdin` of a command, in a file (`put`, `template`), or in a header or the body of a request";

/// The maximum number of characters of a value that a message shows.
const SHOWN: usize = 80;

/// Shortens a text for a message, and escapes its control characters, so that it fits on one line.
pub fn shorten(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(SHOWN) {
        match c {
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Splits a text at its commas. A comma within quotes is part of its item, and the quotes are
/// removed: `a,"b,c"` is `a` and `b,c`.
pub fn split(text: &str) -> impl Iterator<Item = String> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => parts.push(std::mem::take(&mut part)),
            c => part.push(c),
        }
    }
    parts.push(part);
    let trimmed = parts.into_iter().map(|part| part.trim().to_owned());
    trimmed.filter(|part| !part.is_empty())
}

/// Decodes a mapping key by key. A key that was not taken is an error that names the nearest one.
pub struct Fields<'a> {
    what: &'a str,
    span: Option<Span>,
    entries: Vec<Entry>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// Starts decoding `value`. Errors call it `what`, for example ``container `web` ``.
    pub fn new(value: &Value, what: &'a str) -> Result<Self, Invalid> {
        Ok(Fields::of(value.to_map(what)?, value.span.clone(), what))
    }

    /// Starts decoding the entries of a mapping with the span `span`.
    pub fn of(entries: Vec<Entry>, span: Option<Span>, what: &'a str) -> Self {
        Fields {
            what,
            span,
            entries,
            known: Vec::new(),
        }
    }

    /// Takes the value of a key. `None` if the mapping does not have it.
    pub fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at).value)
    }

    /// The value of a key, without taking it: errors do not list and suggest the key.
    pub fn peek(&self, key: &str) -> Option<&Value> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(&entry.value)
    }

    /// Takes the value of a key and decodes it.
    pub fn decode<T>(
        &mut self,
        key: &'static str,
        decode: impl FnOnce(&Value, &str) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Invalid> {
        self.take(key).map(|value| decode(&value, key)).transpose()
    }

    /// Takes the value of a required key.
    pub fn require(&mut self, key: &'static str) -> Result<Value, Invalid> {
        if let Some(value) = self.take(key) {
            return Ok(value);
        }
        let misspelt = self.nearest(key);
        let span = misspelt.map_or(&self.span, |entry| &entry.key_span).clone();
        let message = format!("{}: `{key}` is missing", self.what);
        Err(Invalid::at(span, message)
            .help(misspelt.map(|entry| format!("is `{}` meant to be `{key}`?", entry.key))))
    }

    /// The first key that was not taken and is probably a misspelling of this one.
    pub fn nearest(&self, key: &str) -> Option<&Entry> {
        let near = |entry: &&Entry| nearest(&entry.key, [key]).is_some();
        self.entries.iter().find(near)
    }

    /// The entries that were not taken. For maps whose other keys another decoder takes.
    pub fn rest(self) -> Vec<Entry> {
        self.entries
    }

    /// Ends decoding. A key that was not taken is an error.
    pub fn finish(self) -> Result<(), Invalid> {
        let Some(entry) = self.entries.first() else {
            return Ok(());
        };
        let message = format!("{}: unknown option `{}`", self.what, shorten(&entry.key));
        let near = did_you_mean(&entry.key, self.known.iter().copied());
        let known = || format!("the options are {}", self.known.join(", "));
        Err(Invalid::at(entry.key_span.clone(), message).help(near.unwrap_or_else(known)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_lists_and_maps() {
        let list = Value::text("80, 81").to_list("ports").unwrap();
        assert_eq!(list, [Value::text("80"), Value::text("81")]);
        let quoted = Value::text("a, \"b, c\"").to_list("names").unwrap();
        assert_eq!(quoted, [Value::text("a"), Value::text("b, c")]);
        let map = Value::text("A=1,B=x=y").to_map("environment").unwrap();
        assert_eq!(map[1].key, "B");
        assert_eq!(map[1].value, Value::text("x=y"));
        assert_eq!(
            Value::text("A").to_map("environment").unwrap_err().message,
            "environment: `A` has no `=`"
        );
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let value = Value::text("imgae=x");
        let mut fields = Fields::new(&value, "container").unwrap();
        assert_eq!(fields.take("image"), None);
        let error = fields.finish().unwrap_err();
        assert_eq!(error.message, "container: unknown option `imgae`");
        assert_eq!(error.help.as_deref(), Some("did you mean `image`?"));
    }

    #[test]
    fn numbers_keep_their_text() {
        let value = Value::new(Data::Number("1.10".to_owned()));
        assert_eq!(value.to_text("x").unwrap(), "1.10");
        assert_eq!(
            value.to_integer("x", 0..10).unwrap_err().message,
            "x must be a whole number, not `1.10`"
        );
    }

    #[test]
    fn only_arguments_are_split() {
        let text = Value::new(Data::Text("a,b".to_owned()));
        assert_eq!(text.to_list("x").unwrap().len(), 1);
        assert!(text.to_map("x").is_err());
    }

    #[test]
    fn an_expanded_variable_is_a_list_or_text() {
        let items = ["a", "b"].map(|item| Value::new(Data::Text(item.to_owned())));
        let value = Value::new(Data::Expanded {
            text: "a,b".to_owned(),
            data: Box::new(Data::List(items.to_vec())),
        });
        assert_eq!(value.to_list("x").unwrap(), items);
        assert_eq!(value.to_text("x").unwrap(), "a,b");
        assert_eq!(value.to_json(), serde_json::json!(["a", "b"]));
        assert_eq!(
            value.to_map("x").unwrap_err().message,
            "x must be a map, not a list"
        );
    }

    #[test]
    fn an_unknown_value_has_a_kind_and_no_content() {
        let value = Value::new(Data::Unknown("${db.size}".to_owned()));
        assert_eq!(value.to_integer("x", 1..9), Ok(1));
        assert!(!value.to_map("x").unwrap_err().is_about_unknown);
        assert!(Invalid::new(&value, "invalid size").is_about_unknown);
    }

    #[test]
    fn a_secret_is_only_accepted_where_it_is_asked_for() {
        let secret = Value::new(Data::Secret(SecretText("hunter2".into())));
        assert_eq!(secret.to_text_or_secret("x").as_deref(), Ok("hunter2"));
        let errors = [
            secret.to_text("x").map(drop),
            secret.to_list("x").map(drop),
            secret.to_map("x").map(drop),
            secret.to_bool("x").map(drop),
            secret.to_integer("x", 1..9).map(drop),
        ];
        for error in errors {
            let error = error.unwrap_err();
            assert_eq!(error.message, "x: a secret cannot be used here");
            assert_eq!(error.help.as_deref(), Some(SECRETS_HELP));
        }
        let map = Value::map([("a", secret.clone())]);
        assert!(map.has_secret());
        assert_eq!(map.to_json().to_string(), "{\"a\":\"***\"}");
        assert_eq!(map.to_revealed_json().to_string(), "{\"a\":\"hunter2\"}");
        assert!(!format!("{map:?}").contains("hunter2"));
    }

    #[test]
    fn long_values_are_shortened() {
        let error = Value::text("x".repeat(5_000_000)).to_bool("protect");
        assert!(error.unwrap_err().message.len() < 200);
        assert_eq!(shorten("a\n- b\u{1b}"), "a\\n- b\\u{1b}");
    }
}
