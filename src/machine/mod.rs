//! Where commands run: this machine, a server, a mock in `hitc test`.

mod lock;
pub mod mock;

pub use lock::Lock;
pub use mock::Mock;
