//! Where commands run: the interface of a machine, servers, the local machine, the lock on a machine.

mod error;
mod interface;
mod local;
mod lock;
#[cfg(test)]
mod mock_machine;
mod raw_files;
mod server;
mod stream;
mod tracked;
mod write;

pub use error::{Cause, Error};
pub use interface::{Machine, OnOutput};
pub use local::Local;
pub use lock::{Lock, WeakLock};
#[cfg(test)]
pub use mock_machine::MockMachine;
pub use raw_files::{LocalContent, LocalFile, RawContent, RawFiles};
pub use server::Server;
pub(crate) use stream::CommandStream;
pub use stream::Stream;
pub(crate) use tracked::{Tracked, too_much, write_input};
pub use write::{WriteOptions, size_check};
