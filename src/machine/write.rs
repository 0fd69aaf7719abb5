//! Atomic writes: to a temporary file next to the target, which is then renamed.

use crate::ssh::quote;

/// The mode of a file that does not exist yet, unless the caller sets one.
const NEW_MODE: &str = "644";

/// The mode and owner of a written file, and how it is written.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// The mode, in octal digits. By default an existing file keeps its mode.
    pub mode: Option<String>,
    /// The mode of a file that does not exist yet, in octal digits; 644 by default.
    pub new_mode: Option<String>,
    /// Takes the permissions of other users from a file that exists, unless `mode` is set.
    pub is_private: bool,
    /// The owner, as `user` or `user:group`. By default an existing file keeps its owner.
    pub owner: Option<String>,
    /// Writes as root.
    pub sudo: bool,
    /// Creates missing parent folders.
    pub folders: bool,
}

impl WriteOptions {
    /// The shell command that sets the mode and owner of the temporary file `$t`, and renames it to
    /// `path`. Uses only options that BusyBox supports.
    pub fn rename_command(&self, path: &str) -> String {
        let target = quote(path);
        let owner = self.owner.as_ref().map_or(String::new(), |owner| {
            format!("; chown {} \"$t\"", quote(owner))
        });
        let mode = self.mode.as_ref().map_or(String::new(), |mode| {
            format!("; chmod {} \"$t\"", quote(mode))
        });
        let private = if self.is_private {
            "; chmod o= \"$t\""
        } else {
            ""
        };
        let new_mode = quote(self.new_mode.as_deref().unwrap_or(NEW_MODE));
        format!(
            "if [ -d {target} ]; then echo {target}: is a folder >&2; exit 1; fi
             if [ -e {target} ]; then
             chown \"$(stat -Lc %u:%g -- {target})\" \"$t\"; chmod \"$(stat -Lc %a -- {target})\" \"$t\"{private}
             else chmod {new_mode} \"$t\"; fi{owner}{mode}; mv -f -- \"$t\" {target}"
        )
    }

    /// The shell command that creates the parent folders, if they are to be created.
    pub fn parents_command(&self, path: &str) -> String {
        if self.folders {
            format!("mkdir -p -- \"$(dirname -- {})\"; ", quote(path))
        } else {
            String::new()
        }
    }

    /// The shell command that writes `size` bytes from its standard input to `path`.
    ///
    /// The temporary file must not exist (`set -C`), so that nothing is written through a link that
    /// another user put there.
    pub(super) fn write_command(&self, path: &str, size: usize) -> String {
        format!(
            "set -eC; {}t={}.$$; trap 'rm -f -- \"$t\"' EXIT; (umask 077; cat >\"$t\")\n{}\n{}",
            self.parents_command(path),
            quote(path),
            size_check(size as u64),
            self.rename_command(path)
        )
    }
}

/// The shell command that fails unless the file `$t` is complete. On the server, a broken connection
/// looks like the end of the input.
pub fn size_check(size: u64) -> String {
    format!(
        "if [ \"$(wc -c <\"$t\")\" -ne {size} ]; then
         echo \"received only $(wc -c <\"$t\") of {size} bytes\" >&2; exit 1; fi"
    )
}
