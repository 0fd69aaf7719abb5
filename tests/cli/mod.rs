//! The program's exact output.

mod manifests;
mod running;
mod scripts;
mod usage;
