//! The files of a folder with their digests, to transfer only the files that differ.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt,
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
pub(super) type Tree = BTreeMap<String, String>;

/// Reads a local folder. Skips everything that is neither a file nor a folder. Follows symbolic links
/// if `follow_links` is set, and skips them otherwise.
pub(super) fn read_local(folder: &Path, follow_links: bool) -> Result<Tree, Error> {
    let mut tree = Tree::new();
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
                tree.insert(path.to_string_lossy().into_owned(), digest);
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
pub(super) fn read_archive(archive: fs::File) -> io::Result<Tree> {
    let mut tree = Tree::new();
    for entry in tar::Archive::new(archive).entries()? {
        let entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
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

/// Reads a folder on a server; empty if the folder does not exist. Follows symbolic links if
/// `follow_links` is set, and skips them otherwise, so that no file outside the folder is listed.
pub(super) async fn read_remote(
    machine: &dyn Machine,
    folder: &str,
    sudo: bool,
    follow_links: bool,
) -> Result<Tree, Error> {
    let folder = quote(folder);
    let follow = if follow_links { "-L " } else { "" };
    let command = Command {
        sudo,
        ..Command::new(format!(
            "[ -d {folder} ] || exit 0; cd -- {folder} && find {follow}. -type f -exec sha256sum {{}} +"
        ))
    };
    let output = machine.run(&command).await?;
    let host = machine.name();
    Error::check(host, &format!("list {folder}"), &output)?;
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads the output of sha256sum.
pub fn read_digests(text: &str) {
    drop(parse(text));
}

/// Parses the output of sha256sum. A line that starts with a backslash has an escaped name: one with
/// a newline or backslash (sha256sum(1)).
fn parse(text: &str) -> Tree {
    let mut tree = Tree::new();
    for line in text.lines() {
        let (line, is_escaped) = match line.strip_prefix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        let Some((digest, path)) = line.split_once("  ") else {
            continue;
        };
        let path = path.strip_prefix("./").unwrap_or(path);
        let path = if is_escaped {
            path.replace("\\n", "\n").replace("\\\\", "\\")
        } else {
            path.to_owned()
        };
        tree.insert(path, digest.to_owned());
    }
    tree
}

/// Writes files of a folder to a tar archive; `mode` replaces their modes.
pub(super) fn archive(
    folder: &Path,
    paths: &[&String],
    mode: Option<u32>,
    into: &fs::File,
) -> io::Result<()> {
    let mut archive = tar::Builder::new(io::BufWriter::new(into));
    for path in paths {
        let mut file = fs::File::open(folder.join(path))?;
        let metadata = file.metadata()?;
        let mut header = tar::Header::new_gnu();
        header.set_metadata_in_mode(&metadata, tar::HeaderMode::Deterministic);
        header.set_mode(mode.unwrap_or(metadata.permissions().mode() & 0o777));
        archive.append_data(&mut header, path, &mut file)?;
    }
    io::Write::flush(&mut archive.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_escaped_names() {
        let tree = parse("aa  ./x y\n\\bb  ./a\\nb\n");
        let found: Vec<_> = tree.iter().map(|(p, d)| (p.as_str(), d.as_str())).collect();
        assert_eq!(found, [("a\nb", "bb"), ("x y", "aa")]);
    }
}
