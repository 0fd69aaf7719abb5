//! Parameters of tasks: name, type and default.

use rhai::{Array, Dynamic, Engine, Map};
use serde::Serialize;

use crate::core::value::split;

/// The type of a parameter: that of its default, or text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// Text.
    Text,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// `true` or `false`.
    Bool,
    /// Values separated by commas.
    List,
    /// `NAME=VALUE` pairs separated by commas.
    Map,
}

/// A parameter of a task.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its documentation.
    pub doc: String,
    /// Its type.
    pub kind: Type,
    /// Its default. Without one, the parameter is required.
    pub default: Option<Default>,
}

/// The default of a parameter.
#[derive(Clone, Debug)]
pub struct Default {
    /// The literal in the doc comment.
    pub text: String,
    /// Its value.
    pub value: Dynamic,
}

impl Param {
    /// Checks the type of a script's value. The error has the expected type and the value.
    pub(super) fn accept(&self, value: Dynamic) -> Result<Dynamic, (&'static str, Dynamic)> {
        let (fits, wanted) = match self.kind {
            Type::Text => (true, "text"),
            Type::Int => (value.is_int(), "a whole number"),
            Type::Float => (value.is_float() || value.is_int(), "a number"),
            Type::Bool => (value.is_bool(), "true or false"),
            Type::List => (value.is_array(), "a list"),
            Type::Map => (value.is_map(), "a map"),
        };
        if fits {
            Ok(value)
        } else {
            Err((wanted, value))
        }
    }

    /// Converts text from the command line to the parameter's type. The error is the expected type.
    pub(super) fn convert(&self, text: &str) -> Result<Dynamic, &'static str> {
        match self.kind {
            Type::Text => Ok(text.to_owned().into()),
            Type::Int => text
                .parse::<i64>()
                .map(Dynamic::from)
                .map_err(|_| "a whole number"),
            Type::Float => text
                .parse::<f64>()
                .map(Dynamic::from)
                .map_err(|_| "a number"),
            Type::Bool => match text {
                "true" | "yes" => Ok(true.into()),
                "false" | "no" => Ok(false.into()),
                _ => Err("true or false"),
            },
            Type::List => Ok(split(text).map(Dynamic::from).collect::<Array>().into()),
            Type::Map => split(text)
                .map(|part| {
                    let (key, value) = part.split_once('=').ok_or("KEY=VALUE,KEY=VALUE")?;
                    Ok((key.into(), Dynamic::from(value.to_owned())))
                })
                .collect::<Result<Map, _>>()
                .map(Dynamic::from_map),
        }
    }
}

impl Default {
    /// Parses a Rhai literal at the beginning of a text. Returns the default and the rest.
    pub(super) fn parse(text: &str) -> Result<(Self, &str), String> {
        let (literal, rest) = text.split_at(literal_end(text));
        // An engine without functions and operators evaluates only literals.
        let value: Dynamic = Engine::new_raw()
            .eval_expression(literal)
            .map_err(|_| format!("invalid literal `{literal}`"))?;
        let default = Default {
            text: literal.to_owned(),
            value,
        };
        Ok((default, rest.trim()))
    }

    /// Returns the type of the value.
    pub(super) fn kind(&self) -> Type {
        if self.value.is_int() {
            Type::Int
        } else if self.value.is_float() {
            Type::Float
        } else if self.value.is_bool() {
            Type::Bool
        } else if self.value.is_array() {
            Type::List
        } else if self.value.is_map() {
            Type::Map
        } else {
            Type::Text
        }
    }
}

/// Returns the end of a literal at the beginning of a text: the first white space outside of quotes
/// and brackets.
fn literal_end(text: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0_i32, false, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            _ if quoted => {}
            '[' | '{' | '(' => depth += 1,
            ']' | '}' | ')' => depth -= 1,
            c if c.is_whitespace() && depth <= 0 => return at,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(Type, String), String> {
        Default::parse(text).map(|(default, rest)| (default.kind(), rest.to_owned()))
    }

    #[test]
    fn the_default_gives_the_type() {
        for (text, kind) in [
            ("\"a b\" rest", Type::Text),
            ("10 rest", Type::Int),
            ("-1.5 rest", Type::Float),
            ("true rest", Type::Bool),
            ("[1, 2] rest", Type::List),
            ("#{a: \"}\"} rest", Type::Map),
            ("() rest", Type::Text),
        ] {
            assert_eq!(parse(text).unwrap(), (kind, "rest".to_owned()), "{text}");
        }
        assert_eq!(
            parse("latest rest").unwrap_err(),
            "invalid literal `latest`"
        );
        assert!(parse("\"open rest").is_err());
        assert!(parse("").is_err());
    }

    #[test]
    fn text_is_converted_to_the_type() {
        let param = |default: &str| {
            let (default, _) = Default::parse(default).unwrap();
            Param {
                name: "x".to_owned(),
                doc: String::new(),
                kind: default.kind(),
                default: Some(default),
            }
        };
        let convert = |default: &str, text: &str| param(default).convert(text);
        assert_eq!(convert("1", "12").unwrap().as_int(), Ok(12));
        assert_eq!(convert("1", "x").unwrap_err(), "a whole number");
        assert_eq!(convert("1.0", "2").unwrap().as_float(), Ok(2.0));
        assert_eq!(convert("true", "no").unwrap().as_bool(), Ok(false));
        assert_eq!(convert("[]", "a, b").unwrap().to_string(), "[\"a\", \"b\"]");
        assert_eq!(
            convert("#{}", "a=1").unwrap().to_string(),
            "#{\"a\": \"1\"}"
        );
        assert!(convert("#{}", "a").is_err());
    }
}
