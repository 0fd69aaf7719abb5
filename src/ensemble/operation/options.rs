//! The options of a server or container in an operation.

use std::{ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ensemble::manifest::Tree;

/// Options with their variables unresolved. The copies that a `count` makes share them.
#[derive(Clone, Debug, PartialEq)]
pub struct Options(Arc<Tree>);

impl From<&Arc<Tree>> for Options {
    fn from(tree: &Arc<Tree>) -> Self {
        Options(tree.clone())
    }
}

impl Deref for Options {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        &self.0
    }
}

impl Serialize for Options {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Tree::deserialize(deserializer).map(|tree| Options(Arc::new(tree)))
    }
}
