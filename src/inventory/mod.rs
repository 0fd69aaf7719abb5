//! The inventory: all servers of all providers, their short-lived cache, and selection.

mod cache;
mod poll;
mod providers;
mod selection;

pub use cache::NodeCache;
pub use poll::NodePoll;
pub use providers::Providers;
pub use selection::Selection;
