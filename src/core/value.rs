//! Data as a user wrote it, in a manifest, a script or on the command line, and its decoding.
//!
//! The same options are written in YAML (`ports: [80]`), in Rhai (`#{ ports: [80] }`) and on the
//! command line (`ports=80,81`), so all three become a [`Value`] and are decoded here, once, with
//! the same errors. Values from a manifest know where they stand.

use std::{fmt, ops::Range};

use crate::core::diagnostic::{did_you_mean, nearest};

/// Byte range in the text that the value was read from.
pub type Span = Range<usize>;

/// One value, with the place where it was written if that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// What it holds.
    pub data: Data,
    /// Where it stands, for values from a manifest.
    pub span: Option<Span>,
}

/// What a [`Value`] holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Nothing, or `~`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it was written: `1.10` stays `1.10`.
    Number(String),
    /// Any other scalar.
    Text(String),
    /// A sequence.
    List(Vec<Value>),
    /// A mapping, in the order it was written.
    Map(Vec<Entry>),
}

/// One key of a mapping and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key as text; `22` and `"22"` are the same key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Option<Span>,
    /// The value.
    pub value: Value,
}

/// A value that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// What was wrong, the thing first.
    pub message: String,
    /// Where, if the value knows.
    pub span: Option<Span>,
    /// What to do.
    pub help: Option<String>,
}

impl Invalid {
    /// An error about `value`.
    pub fn new(value: &Value, message: impl Into<String>) -> Self {
        Invalid {
            message: message.into(),
            span: value.span.clone(),
            help: None,
        }
    }

    /// Says what to do.
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

impl Value {
    /// Text that was not read from a manifest.
    pub fn text(text: impl Into<String>) -> Self {
        Value {
            data: Data::Text(text.into()),
            span: None,
        }
    }

    /// An empty mapping.
    pub fn empty_map() -> Self {
        Value {
            data: Data::Map(Vec::new()),
            span: None,
        }
    }

    /// What kind of value it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "true or false",
            Data::Number(_) => "a number",
            Data::Text(_) => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
        }
    }

    /// The scalar as text: text, numbers and booleans as they were written.
    pub fn scalar(&self) -> Option<String> {
        match &self.data {
            Data::Bool(b) => Some(b.to_string()),
            Data::Number(s) | Data::Text(s) => Some(s.clone()),
            Data::Null | Data::List(_) | Data::Map(_) => None,
        }
    }

    /// As text; `what` names the value in the error.
    pub fn to_text(&self, what: &str) -> Result<String, Invalid> {
        self.scalar().ok_or_else(|| self.wrong(what, "text"))
    }

    /// As a whole number within `range`.
    pub fn to_integer(&self, what: &str, range: Range<i64>) -> Result<i64, Invalid> {
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

    /// As `true` or `false`.
    pub fn to_bool(&self, what: &str) -> Result<bool, Invalid> {
        match self.scalar().as_deref() {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => Err(self.wrong(what, "true or false")),
        }
    }

    /// As a list. A scalar is a list of one, or of what its commas separate if it was not
    /// written in a manifest (the command line has no lists of its own).
    pub fn to_list(&self, what: &str) -> Result<Vec<Value>, Invalid> {
        match &self.data {
            Data::List(items) => Ok(items.clone()),
            Data::Null => Ok(Vec::new()),
            Data::Text(text) if self.span.is_none() => Ok(split(text).map(Value::text).collect()),
            Data::Text(_) | Data::Number(_) | Data::Bool(_) => Ok(vec![self.clone()]),
            Data::Map(_) => Err(self.wrong(what, "a list")),
        }
    }

    /// As a mapping. Outside a manifest, text such as `A=1,B=2` is one too.
    pub fn to_map(&self, what: &str) -> Result<Vec<Entry>, Invalid> {
        match &self.data {
            Data::Map(entries) => Ok(entries.clone()),
            Data::Null => Ok(Vec::new()),
            Data::Text(text) if self.span.is_none() => split(text)
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
            Data::Text(_) | Data::Number(_) | Data::Bool(_) | Data::List(_) => {
                Err(self.wrong(what, "a map"))
            }
        }
    }

    /// As JSON, for values that are passed on as such.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.data {
            Data::Null => serde_json::Value::Null,
            Data::Bool(b) => (*b).into(),
            Data::Number(text) => {
                serde_json::from_str(text).unwrap_or_else(|_| text.clone().into())
            }
            Data::Text(text) => text.clone().into(),
            Data::List(items) => items.iter().map(Value::to_json).collect(),
            Data::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    fn wrong(&self, what: &str, wanted: &str) -> Invalid {
        let got = match self.scalar() {
            Some(text) => format!("`{text}`"),
            None => self.kind().to_owned(),
        };
        Invalid::new(self, format!("{what} must be {wanted}, not {got}"))
    }
}

/// What the commas of a text separate. A comma within quotes is part of its value; the quotes are
/// not: `a,"b,c"` is `a` and `b,c`.
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

/// Reads a mapping key by key; a key that nobody asked for is an error that names the nearest.
pub struct Fields<'a> {
    what: &'a str,
    span: Option<Span>,
    entries: Vec<Entry>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// Starts reading `value`, which errors call `what` (``container `web` ``).
    pub fn new(value: &Value, what: &'a str) -> Result<Self, Invalid> {
        Ok(Fields {
            what,
            span: value.span.clone(),
            entries: value.to_map(what)?,
            known: Vec::new(),
        })
    }

    /// Takes the value of a key, if it is there.
    pub fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at).value)
    }

    /// Takes the value of a key and decodes it.
    pub fn decode<T>(
        &mut self,
        key: &'static str,
        decode: impl FnOnce(&Value, &str) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Invalid> {
        self.take(key).map(|value| decode(&value, key)).transpose()
    }

    /// Takes the value of a key that must be there.
    pub fn require(&mut self, key: &'static str) -> Result<Value, Invalid> {
        if let Some(value) = self.take(key) {
            return Ok(value);
        }
        let misspelt = self.nearest(key);
        Err(Invalid {
            message: format!("{}: `{key}` is missing", self.what),
            span: misspelt.map_or(&self.span, |entry| &entry.key_span).clone(),
            help: misspelt.map(|entry| format!("is `{}` meant to be `{key}`?", entry.key)),
        })
    }

    /// A key that was not taken and is probably meant to be this one.
    pub fn nearest(&self, key: &str) -> Option<&Entry> {
        let near = |entry: &&Entry| nearest(&entry.key, [key]).is_some();
        self.entries.iter().find(near)
    }

    /// Everything that was not taken: for maps whose further keys belong to somebody else.
    pub fn rest(self) -> Vec<Entry> {
        self.entries
    }

    /// Ends reading: what is left is unknown.
    pub fn finish(self) -> Result<(), Invalid> {
        let Some(entry) = self.entries.first() else {
            return Ok(());
        };
        let suggestion = did_you_mean(&entry.key, self.known.iter().copied());
        Err(Invalid {
            message: format!("{}: there is no `{}`", self.what, entry.key),
            span: entry.key_span.clone(),
            help: suggestion.or_else(|| Some(format!("there is {}", self.known.join(", ")))),
        })
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
        assert_eq!(error.message, "container: there is no `imgae`");
        assert_eq!(error.help.as_deref(), Some("did you mean `image`?"));
    }

    #[test]
    fn numbers_keep_their_text() {
        let value = Value {
            data: Data::Number("1.10".to_owned()),
            span: None,
        };
        assert_eq!(value.to_text("x").unwrap(), "1.10");
        assert_eq!(
            value.to_integer("x", 0..10).unwrap_err().message,
            "x must be a whole number, not `1.10`"
        );
    }
}
