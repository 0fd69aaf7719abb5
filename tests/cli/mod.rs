//! The program's exact output.

mod hosts;
mod manifests;
mod running;
mod scripts;
mod usage;
