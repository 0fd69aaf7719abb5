//! The scripting host: the Rhai engine, scripts and their tasks, arguments, running.

mod args;
mod check;
mod config;
mod doc;
mod embedded;
mod engine;
mod error;
mod library;
mod param;
mod run;
mod scripts;
mod task;
mod unit;

pub use args::{Bound, bind};
pub use config::Config;
pub use param::{Param, Type};
pub use run::run;
pub use scripts::Scripts;
pub use task::{Place, Task};
