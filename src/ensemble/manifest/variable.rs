//! Variables in a manifest's values: `${SERVER.FIELD}`, `$internal_ips`, `$$`.

use std::fmt;

use crate::core::value::Invalid;

/// The fields of a server.
pub(in crate::ensemble) const SERVER_FIELDS: [&str; 6] =
    ["name", "ip", "internal_ip", "id", "size", "image"];
/// The fields of a container.
pub(in crate::ensemble) const CONTAINER_FIELDS: [&str; 4] = ["name", "ip", "image", "ports"];

/// What may stand between braces, for errors.
const FORMS: &str = "write ${SERVER.FIELD}, ${SERVER.containers.CONTAINER.FIELD}, \
                     ${host.FIELD} or ${env.NAME}, and $$ for a dollar sign";

/// A piece of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ensemble) enum Segment {
    /// Text that stands for itself.
    Text(String),
    /// A variable, with its offset in the text that it was read from.
    Variable(Variable, usize),
}

/// What a variable stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::ensemble) enum Variable {
    /// `${host.FIELD}`: the server that the text stands under.
    Host(String),
    /// `${SERVER.FIELD}`.
    Server(String, String),
    /// `${SERVER.containers.CONTAINER.FIELD}`.
    Container(String, String, String),
    /// `${env.NAME}`: of this process.
    Env(String),
    /// `${secret.NAME}`.
    Secret(String),
    /// `$internal_ips`: of all servers of the manifest, with commas between them.
    InternalIps,
    /// `$servers`: all servers of the manifest, as JSON.
    Servers,
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Variable::Host(field) => write!(f, "${{host.{field}}}"),
            Variable::Server(server, field) => write!(f, "${{{server}.{field}}}"),
            Variable::Container(server, container, field) => {
                write!(f, "${{{server}.containers.{container}.{field}}}")
            }
            Variable::Env(name) => write!(f, "${{env.{name}}}"),
            Variable::Secret(name) => write!(f, "${{secret.{name}}}"),
            Variable::InternalIps => f.write_str("$internal_ips"),
            Variable::Servers => f.write_str("$servers"),
        }
    }
}

/// Finds the variables in a text. A `$` that begins none stands for itself.
///
/// The span of an error is relative to the text.
pub(in crate::ensemble) fn parse(text: &str) -> Result<Vec<Segment>, Invalid> {
    let mut segments = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let offset = text.len() - rest.len();
        let (variable, length) = if rest.starts_with("$$") {
            plain.push('$');
            rest = &rest[2..];
            continue;
        } else if let Some(inner) = rest.strip_prefix("${") {
            let end = inner.find('}').ok_or_else(|| Invalid {
                message: "`${` is not closed".to_owned(),
                span: Some(offset..text.len()),
                help: Some("write `$$` for a dollar sign".to_owned()),
            })?;
            let variable = reference(&inner[..end]).map_err(|mut error| {
                error.span = Some(offset..offset + end + 3);
                error
            })?;
            (variable, end + 3)
        } else if let Some(variable) = word(rest, "$internal_ips") {
            (Variable::InternalIps, variable)
        } else if let Some(variable) = word(rest, "$servers") {
            (Variable::Servers, variable)
        } else {
            plain.push('$');
            rest = &rest[1..];
            continue;
        };
        if !plain.is_empty() {
            segments.push(Segment::Text(std::mem::take(&mut plain)));
        }
        segments.push(Segment::Variable(variable, offset));
        rest = &rest[length..];
    }
    plain.push_str(rest);
    if !plain.is_empty() || segments.is_empty() {
        segments.push(Segment::Text(plain));
    }
    Ok(segments)
}

/// The length of a word that the text begins with, if it ends there.
fn word(text: &str, word: &str) -> Option<usize> {
    let rest = text.strip_prefix(word)?;
    let goes_on = rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (!goes_on).then_some(word.len())
}

/// What stands between the braces. Names of servers may contain dots, those of fields do not.
fn reference(inner: &str) -> Result<Variable, Invalid> {
    let unknown = |help: &str| Invalid {
        message: format!("`${{{inner}}}` is no variable"),
        span: None,
        help: Some(help.to_owned()),
    };
    let Some((object, field)) = inner.rsplit_once('.') else {
        return Err(unknown(FORMS));
    };
    if object.is_empty() || field.is_empty() {
        return Err(unknown(FORMS));
    }
    let field = field.to_owned();
    Ok(match object {
        "host" => Variable::Host(field),
        "env" => Variable::Env(field),
        "secret" => Variable::Secret(field),
        object => match object.split_once(".containers.") {
            Some((server, container)) => {
                Variable::Container(server.to_owned(), container.to_owned(), field)
            }
            None => Variable::Server(object.to_owned(), field),
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn show(text: &str) -> String {
        match parse(text) {
            Ok(segments) => segments
                .into_iter()
                .map(|segment| match segment {
                    Segment::Text(text) => format!("'{text}'"),
                    Segment::Variable(variable, at) => format!("<{variable}@{at}>"),
                })
                .collect(),
            Err(error) => format!("{} {:?}", error.message, error.span.unwrap()),
        }
    }

    #[test]
    fn all_forms() {
        assert_eq!(show(""), "''");
        assert_eq!(show("a$$b"), "'a$b'");
        assert_eq!(show("$HOME $ $internal_ipsx"), "'$HOME $ $internal_ipsx'");
        assert_eq!(show("x${web.ip}y"), "'x'<${web.ip}@1>'y'");
        assert_eq!(show("${10.0.0.1.ip}"), "<${10.0.0.1.ip}@0>");
        assert_eq!(
            show("${a.containers.b.ip}:$internal_ips"),
            "<${a.containers.b.ip}@0>':'<$internal_ips@21>"
        );
        assert_eq!(show("$servers"), "<$servers@0>");
        assert_eq!(
            show("${host.name}${env.A}${secret.B}"),
            "<${host.name}@0><${env.A}@12><${secret.B}@20>"
        );
    }

    #[test]
    fn what_is_no_variable() {
        assert_eq!(show("a${b"), "`${` is not closed 1..4");
        assert_eq!(show("${b}"), "`${b}` is no variable 0..4");
        assert_eq!(show("é${.x}"), "`${.x}` is no variable 2..7");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn text_without_dollars_is_itself(text in "[^$]*") {
            prop_assert_eq!(parse(&text).unwrap(), [Segment::Text(text)]);
        }

        #[test]
        fn doubled_dollars_are_dollars(text in ".*") {
            let doubled = text.replace('$', "$$");
            prop_assert_eq!(parse(&doubled).unwrap(), [Segment::Text(text)]);
        }

        #[test]
        fn nothing_panics(text in "[${}a.]*") {
            let _ = parse(&text);
        }
    }
}
