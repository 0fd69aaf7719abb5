//! Atomic writes: to a private folder next to the target, from which the complete file is renamed.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::ssh::quote;

/// The mode of a file that does not exist yet, unless the caller sets one.
const NEW_MODE: &str = "644";
/// The functions that write files where other users may change folders and links.
const PLACE: &str = include_str!("place.sh");
/// Writes the files of a folder.
const PLACE_FOLDER: &str = include_str!("place_folder.sh");

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
    /// The shell command that writes `size` bytes from its standard input to `path`.
    pub(super) fn write_command(&self, path: &str, size: usize) -> String {
        format!(
            "{}stage_new; (umask 077; cat >file)\n{}\n{}",
            self.go_to_parent(path),
            size_check("file", size as u64),
            self.finish()
        )
    }

    /// The shell command that prints the size and the SHA-256 digest of the part of an interrupted
    /// upload to `path`, or nothing.
    pub fn part_command(&self, path: &str) -> String {
        format!(
            "{}stage_part {}; if [ -f file ]; then wc -c <file; sha256sum <file; fi",
            self.go_to_parent(path),
            part(path)
        )
    }

    /// The shell command that writes `size` bytes to `path`: it continues the part of an interrupted
    /// upload if `is_continued`, and keeps it if it is interrupted. `check` is a command that fails
    /// if the file `file` is wrong.
    pub fn resume_command(&self, path: &str, size: u64, is_continued: bool, check: &str) -> String {
        let (begin, into) = if is_continued {
            ("", ">>")
        } else {
            ("rm -f file; ", ">")
        };
        format!(
            "{}stage_part {}; {begin}(umask 077; cat {into}file)\n{}\n{check}\n{}\nclear_stage",
            self.go_to_parent(path),
            part(path),
            size_check("file", size),
            self.finish()
        )
    }

    /// The shell command that writes files to a folder, from an archive on its standard input; see
    /// `place_folder.sh`. The folder is created if it is missing.
    pub fn folder_command(&self, folder: &str) -> String {
        let make = if self.folders { "all" } else { "last" };
        format!(
            "set -e\npath={0} make={make} owner={1}\n{PLACE}walk {0}\n{PLACE_FOLDER}",
            quote(folder),
            quote(self.owner.as_deref().unwrap_or_default()),
        )
    }

    /// Goes to the folder of a file.
    fn go_to_parent(&self, path: &str) -> String {
        let (folder, name) = match path.rsplit_once('/') {
            Some(("", name)) => ("/", name),
            Some(parts) => parts,
            None => ("", path),
        };
        let make = if self.folders { "all" } else { "" };
        let check = if ["", ".", ".."].contains(&name) {
            "fail 'is a folder'\n"
        } else {
            ""
        };
        format!(
            "set -e\npath={} make={make} name={}\n{PLACE}{check}walk {}\n",
            quote(path),
            quote(name),
            quote(folder)
        )
    }

    fn finish(&self) -> String {
        format!(
            "finish {} {} {} {}",
            quote(self.new_mode.as_deref().unwrap_or(NEW_MODE)),
            quote(self.owner.as_deref().unwrap_or_default()),
            quote(self.mode.as_deref().unwrap_or_default()),
            if self.is_private { "private" } else { "''" }
        )
    }
}

/// The private folder for the part of an upload to `path`. Also a long file name has one.
fn part(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let digest = HEXLOWER.encode(&Sha256::digest(name));
    format!(".hitc-part-{}", &digest[..16])
}

/// The shell command that fails unless a file is complete. On the server, a broken connection looks
/// like the end of the input.
pub fn size_check(file: &str, size: u64) -> String {
    format!(
        "if [ \"$(wc -c <{file})\" -ne {size} ]; then
         echo \"received only $(wc -c <{file}) of {size} bytes\" >&2; exit 1; fi"
    )
}
