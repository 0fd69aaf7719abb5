//! Atomic writes on a server: to a temporary file next to the target, which is then renamed.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    files::Error,
    ssh::{Command, Connection, Input, quote},
};

/// The mode and owner of a written file, and how it is written.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// The mode, in octal digits. By default an existing file keeps its mode.
    pub mode: Option<String>,
    /// The owner, as `user` or `user:group`. By default an existing file keeps its owner.
    pub owner: Option<String>,
    /// Writes as root.
    pub sudo: bool,
    /// Creates missing parent folders.
    pub folders: bool,
}

impl WriteOptions {
    /// The shell command that sets the mode and owner of the temporary file `$t`, and renames it to
    /// `path`. `new_mode` is the mode of a file that does not exist yet.
    pub(super) fn rename_command(&self, path: &str, new_mode: &str) -> String {
        let target = quote(path);
        let owner = self.owner.as_ref().map_or(String::new(), |owner| {
            format!("; chown {} \"$t\"", quote(owner))
        });
        let mode = self
            .mode
            .as_ref()
            .map_or(String::new(), |mode| format!("; chmod {mode} \"$t\""));
        format!(
            "if [ -d {target} ]; then echo {target}: is a folder >&2; exit 1; fi
             if [ -e {target} ]; then
             chown --reference={target} \"$t\"; chmod --reference={target} \"$t\"
             else chmod {new_mode} \"$t\"; fi{owner}{mode}; mv -f \"$t\" {target}"
        )
    }

    /// The shell command that creates the parent folders, if they are to be created.
    pub(super) fn parents_command(&self, path: &str) -> String {
        if self.folders {
            format!("mkdir -p -- \"$(dirname -- {})\"; ", quote(path))
        } else {
            String::new()
        }
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

/// Writes a file atomically. `new_mode` is the mode of a file that does not exist yet.
///
/// The temporary file must not exist (`set -C`), so that nothing is written through a link that
/// another user put there.
pub async fn put(
    connection: &Arc<Connection>,
    content: Bytes,
    path: &str,
    write_options: &WriteOptions,
    new_mode: &str,
) -> Result<(), Error> {
    let line = format!(
        "set -eC; {}t={}.$$; trap 'rm -f \"$t\"' EXIT; (umask 077; cat >\"$t\")\n{}\n{}",
        write_options.parents_command(path),
        quote(path),
        size_check(content.len() as u64),
        write_options.rename_command(path, new_mode)
    );
    let command = Command {
        stdin: Input::Bytes(content),
        sudo: write_options.sudo,
        ..Command::new(line)
    };
    let output = connection.run(&command).await?;
    Error::check(&connection.target().name, &format!("write {path}"), &output)
}
