//! File transfers by shell commands that every server has. Not by SFTP, which cannot use sudo. A
//! container without a shell has its files read and written by the engine.

mod diff;
mod download;
mod error;
mod pattern;
mod private_file;
mod progress;
mod raw;
mod staged;
mod tree;
mod upload;

pub use diff::diff;
pub use download::Download;
pub use error::Error;
pub use progress::Progress;
pub use raw::{digest, read_raw};
pub use tree::read_digests;
pub use upload::{Upload, UploadPreview};

/// How many files a transfer changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferCounts {
    /// Files that were transferred.
    pub transferred: usize,
    /// Files that were identical on both sides.
    pub unchanged: usize,
    /// Files that were removed at the destination.
    pub removed: usize,
    /// The size of what was transferred. Files of a folder are transferred as an archive.
    pub bytes: u64,
}
