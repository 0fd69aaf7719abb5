//! The files of a folder with their digests, to transfer only the files that differ.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::Error;
use crate::{
    machine::Machine,
    ssh::{Command, quote},
};

/// SHA-256 digests of the files of a folder, by their relative paths.
pub(super) type Digests = BTreeMap<PathBuf, String>;

/// The files of a folder on a server, by their relative paths.
pub(super) type Tree = BTreeMap<PathBuf, Found>;

/// A file on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The SHA-256 digest of its content.
    pub digest: String,
    /// Its permissions.
    pub mode: u32,
    /// The numbers of its owner and group, as `USER:GROUP`.
    pub owner: String,
}

/// What a listing does with symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// Follows them.
    Follow,
    /// Skips them, so that no file outside the folder is listed.
    Skip,
}

/// The length of a SHA-256 digest in hexadecimal digits.
const DIGITS: usize = 64;

/// Reads a local folder. Skips everything that is neither a file nor a folder. Follows symbolic links
/// if `follow_links` is set, and skips them otherwise.
pub(super) fn read_local(folder: &Path, follow_links: bool) -> Result<Digests, Error> {
    let mut tree = Digests::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(within) = folders.pop() {
        let full = folder.join(&within);
        for entry in fs::read_dir(&full).map_err(|error| Error::local(&full, error))? {
            let name = entry
                .map_err(|error| Error::local(&full, error))?
                .file_name();
            let path = within.join(name);
            let full = folder.join(&path);
            let metadata = if follow_links {
                fs::metadata(&full)
            } else {
                fs::symlink_metadata(&full)
            };
            let metadata = metadata.map_err(|error| Error::local(&full, error))?;
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() {
                let digest = digest(&full, None).map_err(|error| Error::local(&full, error))?;
                tree.insert(path, digest);
            }
        }
    }
    Ok(tree)
}

/// The SHA-256 digest of a file, or of its first `length` bytes.
pub(super) fn digest(path: &Path, length: Option<u64>) -> io::Result<String> {
    digest_of(io::Read::take(
        fs::File::open(path)?,
        length.unwrap_or(u64::MAX),
    ))
}

/// The digests of the files in an archive.
pub(super) fn read_archive(archive: fs::File) -> io::Result<Digests> {
    let mut tree = Digests::new();
    for entry in tar::Archive::new(archive).entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        tree.insert(path, digest_of(entry)?);
    }
    Ok(tree)
}

/// The SHA-256 digest of a content, in hexadecimal digits.
pub(super) fn digest_of(mut file: impl io::Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(HEXLOWER.encode(&hash.finalize()))
}

/// Reads a folder on a server. It must exist if links are followed, which is for downloads; a folder
/// that is missing is empty otherwise.
pub(super) async fn read_remote(
    machine: &dyn Machine,
    folder: &str,
    sudo: bool,
    links: Links,
) -> Result<Tree, Error> {
    let quoted = quote(folder);
    let (missing, follow) = match links {
        Links::Follow => (String::new(), "-L "),
        Links::Skip => (format!("[ -d {quoted} ] || exit 0; "), ""),
    };
    let line = format!(
        "{missing}cd -- {quoted} && find {follow}. -type f -exec sh -c {} sh {{}} +",
        quote(LIST)
    );
    let command = Command {
        sudo,
        ..Command::new(line)
    };
    let output = machine.run(&command).await?;
    let host = machine.name();
    let what = format!("list {folder}");
    Error::check(host, &what, &output)?;
    parse(&output.stdout).ok_or_else(|| Error::Remote {
        host: host.to_owned(),
        what,
        cause: "unexpected output of `sha256sum`".to_owned(),
    })
}

/// Reads a list of files and their digests.
pub fn read_digests(list: &[u8]) {
    drop(parse(list));
}

/// Prints the names of its arguments, each with a NUL at its end, and another NUL; then a line with
/// owner and mode for each, then a line of sha256sum for each.
const LIST: &str =
    "printf '%s\\0' \"$@\" '' && stat -Lc '%u:%g %a' -- \"$@\" && sha256sum -- \"$@\"";

/// Parses the output of [`LIST`], run once or several times. None if it is wrong.
fn parse(mut rest: &[u8]) -> Option<Tree> {
    let mut tree = Tree::new();
    while !rest.is_empty() {
        let mut names = Vec::new();
        loop {
            match take(&mut rest, 0)? {
                [] => break,
                name => names.push(name),
            }
        }
        let mut facts = Vec::new();
        for _ in &names {
            let line = std::str::from_utf8(take(&mut rest, b'\n')?).ok()?;
            let (owner, mode) = line.split_once(' ')?;
            facts.push((owner.to_owned(), u32::from_str_radix(mode, 8).ok()?));
        }
        for (name, (owner, mode)) in names.into_iter().zip(facts) {
            let digest = checksum(&mut rest, name)?;
            let name = name.strip_prefix(b"./").unwrap_or(name);
            let path = PathBuf::from(OsString::from_vec(name.to_vec()));
            tree.insert(
                path,
                Found {
                    digest,
                    mode,
                    owner,
                },
            );
        }
    }
    Some(tree)
}

/// Takes the bytes up to a delimiter.
fn take<'a>(rest: &mut &'a [u8], delimiter: u8) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == delimiter)?;
    let (taken, after) = rest.split_at(end);
    *rest = after.get(1..)?;
    Some(taken)
}

/// Takes the line of sha256sum for a file. A line that starts with a backslash has a name in which
/// line ends and backslashes are escaped (sha256sum(1)); BusyBox escapes nothing.
fn checksum(rest: &mut &[u8], name: &[u8]) -> Option<String> {
    let expected = match rest.strip_prefix(b"\\") {
        Some(after) => {
            *rest = after;
            escape(name)
        }
        None => name.to_vec(),
    };
    let (digest, after) = rest.split_at_checked(DIGITS)?;
    let after = after
        .strip_prefix(b"  ")?
        .strip_prefix(expected.as_slice())?;
    *rest = after.strip_prefix(b"\n")?;
    let digest = std::str::from_utf8(digest).ok()?;
    Some(digest.to_owned())
}

fn escape(name: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in name {
        match byte {
            b'\\' => escaped.extend_from_slice(b"\\\\"),
            b'\n' => escaped.extend_from_slice(b"\\n"),
            b'\r' => escaped.extend_from_slice(b"\\r"),
            byte => escaped.push(*byte),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    const NAMES: [&[u8]; 6] = [b"x y", b"a\nb", b"a\\nb", b"\\", b"a\\\nb", b"\xff\xfe"];

    /// The names come back byte by byte, from programs that escape them and from those that do not.
    #[test]
    fn names_come_back_byte_by_byte() {
        let digest = "a".repeat(DIGITS);
        for is_escaped in [true, false] {
            let mut output = Vec::new();
            for name in NAMES {
                output.extend([b"./", name, b"\0"].concat());
            }
            output.push(0);
            output.extend(b"0:33 644\n".repeat(NAMES.len()));
            for name in NAMES {
                let name = [b"./", name].concat();
                if is_escaped && escape(&name) != name {
                    let name = escape(&name);
                    output.extend([b"\\", digest.as_bytes(), b"  ", &name, b"\n"].concat());
                } else {
                    output.extend([digest.as_bytes(), b"  ", &name, b"\n"].concat());
                }
            }
            let tree = parse(&output.repeat(2)).unwrap();
            let mut found: Vec<&[u8]> = tree
                .keys()
                .map(|path| path.as_os_str().as_bytes())
                .collect();
            let mut expected = NAMES.to_vec();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected);
            assert!(tree.values().all(|found| found.digest == digest
                && found.mode == 0o644
                && found.owner == "0:33"));
            for end in 1..output.len() {
                assert_eq!(parse(&output[..end]), None, "{end}");
            }
        }
        assert_eq!(parse(b""), Some(Tree::new()));
    }
}
