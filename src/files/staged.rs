//! The archive of files for a folder on a server, with what `place_folder.sh` needs to move them to
//! their places.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
};

use super::tree::Tree;

/// The mode of the lists in the archive.
const LIST_MODE: u32 = 0o600;

/// The changes to the files of a folder.
pub(super) struct Staged<'a> {
    from: &'a Path,
    /// By their paths below the folder. Parents come before what is in them.
    folders: BTreeMap<&'a Path, Changes<'a>>,
}

/// The changes in one folder: names of files.
#[derive(Default)]
struct Changes<'a> {
    moved: Vec<&'a Path>,
    removed: Vec<&'a Path>,
}

impl<'a> Staged<'a> {
    /// Stages these files of the local folder `from`, and the removal of others.
    pub fn new(from: &'a Path, changed: &[&'a Path], extra: &[&'a Path]) -> Self {
        let mut folders: BTreeMap<&Path, Changes<'_>> = BTreeMap::new();
        let parent = |path: &'a Path| path.parent().unwrap_or(Path::new(""));
        for path in changed {
            folders.entry(parent(path)).or_default().moved.push(path);
        }
        for path in extra {
            folders.entry(parent(path)).or_default().removed.push(path);
        }
        Staged { from, folders }
    }

    /// Writes the archive. A file that is in `remote` keeps its mode and owner; `mode` replaces all
    /// modes.
    pub fn write(&self, remote: &Tree, mode: Option<u32>, into: &File) -> io::Result<()> {
        let mut archive = tar::Builder::new(io::BufWriter::new(into));
        let (mut folders, mut owned) = (Vec::new(), BTreeMap::<&str, Vec<u8>>::new());
        for (number, (folder, changes)) in self.folders.iter().enumerate() {
            writeln!(folders, "{number} {}", escape(folder))?;
            let (mut moved, mut removed) = (Vec::new(), Vec::new());
            for path in &changes.moved {
                let staged = Path::new(&number.to_string()).join(name(path));
                let kept = remote.get(*path);
                let mut file = File::open(self.from.join(path))?;
                let metadata = file.metadata()?;
                let own = metadata.permissions().mode();
                let mode = mode.or(kept.map(|kept| kept.mode)).unwrap_or(own);
                let size = metadata.len();
                append(&mut archive, &staged, mode & 0o777, size, &mut file)?;
                let staged = staged.as_os_str().as_bytes();
                push(&mut moved, &[b"/proc/self/fd/3/", staged]);
                if let Some(kept) = kept {
                    push(owned.entry(&kept.owner).or_default(), &[b"./", staged]);
                }
            }
            for path in &changes.removed {
                push(&mut removed, &[b"./", name(path).as_os_str().as_bytes()]);
            }
            for (list, names) in [("moved", moved), ("removed", removed)] {
                if !names.is_empty() {
                    append_list(&mut archive, &format!("{list}/{number}"), &names)?;
                }
            }
        }
        let mut owners = Vec::new();
        for (number, (owner, names)) in owned.iter().enumerate() {
            writeln!(owners, "{number} {owner}")?;
            append_list(&mut archive, &format!("owned/{number}"), names)?;
        }
        append_list(&mut archive, "owners", &owners)?;
        append_list(&mut archive, "folders", &folders)?;
        append_list(&mut archive, "complete", b"")?;
        archive.into_inner()?.flush()
    }
}

fn name(path: &Path) -> &Path {
    path.file_name().map_or(path, Path::new)
}

/// Adds a name to a list.
fn push(names: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        names.extend_from_slice(part);
    }
    names.push(0);
}

/// A path for `printf %b`, with a dot at its end, which preserves a line end before it.
fn escape(path: &Path) -> String {
    let escaped = path.as_os_str().as_bytes().iter().map(|byte| {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            char::from(*byte).to_string()
        } else {
            format!("\\0{byte:03o}")
        }
    });
    escaped.collect::<String>() + "."
}

fn append_list(
    archive: &mut tar::Builder<impl Write>,
    path: &str,
    content: &[u8],
) -> io::Result<()> {
    let size = content.len() as u64;
    append(archive, Path::new(path), LIST_MODE, size, content)
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    path: &Path,
    mode: u32,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default());
    let mut content = content.take(size);
    archive.append_data(&mut header, path, &mut content)?;
    if content.limit() > 0 {
        let text = format!("`{}` changed while it was read", path.display());
        return Err(io::Error::other(text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped() {
        assert_eq!(escape(Path::new("a/b-1.c")), "a/b-1.c.");
        assert_eq!(escape(Path::new("a\\n \n")), "a\\0134n\\0040\\0012.");
    }
}
