//! Operations on servers that take several steps: create, wait until ready, reboot.

mod cloud_firewall;
mod create;
mod image;
mod reboot;
mod wait;

pub use cloud_firewall::{Difference, Running, admitted, keep_open};
pub use create::{Order, Quote, check_name};
pub use image::{check_new_image, create_image};
pub use reboot::{reboot, wait_for};
pub use wait::bring_up;
