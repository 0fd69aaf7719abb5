//! What would have to happen, as data and as text.

use std::fmt;

use super::Thing;
use crate::core::{change::Change, diagnostic::plural};

/// What has to happen to a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// It is made.
    Create,
    /// Its making was interrupted, and is finished.
    Finish,
    /// It is there and does not run.
    Start,
    /// It is changed while it runs.
    Update(Vec<Change>),
    /// Another takes its place.
    Replace(Vec<Change>),
    /// It may have to change; that depends on these, which are known after others are done.
    Unknown(Vec<String>),
}

/// One thing of a manifest and what has to happen to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The thing.
    pub thing: Thing,
    /// What it is: its provider or image.
    pub what: String,
    /// What has to happen.
    pub action: Action,
    /// The things that it waits for, its server apart.
    pub waits_for: Vec<Thing>,
}

/// Something that is there and not in the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// What it is.
    pub thing: Thing,
    /// Whether it was made for this manifest. Only then it may be removed.
    pub ours: bool,
}

/// All that has to happen for a manifest to be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The manifest's name.
    pub manifest: String,
    /// All things of the manifest; a server is followed by its containers.
    pub steps: Vec<Step>,
    /// What is there and not in the manifest.
    pub extra: Vec<Extra>,
    /// Whether what is not in the manifest, and ours, is removed.
    pub prune: bool,
}

/// What is said of the actions for which something holds.
type Count = (&'static str, fn(&Action) -> bool);

impl Plan {
    /// Whether nothing has to happen.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| step.action == Action::None) && self.pruned().next().is_none()
    }

    /// What is removed.
    pub fn pruned(&self) -> impl Iterator<Item = &Extra> {
        self.extra.iter().filter(|extra| self.prune && extra.ours)
    }

    /// One line that counts what happens: `2 servers to create, 1 container to replace`.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        let words: [Count; 6] = [
            ("to create", |a| matches!(a, Action::Create)),
            ("to finish", |a| matches!(a, Action::Finish)),
            ("to start", |a| matches!(a, Action::Start)),
            ("to change", |a| matches!(a, Action::Update(_))),
            ("to replace", |a| matches!(a, Action::Replace(_))),
            ("may change", |a| matches!(a, Action::Unknown(_))),
        ];
        for (word, matches) in words {
            let count = |is_server: bool| {
                let steps = self.steps.iter().filter(|step| matches(&step.action));
                steps
                    .filter(|step| matches!(step.thing, Thing::Server(_)) == is_server)
                    .count()
            };
            for (is_server, noun) in [(true, "server"), (false, "container")] {
                let count = count(is_server);
                if count > 0 {
                    parts.push(format!("{} {word}", plural(count, noun)));
                }
            }
        }
        let pruned = self.pruned().count();
        if pruned > 0 {
            parts.push(format!("{} to remove", plural(pruned, "thing")));
        }
        if parts.is_empty() {
            return "no changes".to_owned();
        }
        parts.join(", ")
    }
}

impl fmt::Display for Plan {
    /// A tree: each server with its containers, what happens to them, and the summary.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            let inside_changes = || {
                let inside = |other: &&Step| {
                    other.thing != step.thing && other.thing.server() == step.thing.server()
                };
                let mut others = self.steps.iter().filter(inside);
                others.any(|other| other.action != Action::None)
            };
            match (&step.thing, &step.action) {
                // A server that stays is only named for what happens on it.
                (Thing::Server(_), Action::None) if inside_changes() => {}
                (_, Action::None) => continue,
                _ => {}
            }
            write!(f, "{step}")?;
        }
        for extra in self.pruned() {
            writeln!(f, "- {}  not in the manifest: removed", extra.thing)?;
        }
        let kept: Vec<&Extra> = self
            .extra
            .iter()
            .filter(|extra| !(self.prune && extra.ours))
            .collect();
        if !kept.is_empty() {
            writeln!(f, "not in the manifest, and left alone:")?;
            for extra in kept {
                let ours = if extra.ours {
                    ", ours: prune=true removes it"
                } else {
                    ""
                };
                writeln!(f, "  {}{ours}", extra.thing)?;
            }
        }
        write!(f, "{}", self.summary())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mark, word) = match &self.action {
            Action::None => (" ", "stays"),
            Action::Create => ("+", "create"),
            Action::Finish => ("+", "finish"),
            Action::Start => ("~", "start"),
            Action::Update(_) => ("~", "change"),
            Action::Replace(_) => ("!", "replace"),
            Action::Unknown(_) => ("~", "may change"),
        };
        let (indent, name) = match &self.thing {
            Thing::Server(server) => ("", server),
            Thing::Container(_, container) => ("  ", container),
        };
        writeln!(f, "{indent}{mark} {name}  {word} ({})", self.what)?;
        if !self.waits_for.is_empty() {
            let names: Vec<String> = self.waits_for.iter().map(ToString::to_string).collect();
            writeln!(f, "{indent}    after {}", names.join(", "))?;
        }
        match &self.action {
            Action::Update(changes) | Action::Replace(changes) => {
                for change in changes {
                    let text = |side: &Option<String>| match side {
                        Some(text) => text.clone(),
                        None => "nothing".to_owned(),
                    };
                    let (old, new) = (text(&change.old), text(&change.new));
                    writeln!(f, "{indent}    {}: {old} → {new}", change.field)?;
                }
            }
            Action::Unknown(variables) => {
                writeln!(f, "{indent}    known later: {}", variables.join(", "))?;
            }
            _ => {}
        }
        Ok(())
    }
}
