//! Compares a container with its spec. Pure.

use std::collections::BTreeSet;

use super::{
    labels,
    setting::Setting,
    table::{ROWS, Row, Unset},
};
use crate::{
    core::change::Change,
    docker::{Container, Spec, image::reference::exact},
};

/// The mask of a secret value.
const MASK: &str = "***";

/// The differences between a container and its spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The options that can be updated while the container runs.
    pub in_place: Vec<Change>,
    /// The options that need a new container.
    pub replace: Vec<Change>,
}

impl Container {
    /// Compares a container with a spec. `image_id` is the id of the image that the server has
    /// under the name in the spec, if any.
    pub fn compare(&self, spec: &Spec, image_id: Option<&str>) -> Comparison {
        let label = self.labels.get(labels::SPEC);
        // Created from an equal spec: what the image and the engine added is as it was.
        let is_same = label.is_some_and(|label| spec.has_digest(label));
        let mut comparison = Comparison::default();
        comparison
            .replace
            .extend(self.image_change(spec, image_id, is_same));
        for row in &ROWS {
            for mut change in self.changes(row, spec, is_same) {
                self.mask(&mut change, spec);
                // The engine cannot remove a limit from a container.
                if row.in_place && change.new.is_some() {
                    comparison.in_place.push(change);
                } else {
                    comparison.replace.push(change);
                }
            }
        }
        comparison
    }

    fn image_change(&self, spec: &Spec, image_id: Option<&str>, is_same: bool) -> Option<Change> {
        if self.image == exact(spec.image.name()) {
            let id = image_id.filter(|id| *id != self.image_id)?;
            let short = |id: &str| {
                let id = id.trim_start_matches("sha256:");
                format!("{} ({})", self.image, id.get(..12).unwrap_or(id))
            };
            return Some(Change::new(
                "image",
                Some(short(&self.image_id)),
                Some(short(id)),
            ));
        }
        let new = Some(spec.image.name().to_owned());
        (!is_same).then(|| Change::new("image", Some(self.image.clone()), new))
    }

    /// The changes of one option.
    fn changes(&self, row: &Row, spec: &Spec, is_same: bool) -> Vec<Change> {
        let (have, want) = (self.options.get(row.key), spec.options.get(row.key));
        if row.unset == Unset::Zero {
            let text = |setting: Option<&Setting>| setting.unwrap_or(&row.kind.zero()).text();
            let (old, new) = (text(have), text(want));
            let change = (old != new).then(|| Change::new(row.key, old, new));
            return change.into_iter().collect();
        }
        if is_same {
            return Vec::new();
        }
        let keys = self.labels.get(labels::KEYS).map_or("", String::as_str);
        let was_set: BTreeSet<&str> = keys.split(',').filter(|key| !key.is_empty()).collect();
        if row.kind.is_map() {
            return self.map_changes(row, spec, &was_set);
        }
        let was_set = was_set.contains(row.key);
        let text = |setting: Option<&Setting>| setting.and_then(Setting::text);
        let (old, new) = (text(have), text(want));
        let differs = match want {
            Some(_) => old != new,
            None => was_set,
        };
        // The old value is shown only if the user set it, not if the image did.
        let change = differs.then(|| Change::new(row.key, old.filter(|_| was_set), new));
        change.into_iter().collect()
    }

    fn map_changes(&self, row: &Row, spec: &Spec, was_set: &BTreeSet<&str>) -> Vec<Change> {
        let (have, want) = (self.options.map(row.key), spec.options.map(row.key));
        let field = |name: &str| format!("{}.{name}", row.key);
        let changed = want
            .iter()
            .filter(|(name, value)| have.get(*name) != Some(*value));
        let mut changes: Vec<Change> = changed
            .map(|(name, value)| {
                Change::new(field(name), have.get(name).cloned(), Some(value.clone()))
            })
            .collect();
        let names = was_set.iter().filter_map(|key| {
            let name = key.strip_prefix(row.key)?.strip_prefix('.')?;
            (!want.contains_key(name)).then_some(name)
        });
        changes.extend(names.map(|name| Change::new(field(name), have.get(name).cloned(), None)));
        changes
    }

    /// Masks the values of a field that is secret in the spec, or was secret when the container was
    /// created.
    fn mask(&self, change: &mut Change, spec: &Spec) {
        let before = self.labels.get(labels::MASKED).map_or("", String::as_str);
        let field = change.field.as_str();
        if spec.masks(field) || before.split(',').any(|masked| masked == field) {
            for value in [&mut change.old, &mut change.new].into_iter().flatten() {
                MASK.clone_into(value);
            }
        }
    }
}
