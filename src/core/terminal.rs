//! The terminal of hitc, while a program elsewhere controls it: raw mode, input, size.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};
use tokio::sync::mpsc;

/// How often the reader of the input checks whether the terminal is still raw.
const POLL: Duration = Duration::from_millis(50);

/// The number of columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The width.
    pub columns: u16,
    /// The height.
    pub rows: u16,
}

/// Whether hitc reads from a terminal and writes to one.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The size of the terminal, if it has one.
pub fn size() -> Option<Size> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some(Size {
        columns: size.ws_col,
        rows: size.ws_row,
    })
}

/// The mode of the terminal, to restore when hitc ends while something has changed it.
pub struct TerminalMode(Option<Termios>);

impl TerminalMode {
    /// The mode now.
    pub fn current() -> Self {
        TerminalMode(tcgetattr(io::stdin()).ok())
    }

    /// Restores it.
    pub fn restore(&self) {
        if let Some(mode) = &self.0 {
            // The terminal may be gone.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, mode);
        }
    }
}

/// The terminal in raw mode: each key is passed on, also Ctrl-C. Dropping it restores the mode.
pub struct RawTerminal {
    before: Termios,
    is_over: Arc<AtomicBool>,
}

impl RawTerminal {
    /// Sets the mode. Returns what is typed, too.
    pub fn enter() -> io::Result<(Self, mpsc::Receiver<Bytes>)> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = mpsc::channel(16);
        let ended = is_over.clone();
        // A thread that waits with a time limit: a blocking read cannot be cancelled, and would
        // take the keys that are meant for the next program.
        std::thread::spawn(move || read(&ended, &sender));
        Ok((RawTerminal { before, is_over }, receiver))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Fails if the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

fn read(is_over: &AtomicBool, sender: &mpsc::Sender<Bytes>) {
    let stdin = io::stdin();
    let limit = Timespec {
        tv_sec: 0,
        tv_nsec: POLL.subsec_nanos().into(),
    };
    let mut buffer = [0; 4096];
    while !is_over.load(Ordering::Relaxed) {
        let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut polled, Some(&limit)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        // Not through the buffer of the standard library, which `poll` does not see.
        match rustix::io::read(&stdin, &mut buffer) {
            Ok(count @ 1..) => {
                let typed = Bytes::copy_from_slice(&buffer[..count]);
                if sender.blocking_send(typed).is_err() {
                    return;
                }
            }
            // The terminal is gone.
            Ok(_) | Err(_) => return,
        }
    }
}
