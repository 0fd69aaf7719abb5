//! Values with variables in them.

use std::collections::BTreeSet;

use crate::{
    core::value::{Data, Entry, Invalid, Span, Value},
    ensemble::manifest::variable::{Segment, Variable, parse},
};

/// A value of a manifest whose texts may contain variables.
#[derive(Clone, Debug)]
pub(in crate::ensemble) struct Tree {
    node: Node,
    span: Option<Span>,
}

#[derive(Clone, Debug)]
enum Node {
    /// What no variable can be in.
    Plain(Data),
    Text(Vec<Segment>),
    List(Vec<Tree>),
    Map(Vec<(String, Option<Span>, Tree)>),
}

/// A variable and where it stands.
#[derive(Clone, Debug)]
pub(in crate::ensemble) struct Use {
    /// The variable.
    pub variable: Variable,
    /// Where.
    pub span: Option<Span>,
}

impl Tree {
    /// Finds the variables in a value. `text` is the whole manifest.
    pub fn read(value: &Value, text: &str) -> Result<Self, Invalid> {
        let node = match &value.data {
            Data::Text(scalar) => Node::Text(parse(scalar).map_err(|mut error| {
                let written = error.span.take().and_then(|span| scalar.get(span));
                error.span = written
                    .and_then(|written| find(value.span.as_ref()?, text, written))
                    .or(value.span.clone());
                error
            })?),
            Data::List(items) => Node::List(
                items
                    .iter()
                    .map(|item| Tree::read(item, text))
                    .collect::<Result<_, _>>()?,
            ),
            Data::Map(entries) => Node::Map(
                entries
                    .iter()
                    .map(|entry| {
                        let tree = Tree::read(&entry.value, text)?;
                        Ok((entry.key.clone(), entry.key_span.clone(), tree))
                    })
                    .collect::<Result<_, Invalid>>()?,
            ),
            plain => Node::Plain(plain.clone()),
        };
        Ok(Tree {
            node,
            span: value.span.clone(),
        })
    }

    /// All variables in it. `text` is the whole manifest.
    pub fn uses(&self, text: &str) -> Vec<Use> {
        let mut uses = Vec::new();
        self.collect(text, &mut uses);
        uses
    }

    fn collect(&self, text: &str, uses: &mut Vec<Use>) {
        match &self.node {
            Node::Plain(_) => {}
            Node::Text(segments) => {
                for segment in segments {
                    if let Segment::Variable(variable, _) = segment {
                        let written = variable.to_string();
                        let place = self.span.as_ref();
                        uses.push(Use {
                            variable: variable.clone(),
                            span: place
                                .and_then(|span| find(span, text, &written))
                                .or(self.span.clone()),
                        });
                    }
                }
            }
            Node::List(items) => items.iter().for_each(|item| item.collect(text, uses)),
            Node::Map(entries) => entries
                .iter()
                .for_each(|(_, _, tree)| tree.collect(text, uses)),
        }
    }

    /// The value, with what the variables stand for. Fails with those that are not known yet.
    pub fn resolve(
        &self,
        known: &dyn Fn(&Variable) -> Option<String>,
    ) -> Result<Value, Vec<Variable>> {
        let mut unknown = Vec::new();
        let value = self.fill(known, &mut unknown);
        if unknown.is_empty() {
            Ok(value)
        } else {
            unknown.sort();
            unknown.dedup();
            Err(unknown)
        }
    }

    fn fill(
        &self,
        known: &dyn Fn(&Variable) -> Option<String>,
        unknown: &mut Vec<Variable>,
    ) -> Value {
        let data = match &self.node {
            Node::Plain(data) => data.clone(),
            Node::Text(segments) => {
                let mut text = String::new();
                for segment in segments {
                    match segment {
                        Segment::Text(plain) => text.push_str(plain),
                        Segment::Variable(variable, _) => match known(variable) {
                            Some(value) => text.push_str(&value),
                            None => unknown.push(variable.clone()),
                        },
                    }
                }
                Data::Text(text)
            }
            Node::List(items) => {
                Data::List(items.iter().map(|item| item.fill(known, unknown)).collect())
            }
            Node::Map(entries) => {
                let mut entry = |(key, key_span, tree): &(String, Option<Span>, Tree)| Entry {
                    key: key.clone(),
                    key_span: key_span.clone(),
                    value: tree.fill(known, unknown),
                };
                Data::Map(entries.iter().map(&mut entry).collect())
            }
        };
        Value {
            data,
            span: self.span.clone(),
        }
    }

    /// The fields whose values contain a variable for which `wanted` holds: `command`,
    /// `environment.KEY`.
    pub fn fields_with(&self, wanted: impl Fn(&Variable) -> bool) -> BTreeSet<String> {
        let has = |tree: &Tree| tree.uses("").iter().any(|one| wanted(&one.variable));
        let Node::Map(fields) = &self.node else {
            return BTreeSet::new();
        };
        let mut found = BTreeSet::new();
        for (name, _, tree) in fields {
            match &tree.node {
                Node::Map(entries) => found.extend(
                    entries
                        .iter()
                        .filter(|(_, _, tree)| has(tree))
                        .map(|(key, _, _)| format!("{name}.{key}")),
                ),
                _ if has(tree) => drop(found.insert(name.clone())),
                _ => {}
            }
        }
        found
    }
}

/// Where a piece of a scalar stands: what was written may differ from the scalar by quotes and
/// escapes, but variables contain neither.
fn find(span: &Span, text: &str, written: &str) -> Option<Span> {
    let at = text.get(span.clone())?.find(written)?;
    let start = span.start + at;
    Some(start..start + written.len())
}
