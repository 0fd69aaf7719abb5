//! The program's exact output.

mod hosts;
mod manifests;
mod outside;
mod projects;
mod running;
mod scripts;
mod usage;
mod user_tests;
