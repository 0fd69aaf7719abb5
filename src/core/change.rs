//! A field that differs between the observed and the wanted state of a resource.

use serde::{Deserialize, Serialize};

/// One changed field of a server or a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The field's name, as in the manifest.
    pub field: String,
    /// The observed value; none if the field is not set.
    pub old: Option<String>,
    /// The wanted value; none if the field is to be removed.
    pub new: Option<String>,
}

impl Change {
    /// Creates a changed field.
    pub fn new(field: impl Into<String>, old: Option<String>, new: Option<String>) -> Self {
        Change {
            field: field.into(),
            old,
            new,
        }
    }
}
