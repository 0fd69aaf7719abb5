//! Operations on servers and volumes that take several steps: create, wait until ready, reboot, attach.

mod cloud_firewall;
mod create;
mod image;
mod reboot;
mod volume;
mod wait;

pub use cloud_firewall::{Difference, Running, admitted, keep_open};
pub use create::{Order, Quote, check_name};
pub use image::{check_new_image, create_image};
pub use reboot::{reboot, wait_for};
pub use volume::{
    attach_volume, create_volume, delete_volume, detach_volume, find_volume, grow_volume,
};
pub use wait::bring_up;
