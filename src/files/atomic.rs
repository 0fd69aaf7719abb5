//! How a file comes to its place on a server: whole or not at all.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    files::Error,
    ssh::{Command, Connection, Input, quote},
};

/// Whose a file is, and who may do what with it.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Its mode, in octal digits. A file that was there keeps its own, unless this is set.
    pub mode: Option<String>,
    /// Its owner, as `user` or `user:group`. A file that was there keeps its own.
    pub owner: Option<String>,
    /// Written as root.
    pub sudo: bool,
    /// The folders above it are made.
    pub folders: bool,
}

impl WriteOptions {
    /// The command that moves the file `$t`, which was written beside its place, there.
    pub(super) fn finish(&self, path: &str, new_mode: &str) -> String {
        let target = quote(path);
        let owner = self.owner.as_ref().map_or(String::new(), |owner| {
            format!("; chown {} \"$t\"", quote(owner))
        });
        let mode = self
            .mode
            .as_ref()
            .map_or(String::new(), |mode| format!("; chmod {mode} \"$t\""));
        format!(
            "if [ -d {target} ]; then echo {target} is a folder >&2; exit 1; fi
             if [ -e {target} ]; then
             chown --reference={target} \"$t\"; chmod --reference={target} \"$t\"
             else chmod {new_mode} \"$t\"; fi{owner}{mode}; mv -f \"$t\" {target}"
        )
    }

    /// The command that makes the folders above a file, if that is wished for.
    pub(super) fn begin(&self, path: &str) -> String {
        if self.folders {
            format!("mkdir -p -- \"$(dirname -- {})\"; ", quote(path))
        } else {
            String::new()
        }
    }
}

/// The command that ends all if not all of the file `$t` has arrived: a connection that breaks looks
/// there like the end of the input.
pub fn size_check(size: u64) -> String {
    format!(
        "if [ \"$(wc -c <\"$t\")\" -ne {size} ]; then
         echo \"only $(wc -c <\"$t\") of {size} bytes have arrived\" >&2; exit 1; fi"
    )
}

/// Writes a file: beside its place first, as a file that was not there before (`-C`), and then
/// moved there. `new_mode` is for a file that was not there.
pub async fn put(
    connection: &Arc<Connection>,
    content: Bytes,
    path: &str,
    write_options: &WriteOptions,
    new_mode: &str,
) -> Result<(), Error> {
    let line = format!(
        "set -eC; {}t={}.$$; trap 'rm -f \"$t\"' EXIT; (umask 077; cat >\"$t\")\n{}\n{}",
        write_options.begin(path),
        quote(path),
        size_check(content.len() as u64),
        write_options.finish(path, new_mode)
    );
    let command = Command {
        stdin: Input::Bytes(content),
        sudo: write_options.sudo,
        ..Command::new(line)
    };
    let output = connection.run(&command).await?;
    Error::check(&connection.target().name, &format!("write {path}"), &output)
}
