//! Reads text files of the user. What is no regular file, or has no end, is refused.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

use crate::core::units::human_bytes;

/// The limit for lists, scripts and env files.
pub const USUAL_LIMIT: u64 = 16 << 20;

/// Opens a regular file. Does not wait for the writer of a named pipe.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !found.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}

/// Reads a text file of at most `limit` bytes, without a byte order mark, which some editors write.
/// Text that is not UTF-8 is an error of the kind `InvalidData`.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    let mut file = open(path)?.take(limit.saturating_add(1));
    match file.read_to_string(&mut text) {
        Ok(_) if text.len() as u64 > limit => {
            let cause = format!("larger than {}", human_bytes(limit));
            Err(io::Error::other(cause))
        }
        Ok(_) => {
            if text.starts_with('\u{feff}') {
                text.drain(..'\u{feff}'.len_utf8());
            }
            Ok(text)
        }
        // A large file may end within a character.
        Err(error) if error.kind() == io::ErrorKind::InvalidData && file.limit() > 0 => {
            Err(io::Error::new(error.kind(), "not valid UTF-8"))
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let cause = format!("larger than {}", human_bytes(limit));
            Err(io::Error::other(cause))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn special_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(
            Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        for path in [fifo.as_path(), Path::new("/dev/zero")] {
            let error = read_text(path, USUAL_LIMIT).unwrap_err();
            assert_eq!(error.to_string(), "not a regular file");
        }
        let error = read_text(folder.path(), USUAL_LIMIT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn a_byte_order_mark_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "\u{feff}A=1\u{feff}").unwrap();
        assert_eq!(read_text(&path, USUAL_LIMIT).unwrap(), "A=1\u{feff}");
    }

    #[test]
    fn large_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12é").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "12é");
        for limit in [2, 3] {
            let error = read_text(&path, limit).unwrap_err();
            assert!(error.to_string().starts_with("larger than"), "{error}");
        }
        std::fs::write(&path, b"a\xff").unwrap();
        let error = read_text(&path, 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        // A file with a hole of a terabyte costs nothing.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(read_text(&path, USUAL_LIMIT).is_err());
    }
}
