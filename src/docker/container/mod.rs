//! Containers: specs, observed containers, their comparison, and replacement.

mod api;
#[cfg(test)]
mod as_made;
mod body;
mod compare;
mod decode;
mod kind;
pub mod labels;
mod lifecycle;
mod lookup;
mod observed;
mod options;
mod podman;
mod ready;
mod replace;
mod restart;
mod setting;
mod spec;
mod table;
#[cfg(test)]
mod tests;
mod values;
mod volume;
mod wait;

#[cfg(test)]
pub(crate) use as_made::as_made;
pub use compare::Comparison;
pub(super) use lookup::is_name;
pub use observed::{Container, Listed, State, read_answers};
pub use ready::{Probe, Ready};
pub use replace::{Names as StepNames, Replacement};
pub use restart::Restart;
pub use spec::{Image, Pull, Spec};
pub use volume::Volume;
