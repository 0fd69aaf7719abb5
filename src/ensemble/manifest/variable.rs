//! Variables in the values of a manifest: `${SERVER.FIELD}`, `$internal_ips`, `$$`.

use std::{fmt, ops::Range};

use crate::core::{
    diagnostic::did_you_mean,
    value::{Invalid, shorten},
};

/// The fields of a server.
pub(in crate::ensemble) const SERVER_FIELDS: [&str; 6] =
    ["name", "ip", "internal_ip", "id", "size", "image"];
/// The fields of a container.
pub(in crate::ensemble) const CONTAINER_FIELDS: [&str; 4] = ["name", "ip", "image", "ports"];
/// The fields that are lists.
const LISTS: [&str; 1] = ["ports"];

/// The forms of variables, for errors.
const FORMS: &str = "write ${SERVER.FIELD}, ${SERVER.containers.CONTAINER.FIELD}, \
                     ${host.FIELD} or ${env.NAME}, and $$ for a dollar sign";

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Literal text.
    Text(String),
    /// A variable, with its byte range in the text.
    Variable(Variable, Range<usize>),
}

/// A variable of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variable {
    /// `${SERVER.FIELD}`, `${host.FIELD}`.
    Server(ServerRef, String),
    /// `${SERVER.containers.CONTAINER.FIELD}`, `${host.containers.CONTAINER.FIELD}`, with the
    /// index of an item if the field is a list: `${web.containers.app.ports[0]}`.
    Container(ServerRef, String, String, Option<usize>),
    /// `${env.NAME}`: an environment variable of this process.
    Env(String),
    /// `${secret.NAME}`.
    Secret(String),
    /// `$internal_ips` or `${internal_ips}`: the internal addresses of all servers of the manifest, a list.
    InternalIps,
    /// `$servers` or `${servers}`: name, address and internal address of all servers of the manifest, a map by
    /// name.
    Servers,
}

/// The server that a variable refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerRef {
    /// The server under which the variable is written.
    Host,
    /// A server by name.
    Named(String),
}

impl ServerRef {
    /// The server's name, for a variable that is written under the server `host`.
    pub fn name<'a>(&'a self, host: &'a str) -> &'a str {
        match self {
            ServerRef::Host => host,
            ServerRef::Named(name) => name,
        }
    }
}

/// The resources that must exist before a variable has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited<'a> {
    /// None.
    Nothing,
    /// A server, by name.
    Server(&'a str),
    /// A container: the names of its server and its own.
    Container(&'a str, &'a str),
    /// All servers of the manifest.
    AllServers,
}

impl Variable {
    /// The resources that the variable waits for, if it is written under the server `host`. A
    /// name is known from the start and waits for nothing.
    pub fn awaits<'a>(&'a self, host: &'a str) -> Awaited<'a> {
        match self {
            Variable::Server(_, field) | Variable::Container(_, _, field, _) if field == "name" => {
                Awaited::Nothing
            }
            Variable::Server(server, _) => Awaited::Server(server.name(host)),
            Variable::Container(server, container, _, _) => {
                Awaited::Container(server.name(host), container)
            }
            Variable::InternalIps | Variable::Servers => Awaited::AllServers,
            Variable::Env(_) | Variable::Secret(_) => Awaited::Nothing,
        }
    }

    /// Whether the value comes from outside of the manifest and may be a secret.
    pub fn is_confidential(&self) -> bool {
        matches!(self, Variable::Env(_) | Variable::Secret(_))
    }
}

impl fmt::Display for ServerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name("host"))
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Variable::Server(server, field) => write!(f, "${{{server}.{field}}}"),
            Variable::Container(server, container, field, None) => {
                write!(f, "${{{server}.containers.{container}.{field}}}")
            }
            Variable::Container(server, container, field, Some(index)) => {
                write!(f, "${{{server}.containers.{container}.{field}[{index}]}}")
            }
            Variable::Env(name) => write!(f, "${{env.{name}}}"),
            Variable::Secret(name) => write!(f, "${{secret.{name}}}"),
            Variable::InternalIps => f.write_str("$internal_ips"),
            Variable::Servers => f.write_str("$servers"),
        }
    }
}

/// Finds the variables in a text.
pub fn read_variables(text: &str) {
    drop(parse(text));
}

/// Parses a text into literal text and variables. A `$` that begins no variable is literal.
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
            let end = inner.find('}').ok_or_else(|| {
                Invalid::at(Some(offset..text.len()), "unclosed `${`")
                    .help("write `$$` for a dollar sign".to_owned())
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
        segments.push(Segment::Variable(variable, offset..offset + length));
        rest = &rest[length..];
    }
    plain.push_str(rest);
    if !plain.is_empty() || segments.is_empty() {
        segments.push(Segment::Text(plain));
    }
    Ok(segments)
}

/// The length of `word` if the text begins with it and it is not part of a longer word.
fn word(text: &str, word: &str) -> Option<usize> {
    let rest = text.strip_prefix(word)?;
    let goes_on = rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (!goes_on).then_some(word.len())
}

/// Parses the text between the braces. Names of servers may contain dots, names of fields do not.
fn reference(inner: &str) -> Result<Variable, Invalid> {
    let invalid = |help: String| {
        Invalid::at(None, format!("invalid variable `${{{}}}`", shorten(inner))).help(help)
    };
    match inner {
        "internal_ips" => return Ok(Variable::InternalIps),
        "servers" => return Ok(Variable::Servers),
        _ => {}
    }
    let Some((object, field)) = inner.rsplit_once('.') else {
        return Err(invalid(FORMS.to_owned()));
    };
    if object.is_empty() || field.is_empty() {
        return Err(invalid(FORMS.to_owned()));
    }
    match object {
        "env" => return Ok(Variable::Env(field.to_owned())),
        "secret" => return Ok(Variable::Secret(field.to_owned())),
        _ => {}
    }
    let (field, index) = match field.strip_suffix(']').and_then(|f| f.split_once('[')) {
        Some((field, index)) => {
            let number = index.parse().ok().filter(|_| !index.starts_with('+'));
            let number = number.ok_or_else(|| {
                invalid(format!(
                    "write a number as the index: ${{{object}.{field}[0]}}"
                ))
            })?;
            (field, Some(number))
        }
        None => (field, None),
    };
    if index.is_some() && !LISTS.contains(&field) {
        return Err(invalid(format!(
            "`{field}` is not a list: write ${{{object}.{field}}}"
        )));
    }
    let server = |name: &str| match name {
        "host" => ServerRef::Host,
        name => ServerRef::Named(name.to_owned()),
    };
    let known = |field: &str, known: &[&str]| {
        if known.contains(&field) {
            return Ok(field.to_owned());
        }
        let near = did_you_mean(field, known.iter().copied());
        let mut error =
            invalid(near.unwrap_or_else(|| format!("the fields are {}", known.join(", "))));
        error.message = format!("`${{{}}}`: unknown field `{field}`", shorten(inner));
        Err(error)
    };
    match object.split_once(".containers.") {
        Some((of, container)) => Ok(Variable::Container(
            server(of),
            container.to_owned(),
            known(field, &CONTAINER_FIELDS)?,
            index,
        )),
        None if index.is_some() => Err(invalid("only containers have `ports`".to_owned())),
        None => Ok(Variable::Server(
            server(object),
            known(field, &SERVER_FIELDS)?,
        )),
    }
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
                    Segment::Variable(variable, at) => format!("<{variable}@{}>", at.start),
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
        assert_eq!(show("${internal_ips}x"), "<$internal_ips@0>'x'");
        assert_eq!(
            show("${host.containers.b.ip}${a.containers.b.ports[12]}"),
            "<${host.containers.b.ip}@0><${a.containers.b.ports[12]}@23>"
        );
        assert_eq!(
            show("${host.name}${env.A}${secret.B}"),
            "<${host.name}@0><${env.A}@12><${secret.B}@20>"
        );
    }

    #[test]
    fn invalid_variables() {
        assert_eq!(show("a${b"), "unclosed `${` 1..4");
        assert_eq!(show("${b}"), "invalid variable `${b}` 0..4");
        assert_eq!(show("é${.x}"), "invalid variable `${.x}` 2..7");
        assert_eq!(
            show("${web.address}"),
            "`${web.address}`: unknown field `address` 0..14"
        );
        for text in [
            "${web.ip[0]}",
            "${web.ports[0]}",
            "${web.containers.app.ports[]}",
            "${web.containers.app.ports[-1]}",
            "${web.containers.app.ports[+1]}",
            "${web.containers.app.ports[0}",
            "${web.containers.app.ip[0]}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_variable_waits_for() {
        let awaits = |text: &str| match parse(text).unwrap().remove(0) {
            Segment::Variable(variable, _) => format!("{:?}", variable.awaits("me")),
            Segment::Text(_) => panic!("{text}"),
        };
        assert_eq!(awaits("${host.name}"), "Nothing");
        assert_eq!(awaits("${host.ip}"), "Server(\"me\")");
        assert_eq!(awaits("${web.containers.app.name}"), "Nothing");
        assert_eq!(
            awaits("${host.containers.app.ports[0]}"),
            "Container(\"me\", \"app\")"
        );
        assert_eq!(awaits("$servers"), "AllServers");
        assert_eq!(awaits("${env.A}"), "Nothing");
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
