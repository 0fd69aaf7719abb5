//! Files from and to servers, by commands that every server has: no agent, and no SFTP, which
//! cannot become root.

mod atomic;
mod diff;
mod download;
mod error;
mod progress;
mod tree;
mod upload;

pub use atomic::{WriteOptions, put, size_check};
pub use diff::diff;
pub use download::Download;
pub use error::Error;
pub use progress::Progress;
pub use upload::Upload;

/// What came of a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferCounts {
    /// How many files were sent or fetched.
    pub transferred: usize,
    /// How many were there already.
    pub unchanged: usize,
    /// How many were removed at the other end.
    pub removed: usize,
}
