//! All servers of all providers, and how to select among them.

mod cache;
mod poll;
mod providers;
mod selection;

pub use cache::NodeCache;
pub use poll::NodePoll;
pub use providers::Providers;
pub use selection::Selection;
