//! The labels that hitc puts on containers, and what they say about a container's owner.

use std::collections::{BTreeMap, HashMap};

use crate::core::owner::{Owner, Ownership};

/// The id of the project that a container belongs to.
pub const PROJECT: &str = "hitc.project";
/// The manifest that a container belongs to. Absent if a task created the container.
pub const MANIFEST: &str = "hitc.manifest";
/// The final name of the container. It has other names during a replacement.
pub const NAME: &str = "hitc.name";
/// The full id of the container that this one replaces.
pub const REPLACES: &str = "hitc.replaces";
/// The digest of the spec that a container was created from.
pub const SPEC: &str = "hitc.spec";
/// The names of the options that the spec set.
pub const KEYS: &str = "hitc.keys";
/// The names of the options whose values are not shown.
pub const MASKED: &str = "hitc.masked";

/// The id of the project that built an image. Containers of the image inherit it, so it is another label
/// than that of their own project.
pub const BUILT: &str = "hitc.built.project";

/// The labels of a container of this owner, whose final name is `name`.
pub fn of(owner: &Owner, name: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (PROJECT.to_owned(), owner.project.clone()),
        (NAME.to_owned(), name.to_owned()),
    ]);
    if let Some(manifest) = &owner.manifest {
        labels.insert(MANIFEST.to_owned(), manifest.clone());
    }
    labels
}

/// Of a container's labels, those of its owner: for the volumes and networks that are created with it.
pub fn of_owner(labels: &BTreeMap<String, String>) -> HashMap<String, String> {
    let owner = labels
        .iter()
        .filter(|(key, _)| [PROJECT, MANIFEST].contains(&key.as_str()));
    owner
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Reads the owner from the labels of a container, network or volume.
pub fn ownership(labels: &BTreeMap<String, String>) -> Ownership {
    let manifest = labels.get(MANIFEST).cloned();
    match labels.get(PROJECT) {
        Some(project) => Ownership::Owner(Owner {
            project: project.clone(),
            manifest,
        }),
        None if manifest.is_some() || labels.contains_key(SPEC) => Ownership::Legacy(manifest),
        None => Ownership::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        let owner = |manifest: Option<&str>| Owner {
            project: "p".to_owned(),
            manifest: manifest.map(str::to_owned),
        };
        let read = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            ownership(&pairs.collect())
        };
        for manifest in [None, Some("shop")] {
            let owner = owner(manifest);
            assert!(ownership(&of(&owner, "web")).is(&owner));
        }
        assert_eq!(read(&[("a", "b")]), Ownership::Foreign);
        assert_eq!(read(&[(SPEC, "v1:0")]), Ownership::Legacy(None));
        assert_eq!(
            read(&[(SPEC, "v1:0"), (MANIFEST, "shop")]),
            Ownership::Legacy(Some("shop".to_owned()))
        );
    }
}
