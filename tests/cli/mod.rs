//! The program's exact output.

mod check;
mod completion;
mod console;
mod flags;
mod fleets;
mod foreign_files;
mod hosts;
mod limits;
mod manifests;
mod outside;
mod projects;
mod readme;
mod running;
mod scripts;
mod secrets;
mod stdlib;
mod task_calls;
mod usage;
mod user_tests;
