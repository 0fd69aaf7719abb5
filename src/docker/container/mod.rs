//! Containers: what one should be, what one is, and the steps from one to the other.

mod compare;
mod decode;
pub mod labels;
mod lifecycle;
mod observed;
mod ready;
mod replace;
mod spec;

#[cfg(test)]
pub(crate) use lifecycle::as_made;
pub use observed::{Container, Listed, State};
pub use ready::Ready;
pub use replace::{Names as StepNames, Replacement};
pub use spec::{Image, Pull, Restart, Spec, Volume};
