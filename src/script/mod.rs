//! The script host: the Rhai engine, scripts, tasks, arguments and execution.

mod args;
mod audit;
mod check;
mod config;
mod console;
mod coverage;
mod discover;
mod doc;
mod embedded;
mod engine;
mod error;
mod function;
mod invoke;
mod library;
mod limits;
mod module;
mod param;
mod provider;
mod recursion;
mod reference;
mod run;
mod scripts;
mod task;
#[cfg(test)]
mod tests;
mod unit;
mod warnings;

pub use args::{Bound, bind};
pub use audit::{Audit, audit, audit_text, bind_words};
pub use config::Config;
pub use console::Console;
pub use embedded::{
    built_in, built_in_namespaces, function_namespaces, missing_module, standard_module,
};
pub use param::{Param, Type};
pub use provider::scripted;
pub use run::{call_alone, enable_run_by_name, run};
pub use scripts::{Scripts, write_definitions};
pub use task::{Place, Task};
