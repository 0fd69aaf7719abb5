//! The HTTP requests of a test, and the answers to them.

use std::sync::Mutex;

use super::Rules;
use crate::{
    core::sync::lock,
    http::{Reply, Sent},
};

/// The requests and the answers.
#[derive(Default)]
pub(super) struct Requests {
    /// By `METHOD URL`.
    pub replies: Rules<Reply>,
    /// All that were sent, in order.
    pub sent: Mutex<Vec<Sent>>,
}

impl Requests {
    /// Removes all, for the next test.
    pub fn clear(&self) {
        self.replies.clear();
        lock(&self.sent).clear();
    }
}
