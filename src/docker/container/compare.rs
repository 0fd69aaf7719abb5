//! Comparing a container with what it should be. Pure.

use std::collections::BTreeSet;

use crate::{
    core::{
        change::Change,
        units::{format_bytes, format_cpus},
    },
    docker::{Container, Spec, container::labels, image::reference::exact},
};

/// What has to happen for a container to be what it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What can be changed while it runs.
    pub in_place: Vec<Change>,
    /// What needs a new container.
    pub replace: Vec<Change>,
}

impl Container {
    /// Compares with what it should be. `image_id` is the content that the server has under the
    /// image's name, if it has it.
    pub fn compare(&self, spec: &Spec, image_id: Option<&str>) -> Comparison {
        let mut replace = Vec::new();
        if let Some(id) = image_id.filter(|id| *id != self.image_id) {
            let short = |id: &str| {
                let id = id.trim_start_matches("sha256:");
                format!("{} ({})", self.image, id.get(..12).unwrap_or(id))
            };
            if self.image == exact(spec.image.name()) {
                replace.push(change(
                    "image",
                    Some(short(&self.image_id)),
                    Some(short(id)),
                ));
            }
        }
        // Made from just this: what the engine made of it is what was asked for.
        let same = self.labels.get(labels::SPEC).map(String::as_str) == Some(&spec.digest());
        if !same {
            replace.extend(self.differences(spec));
        }
        // What somebody may have changed since.
        if self.ports != spec.ports {
            replace.push(change("ports", list(&self.ports), list(&spec.ports)));
        }
        if self.volumes != spec.volumes {
            replace.push(change("volumes", list(&self.volumes), list(&spec.volumes)));
        }

        let mut in_place = Vec::new();
        let mut limit = |field: &str, old: u64, new: Option<u64>, text: fn(u64) -> String| {
            if old != new.unwrap_or(0) {
                let change = change(field, (old > 0).then(|| text(old)), new.map(text));
                // The engine cannot take a limit away from a container.
                match new {
                    Some(_) => in_place.push(change),
                    None => replace.push(change),
                }
            }
        };
        limit("max_memory", self.max_memory, spec.max_memory, format_bytes);
        limit("cpus", self.nano_cpus, spec.nano_cpus, format_cpus);
        let restart = spec.restart.name();
        if self.restart != restart {
            let (old, new) = (self.restart.clone(), restart.to_owned());
            in_place.push(change("restart", Some(old), Some(new)));
        }
        self.mask(&mut replace, spec);
        Comparison { in_place, replace }
    }

    /// Takes away the values of fields that are not shown, or were not when it was made.
    fn mask(&self, changes: &mut [Change], spec: &Spec) {
        let before = self.labels.get(labels::MASKED).map_or("", String::as_str);
        let before: BTreeSet<&str> = before.split(',').collect();
        for change in changes {
            let field = change.field.as_str();
            if spec.masked.contains(field) || before.contains(field) {
                for value in [&mut change.old, &mut change.new].into_iter().flatten() {
                    "***".clone_into(value);
                }
            }
        }
    }

    /// Every field that the spec sets, or did set when the container was made, and that differs.
    fn differences(&self, spec: &Spec) -> Vec<Change> {
        let mut changes = Vec::new();
        let keys = self.labels.get(labels::KEYS).map_or("", String::as_str);
        let was_set: BTreeSet<&str> = keys.split(',').filter(|key| !key.is_empty()).collect();

        if self.image != exact(spec.image.name()) {
            let new = spec.image.name().to_owned();
            changes.push(change("image", Some(self.image.clone()), Some(new)));
        }
        let mut field = |name: &str, old: String, new: Option<String>| {
            let was_set = was_set.contains(name);
            if new.as_ref().map_or(was_set, |new| *new != old) {
                // What nobody set is the engine's or the image's business.
                changes.push(change(name, was_set.then_some(old), new));
            }
        };
        let line = |words: &Vec<String>| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            shlex::try_join(words).unwrap_or_default()
        };
        field(
            "command",
            line(&self.command),
            spec.command.as_ref().map(line),
        );
        field(
            "entrypoint",
            line(&self.entrypoint),
            spec.entrypoint.as_ref().map(line),
        );
        field("hostname", self.hostname.clone(), spec.hostname.clone());
        field("user", self.user.clone(), spec.user.clone());
        field(
            "stop_timeout",
            self.stop_timeout.map(|s| s.to_string()).unwrap_or_default(),
            spec.stop_timeout.map(|s| s.to_string()),
        );
        if self.privileged != spec.privileged {
            let (old, new) = (self.privileged.to_string(), spec.privileged.to_string());
            changes.push(change("privileged", Some(old), Some(new)));
        }
        let maps = [
            ("environment", &self.environment, &spec.environment),
            ("labels", &self.labels, &spec.labels),
        ];
        for (name, have, want) in maps {
            for (key, value) in want {
                if have.get(key) != Some(value) {
                    let old = have.get(key).cloned();
                    changes.push(change(&format!("{name}.{key}"), old, Some(value.clone())));
                }
            }
            for key in was_set.iter().filter_map(|key| {
                key.strip_prefix(name)
                    .and_then(|key| key.strip_prefix('.'))
                    .filter(|key| !want.contains_key(*key))
            }) {
                let old = have.get(key).cloned();
                changes.push(change(&format!("{name}.{key}"), old, None));
            }
        }
        changes
    }
}

fn change(field: &str, old: Option<String>, new: Option<String>) -> Change {
    Change {
        field: field.to_owned(),
        old,
        new,
    }
}

fn list<T: ToString>(items: &BTreeSet<T>) -> Option<String> {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    (!items.is_empty()).then(|| items.join(", "))
}
