//! Containers: specs, observed containers, their comparison, and replacement.

mod body;
mod compare;
mod decode;
mod kind;
pub mod labels;
mod lifecycle;
mod observed;
mod options;
mod ready;
mod replace;
mod restart;
mod setting;
mod spec;
mod table;
#[cfg(test)]
mod tests;
mod volume;
mod wait;

pub use compare::Comparison;
#[cfg(test)]
pub(crate) use lifecycle::as_made;
pub(super) use lifecycle::is_name;
pub use observed::{Container, Listed, State};
pub use ready::Ready;
pub use replace::{Names as StepNames, Replacement};
pub use restart::Restart;
pub use spec::{Image, Pull, Spec};
pub use volume::Volume;
