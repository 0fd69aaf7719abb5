//! The flows on servers: create, wait until ready.

mod wait;

pub use wait::bring_up;
