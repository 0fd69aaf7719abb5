//! What is in a folder, here and there, to send only what differs.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::Error;
use crate::ssh::{Command, Connection, quote};

/// The files of a folder by their paths below it, with the digests of their contents.
pub(super) type Tree = BTreeMap<String, String>;

/// Reads a folder of this machine. What is neither a file nor a folder is left out; with `links`,
/// links are what they lead to.
pub(super) fn here(folder: &Path, links: bool) -> Result<Tree, Error> {
    let mut tree = Tree::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(within) = folders.pop() {
        let full = folder.join(&within);
        for entry in fs::read_dir(&full).map_err(|error| Error::here(&full, error))? {
            let name = entry
                .map_err(|error| Error::here(&full, error))?
                .file_name();
            let path = within.join(name);
            let full = folder.join(&path);
            let metadata = if links {
                fs::metadata(&full)
            } else {
                fs::symlink_metadata(&full)
            };
            let metadata = metadata.map_err(|error| Error::here(&full, error))?;
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() {
                let digest = digest(&full, None).map_err(|error| Error::here(&full, error))?;
                tree.insert(path.to_string_lossy().into_owned(), digest);
            }
        }
    }
    Ok(tree)
}

/// The digest of a file, or of its beginning.
pub(super) fn digest(path: &Path, length: Option<u64>) -> io::Result<String> {
    let mut file = io::Read::take(fs::File::open(path)?, length.unwrap_or(u64::MAX));
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

/// Reads a folder of a server; it is empty if it is not there. With `links`, links are what they
/// lead to; without, they are left out, and nothing beyond the folder is seen.
pub(super) async fn there(
    connection: &Arc<Connection>,
    folder: &str,
    sudo: bool,
    links: bool,
) -> Result<Tree, Error> {
    let folder = quote(folder);
    let follow = if links { "-L " } else { "" };
    let command = Command {
        sudo,
        ..Command::new(format!(
            "[ -d {folder} ] || exit 0; cd -- {folder} && find {follow}. -type f -exec sha256sum {{}} +"
        ))
    };
    let output = connection.run(&command).await?;
    let host = &connection.target().name;
    Error::check(host, &format!("look into {folder}"), &output)?;
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads the lines of sha256sum. A name with a line end or a backslash in it is escaped, and the
/// line begins with a backslash.
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

/// Writes files of a folder as a tar archive.
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
    fn lines_of_sha256sum() {
        let tree = parse("aa  ./x y\n\\bb  ./a\\nb\n");
        let found: Vec<_> = tree.iter().map(|(p, d)| (p.as_str(), d.as_str())).collect();
        assert_eq!(found, [("a\nb", "bb"), ("x y", "aa")]);
    }
}
