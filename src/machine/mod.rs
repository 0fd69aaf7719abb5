//! Where commands run: the interface of a machine, mocks for `hitc test`, the lock on a server.

mod interface;
mod lock;
pub mod mock;
mod server;

pub use interface::Machine;
pub use lock::Lock;
pub use mock::Mock;
pub use server::Server;
