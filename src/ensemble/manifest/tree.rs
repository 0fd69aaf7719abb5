//! A value of a manifest whose texts may contain variables.

use std::{collections::BTreeSet, ops::Range};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::{
    core::value::{Data, Entry, Invalid, Span, Value, shorten},
    ensemble::manifest::variable::{Segment, Variable, parse},
};

/// A value with its variables unresolved.
///
/// As JSON it is the value with `${…}` in its texts, so that a plan that is written to a file
/// contains references and no values. `$$` is a dollar sign there too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Json", try_from = "Json")]
pub struct Tree {
    node: Node,
    span: Option<Span>,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// A scalar without variables.
    Scalar(Data),
    /// A text with variables.
    Text(Vec<Part>),
    List(Vec<Tree>),
    Map(Vec<(String, Option<Span>, Tree)>),
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// A variable, with its span in the manifest.
    Variable(Variable, Option<Span>),
}

/// A variable in a tree, with its span in the manifest.
#[derive(Clone, Debug)]
pub struct Use<'a> {
    /// The variable.
    pub variable: &'a Variable,
    /// The span of the variable, or of the whole scalar if quotes and escapes hide the exact one.
    pub span: Option<&'a Span>,
}

/// Marks the place of a variable while a command line is split into words.
const MARK: char = '\u{1}';
const MARK_END: char = '\u{2}';

impl Tree {
    /// Finds the variables in a value. `source` is the text of the manifest.
    pub fn read(value: Value, source: &str) -> Result<Self, Invalid> {
        let span = value.span;
        let node = match value.data {
            Data::Text(text) if text.contains('$') => {
                text_node(read_parts(&text, span.as_ref(), source)?)
            }
            Data::List(items) => Node::List(
                items
                    .into_iter()
                    .map(|item| Tree::read(item, source))
                    .collect::<Result<_, _>>()?,
            ),
            Data::Map(entries) => Node::Map(
                entries
                    .into_iter()
                    .map(|entry| {
                        check_key(&entry)?;
                        let tree = Tree::read(entry.value, source)?;
                        Ok((entry.key, entry.key_span, tree))
                    })
                    .collect::<Result<_, Invalid>>()?,
            ),
            scalar => Node::Scalar(scalar),
        };
        Ok(Tree { node, span })
    }

    /// Finds the variables in a command line and splits it into words, as a shell does. The value
    /// of a variable stays within one word, whatever it contains. A value that is not text is read
    /// as [`Tree::read`] does.
    pub fn read_words(value: Value, source: &str, what: &str) -> Result<Self, Invalid> {
        let Data::Text(text) = &value.data else {
            return Tree::read(value, source);
        };
        if text.contains([MARK, MARK_END]) {
            let message = format!("{what}: invalid control character");
            return Err(Invalid::new(&value, message));
        }
        let parts = read_parts(text, value.span.as_ref(), source)?;
        let marked: String = parts
            .iter()
            .enumerate()
            .map(|(index, part)| match part {
                Part::Text(text) => text.clone(),
                Part::Variable(..) => format!("{MARK}{index}{MARK_END}"),
            })
            .collect();
        let words = shlex::split(&marked)
            .ok_or_else(|| Invalid::new(&value, format!("{what}: unclosed quote")))?;
        let word = |word: String| Tree {
            node: text_node(unmark(&word, &parts)),
            span: value.span.clone(),
        };
        Ok(Tree {
            node: Node::List(words.into_iter().map(word).collect()),
            span: value.span.clone(),
        })
    }

    /// A mapping of trees: keys, their spans, and values.
    pub fn map(entries: Vec<(String, Option<Span>, Tree)>, span: Option<Span>) -> Self {
        Tree {
            node: Node::Map(entries),
            span,
        }
    }

    /// The value of a key of a mapping.
    pub fn field(&self, key: &str) -> Option<&Tree> {
        match &self.node {
            Node::Map(entries) => {
                let found = entries.iter().find(|(name, _, _)| name == key);
                found.map(|(_, _, tree)| tree)
            }
            _ => None,
        }
    }

    /// The mapping with only these keys.
    pub fn select(&self, keys: &[&str]) -> Tree {
        let node = match &self.node {
            Node::Map(entries) => {
                let wanted = entries
                    .iter()
                    .filter(|(name, ..)| keys.contains(&name.as_str()));
                Node::Map(wanted.cloned().collect())
            }
            other => other.clone(),
        };
        Tree {
            node,
            span: self.span.clone(),
        }
    }

    /// The number of items, if the value is a list. `None` if a variable decides it.
    pub fn items(&self) -> Option<usize> {
        match &self.node {
            Node::List(items) => Some(items.len()),
            Node::Scalar(Data::Null) => Some(0),
            Node::Scalar(_) => Some(1),
            Node::Text(parts) if parts.len() > 1 => Some(1),
            Node::Text(_) | Node::Map(_) => None,
        }
    }

    /// All variables in it.
    pub fn uses(&self) -> Vec<Use<'_>> {
        let mut uses = Vec::new();
        self.collect(&mut uses);
        uses
    }

    fn collect<'a>(&'a self, uses: &mut Vec<Use<'a>>) {
        match &self.node {
            Node::Scalar(_) => {}
            Node::Text(parts) => uses.extend(parts.iter().filter_map(|part| match part {
                Part::Text(_) => None,
                Part::Variable(variable, span) => Some(Use {
                    variable,
                    span: span.as_ref().or(self.span.as_ref()),
                }),
            })),
            Node::List(items) => items.iter().for_each(|item| item.collect(uses)),
            Node::Map(entries) => {
                for (_, _, tree) in entries {
                    tree.collect(uses);
                }
            }
        }
    }

    /// Replaces the variables with the values that `known` returns. Fails with the variables that
    /// are not known yet, sorted.
    pub fn resolve(
        &self,
        known: &dyn Fn(&Variable) -> Option<Value>,
    ) -> Result<Value, Vec<Variable>> {
        let mut unknown = BTreeSet::new();
        let value = self.fill(known, &mut unknown);
        if unknown.is_empty() {
            Ok(value)
        } else {
            Err(unknown.into_iter().collect())
        }
    }

    /// Resolves the known variables. A text with an unknown variable becomes [`Data::Unknown`].
    pub fn resolve_known(&self, known: &dyn Fn(&Variable) -> Option<Value>) -> Value {
        self.fill(known, &mut BTreeSet::new())
    }

    fn fill(
        &self,
        known: &dyn Fn(&Variable) -> Option<Value>,
        unknown: &mut BTreeSet<Variable>,
    ) -> Value {
        let data = match &self.node {
            Node::Scalar(data) => data.clone(),
            Node::Text(parts) => fill_text(parts, known, unknown),
            Node::List(items) => {
                Data::List(items.iter().map(|item| item.fill(known, unknown)).collect())
            }
            Node::Map(entries) => Data::Map(
                entries
                    .iter()
                    .map(|(key, key_span, tree)| Entry {
                        key: key.clone(),
                        key_span: key_span.clone(),
                        value: tree.fill(known, unknown),
                    })
                    .collect(),
            ),
        };
        Value {
            data,
            span: self.span.clone(),
        }
    }

    /// Whether a variable in it satisfies `wanted`.
    fn has(&self, wanted: &dyn Fn(&Variable) -> bool) -> bool {
        match &self.node {
            Node::Scalar(_) => false,
            Node::Text(parts) => parts.iter().any(|part| match part {
                Part::Text(_) => false,
                Part::Variable(variable, _) => wanted(variable),
            }),
            Node::List(items) => items.iter().any(|item| item.has(wanted)),
            Node::Map(entries) => entries.iter().any(|(_, _, tree)| tree.has(wanted)),
        }
    }

    /// The paths of the fields whose values contain a variable that satisfies `wanted`: `command`,
    /// `environment.KEY`.
    pub fn fields_with(&self, wanted: impl Fn(&Variable) -> bool) -> BTreeSet<String> {
        let Node::Map(fields) = &self.node else {
            return BTreeSet::new();
        };
        let mut found = BTreeSet::new();
        for (name, _, tree) in fields {
            match &tree.node {
                Node::Map(entries) => found.extend(
                    entries
                        .iter()
                        .filter(|(_, _, tree)| tree.has(&wanted))
                        .map(|(key, _, _)| format!("{name}.{key}")),
                ),
                _ if tree.has(&wanted) => drop(found.insert(name.clone())),
                _ => {}
            }
        }
        found
    }
}

/// Refuses a key that could not be shown on one line of a plan.
fn check_key(entry: &Entry) -> Result<(), Invalid> {
    if entry.key.contains(char::is_control) {
        let message = format!("invalid key `{}`", shorten(&entry.key));
        return Err(Invalid::at(entry.key_span.clone(), message)
            .help("keys cannot contain control characters".to_owned()));
    }
    Ok(())
}

/// Parses a text of the manifest. The spans of its variables and of errors are those of the file.
fn read_parts(text: &str, span: Option<&Span>, source: &str) -> Result<Vec<Part>, Invalid> {
    let place = |range: Range<usize>| locate(source, span?, text, range);
    let segments = parse(text).map_err(|mut error| {
        let range = error.span.take();
        error.span = range.and_then(place).or_else(|| span.cloned());
        error
    })?;
    let part = |segment| match segment {
        Segment::Text(text) => Part::Text(text),
        Segment::Variable(variable, range) => Part::Variable(variable, place(range)),
    };
    Ok(segments.into_iter().map(part).collect())
}

/// The span in the file of a range of a scalar. The file may have quotes and escapes that the
/// scalar lacks, so the range is found by its text: its first, second, … occurrence in one is that
/// in the other. `None` if the number of occurrences differs.
fn locate(source: &str, span: &Span, scalar: &str, range: Range<usize>) -> Option<Span> {
    let raw = source.get(span.clone())?;
    if raw == scalar {
        return Some(span.start + range.start..span.start + range.end);
    }
    let text = scalar.get(range.clone())?;
    let before = scalar.get(..range.start)?.matches(text).count();
    if raw.matches(text).count() != scalar.matches(text).count() {
        return None;
    }
    let (at, _) = raw.match_indices(text).nth(before)?;
    Some(span.start + at..span.start + at + text.len())
}

/// A text without variables is a scalar.
fn text_node(mut parts: Vec<Part>) -> Node {
    match parts.as_mut_slice() {
        [] => Node::Scalar(Data::Text(String::new())),
        [Part::Text(text)] => Node::Scalar(Data::Text(std::mem::take(text))),
        _ => Node::Text(parts),
    }
}

/// Puts variables back in the place of their marks.
fn unmark(word: &str, parts: &[Part]) -> Vec<Part> {
    let mut found = Vec::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once(MARK) {
        if !before.is_empty() {
            found.push(Part::Text(before.to_owned()));
        }
        let (index, after) = after.split_once(MARK_END).unwrap_or((after, ""));
        let part = index.parse().ok().and_then(|index: usize| parts.get(index));
        found.extend(part.cloned());
        rest = after;
    }
    if !rest.is_empty() {
        found.push(Part::Text(rest.to_owned()));
    }
    found
}

/// Replaces the variables in a text. A variable that is the whole text keeps its kind.
fn fill_text(
    parts: &[Part],
    known: &dyn Fn(&Variable) -> Option<Value>,
    unknown: &mut BTreeSet<Variable>,
) -> Data {
    let mut text = String::new();
    let mut is_known = true;
    for part in parts {
        match part {
            Part::Text(plain) => text.push_str(plain),
            Part::Variable(variable, _) => match known(variable) {
                Some(value) if parts.len() == 1 && !matches!(value.data, Data::Unknown(_)) => {
                    return value.data;
                }
                Some(value) => match value.scalar() {
                    Some(scalar) => text.push_str(&scalar),
                    None => text.push_str(&value.to_json().to_string()),
                },
                None => {
                    is_known = false;
                    text.push_str(&variable.to_string());
                    unknown.insert(variable.clone());
                }
            },
        }
    }
    if is_known {
        Data::Text(text)
    } else {
        Data::Unknown(text)
    }
}

/// The key of a JSON object that stands for a number whose spelling JSON would change: `1.10`.
const NUMBER: &str = "$number";
/// The key of a JSON object that contains a mapping whose only key begins with `$`.
const MAP: &str = "$map";

/// A number as JSON, if JSON spells it in the same way.
fn json_number(text: &str) -> Option<Json> {
    let number: serde_json::Number = serde_json::from_str(text).ok()?;
    let spelling = number.to_string();
    (spelling == text).then_some(Json::Number(number))
}

impl From<Tree> for Json {
    fn from(tree: Tree) -> Self {
        match tree.node {
            Node::Scalar(Data::Null) => Json::Null,
            Node::Scalar(Data::Bool(b)) => Json::Bool(b),
            Node::Scalar(Data::Number(text)) => json_number(&text).unwrap_or_else(|| {
                Json::Object(Map::from_iter([(NUMBER.to_owned(), text.into())]))
            }),
            Node::Scalar(Data::Text(text)) => Json::String(text.replace('$', "$$")),
            // Lists and maps have nodes of their own; the others do not occur in manifests.
            Node::Scalar(other) => Value::new(other).to_json(),
            Node::Text(parts) => Json::String(
                parts
                    .into_iter()
                    .map(|part| match part {
                        Part::Text(text) => text.replace('$', "$$"),
                        // With braces, because text may follow.
                        Part::Variable(Variable::InternalIps, _) => "${internal_ips}".to_owned(),
                        Part::Variable(Variable::Servers, _) => "${servers}".to_owned(),
                        Part::Variable(variable, _) => variable.to_string(),
                    })
                    .collect(),
            ),
            Node::List(items) => items.into_iter().map(Json::from).collect(),
            Node::Map(entries) => {
                let map: Map<String, Json> = entries
                    .into_iter()
                    .map(|(key, _, tree)| (key, Json::from(tree)))
                    .collect();
                if map.len() == 1 && map.keys().all(|key| key.starts_with('$')) {
                    Json::Object(Map::from_iter([(MAP.to_owned(), Json::Object(map))]))
                } else {
                    Json::Object(map)
                }
            }
        }
    }
}

impl TryFrom<Json> for Tree {
    type Error = Invalid;

    fn try_from(json: Json) -> Result<Self, Invalid> {
        let scalar = |data| Tree {
            node: Node::Scalar(data),
            span: None,
        };
        let map = |map: Map<String, Json>| -> Result<Tree, Invalid> {
            let entries = map.into_iter();
            let entries = entries.map(|(key, json)| Ok((key, None, Tree::try_from(json)?)));
            Ok(Tree::map(entries.collect::<Result<_, Invalid>>()?, None))
        };
        Ok(match json {
            Json::Null => scalar(Data::Null),
            Json::Bool(b) => scalar(Data::Bool(b)),
            Json::Number(number) => scalar(Data::Number(number.to_string())),
            Json::String(text) => Tree::read(Value::new(Data::Text(text)), "")?,
            Json::Array(items) => Tree {
                node: Node::List(
                    items
                        .into_iter()
                        .map(Tree::try_from)
                        .collect::<Result<_, _>>()?,
                ),
                span: None,
            },
            Json::Object(mut object) if object.len() == 1 => {
                match (object.remove(NUMBER), object.remove(MAP)) {
                    (Some(Json::String(text)), _) => scalar(Data::Number(text)),
                    (_, Some(Json::Object(inner))) => map(inner)?,
                    (None, None) => map(object)?,
                    _ => return Err(Invalid::at(None, "invalid value in a plan")),
                }
            }
            Json::Object(object) => map(object)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Value {
        Value::new(Data::Text(text.to_owned()))
    }

    /// The texts that the variables of a scalar have in the file.
    fn spans(source: &str, span: Span, scalar: &str) -> Vec<Option<String>> {
        let value = Value {
            span: Some(span.clone()),
            ..text(scalar)
        };
        let tree = Tree::read(value, source).unwrap();
        let uses = tree.uses();
        let exact = uses.iter().map(|one| {
            let found = one.span.filter(|found| **found != span);
            found.map(|found| format!("{}@{}", &source[found.clone()], found.start))
        });
        exact.collect()
    }

    #[test]
    fn spans_are_those_of_the_file() {
        let at = |text: &str| Some(text.to_owned());
        assert_eq!(
            spans("a: x${w.ip}-${w.ip}", 3..19, "x${w.ip}-${w.ip}"),
            [at("${w.ip}@4"), at("${w.ip}@12")]
        );
        // Quotes, an escape before, an escaped variable before.
        assert_eq!(
            spans(r#""\t${w.ip}""#, 0..11, "\t${w.ip}"),
            [at("${w.ip}@3")]
        );
        assert_eq!(
            spans("'$${w.ip} ${w.ip}'", 0..18, "$${w.ip} ${w.ip}"),
            [at("${w.ip}@10")]
        );
        // Written with an escape: the whole scalar is the best there is.
        assert_eq!(spans(r#""\x24{w.ip}""#, 0..12, "${w.ip}"), [None]);
    }

    fn known(variable: &Variable) -> Option<Value> {
        match variable {
            Variable::InternalIps => Some(Value::new(Data::Expanded {
                text: "1.1.1.1,2.2.2.2".to_owned(),
                data: Box::new(Data::List(vec![text("1.1.1.1"), text("2.2.2.2")])),
            })),
            Variable::Env(name) => Some(text(&format!("{name} $HOME"))),
            _ => None,
        }
    }

    #[test]
    fn a_lone_variable_keeps_its_kind() {
        let resolve = |scalar: &str| {
            let tree = Tree::read(text(scalar), "").unwrap();
            tree.resolve(&known)
        };
        let list = resolve("$internal_ips").unwrap();
        assert_eq!(list.to_list("x").unwrap().len(), 2);
        let within = resolve("to $internal_ips").unwrap();
        assert_eq!(within, text("to 1.1.1.1,2.2.2.2"));
        assert_eq!(
            resolve("${b.ip}${a.ip}${b.ip}").unwrap_err().len(),
            2,
            "each once"
        );
    }

    #[test]
    fn words_keep_values_whole() {
        let line = "sh -c \"echo ${env.A} $$X\" '${env.B}'${env.C}";
        let tree = Tree::read_words(text(line), "", "command").unwrap();
        let words = tree.resolve(&known).unwrap().to_list("command").unwrap();
        let words: Vec<String> = words.iter().filter_map(Value::scalar).collect();
        assert_eq!(words, ["sh", "-c", "echo A $HOME $X", "B $HOMEC $HOME"]);
        let error = Tree::read_words(text("sh 'x"), "", "command").unwrap_err();
        assert_eq!(error.message, "command: unclosed quote");
    }

    /// Any value that a manifest can contain.
    fn values() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Data::Null),
            any::<bool>().prop_map(Data::Bool),
            "-?[0-9]{1,30}(\\.[0-9]{1,3})?".prop_map(Data::Number),
            "[a-z${}. ]{0,8}(\\$\\{web.ip\\}|\\$servers|\\$\\$)?".prop_map(Data::Text),
        ]
        .prop_map(Value::new);
        scalar.prop_recursive(3, 20, 4, |inner| {
            let key = prop_oneof!["[a-z$]{1,3}", Just(NUMBER.to_owned()), Just(MAP.to_owned())];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| Value::new(Data::List(items))),
                proptest::collection::btree_map(key, inner, 0..4).prop_map(Value::map),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// What is written into a plan is read back as it was.
        #[test]
        fn json_and_back(value in values()) {
            if let Ok(tree) = Tree::read(value, "") {
                let json = serde_json::to_string(&tree).unwrap();
                prop_assert_eq!(serde_json::from_str::<Tree>(&json).unwrap(), tree);
            }
        }
    }
}
