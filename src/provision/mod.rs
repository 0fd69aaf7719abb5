//! The flows on servers: create, wait until ready, reboot, resize, rename.

mod create;
mod reboot;
mod wait;

pub use create::{Order, Quote, check_name};
pub use reboot::{reboot, wait_for};
pub use wait::bring_up;
