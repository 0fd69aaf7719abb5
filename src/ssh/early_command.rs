//! A command that is sent in the moment in which the server accepts the login, without waiting for
//! the confirmation of its channel. Saves a round trip.

use russh::ChannelMsg;
use tokio::sync::{mpsc, oneshot};

/// How many messages may be queued before the connection waits; they are received immediately.
const MESSAGES: usize = 100;

/// The side of the client handler, which sends the command.
pub(super) struct EarlyCommand {
    /// The line to send.
    pub line: String,
    /// Tells the connection that the command was sent.
    pub sent: oneshot::Sender<()>,
    /// Where the messages of the command's channel go.
    pub messages: mpsc::Sender<ChannelMsg>,
}

/// The side of the connection, which reads the command's output.
pub(super) struct EarlyChannel {
    /// Resolves when the command was sent; an error if it will not be.
    pub sent: oneshot::Receiver<()>,
    /// The messages of the command's channel.
    pub messages: mpsc::Receiver<ChannelMsg>,
}

impl EarlyCommand {
    /// Creates both sides.
    pub fn new(line: String) -> (Self, EarlyChannel) {
        let (sent, when_sent) = oneshot::channel();
        let (sender, messages) = mpsc::channel(MESSAGES);
        let command = EarlyCommand {
            line,
            sent,
            messages: sender,
        };
        let channel = EarlyChannel {
            sent: when_sent,
            messages,
        };
        (command, channel)
    }
}
