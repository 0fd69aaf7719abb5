//! Running over many hosts: the selection, batches, failure limits, concurrency, the recap.

mod drive;
mod recap;
mod rollout;
mod selection;
mod threads;

pub use drive::Drive;
pub use recap::{HostResult, OnSuccess, finish};
pub use rollout::{Portion, Rollout};
pub use selection::Selection;
pub use threads::{MAX_THREADS, alone, threads_are_exhausted};
