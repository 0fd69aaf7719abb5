//! A command that is sent along as a connection is made.

use russh::ChannelMsg;
use tokio::sync::{mpsc, oneshot};

/// How many messages wait before the connection does; they are taken at once.
const MESSAGES: usize = 100;

/// A command that is sent along with the opening of its channel, in the moment in which we are
/// let in: a round trip is saved.
pub(super) struct Early {
    pub line: String,
    /// Is told when it was sent.
    pub begun: oneshot::Sender<()>,
    pub messages: mpsc::Sender<ChannelMsg>,
}

/// The other side of [`Early`].
pub(super) struct EarlyChannel {
    /// Resolves when the command was sent; an error, if it will not be.
    pub begun: oneshot::Receiver<()>,
    pub messages: mpsc::Receiver<ChannelMsg>,
}

impl Early {
    pub fn new(line: String) -> (Self, EarlyChannel) {
        let (begun, when_begun) = oneshot::channel();
        let (sender, messages) = mpsc::channel(MESSAGES);
        let early = Early {
            line,
            begun,
            messages: sender,
        };
        let channel = EarlyChannel {
            begun: when_begun,
            messages,
        };
        (early, channel)
    }
}
