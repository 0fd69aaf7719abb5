//! A command that is ready to be sent: encoded, with its run id and sudo markers.

use super::{
    Command,
    line::{EncodedCommand, SudoMarkers, encode, needs_sudo},
};

/// A command that is ready to be sent.
pub(super) struct PreparedCommand {
    /// What is sent.
    pub encoded: EncodedCommand,
    /// The id that the command's processes carry in their environment; none for an untracked one.
    pub run_id: Option<String>,
    /// Set if sudo may ask for the password.
    pub sudo: Option<SudoMarkers>,
}

impl PreparedCommand {
    /// Prepares a command for a login user. With `has_password`, a password for sudo is known; with
    /// `is_tracked`, the command's processes can be found and terminated.
    pub fn new(command: &Command, user: &str, has_password: bool, is_tracked: bool) -> Self {
        let random = || format!("{:016x}", fastrand::u64(..));
        let run_id = is_tracked.then(random);
        let sudo = (has_password && needs_sudo(command, user)).then(|| SudoMarkers {
            prompt: random(),
            started: random(),
        });
        PreparedCommand {
            encoded: encode(command, user, run_id.as_deref(), sudo.as_ref()),
            run_id,
            sudo,
        }
    }

    /// Whether the command is complete with its line: no input follows, and no password.
    pub fn is_line_only(&self, command: &Command) -> bool {
        self.sudo.is_none() && self.encoded.input.is_empty() && command.stdin.is_empty()
    }
}
