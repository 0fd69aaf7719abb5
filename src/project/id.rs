//! Project ids: the random text that marks what a project owns.

use std::{
    fmt, fs, io,
    io::{ErrorKind, Read, Write},
    path::Path,
    str::FromStr,
};

use data_encoding::HEXLOWER;

use crate::core::{
    diagnostic::{Diagnostic, Kind, plain},
    text_file::{USUAL_LIMIT, read_text},
};

/// The file in a project's root that holds its id.
pub const ID_FILE: &str = "hitc.id";

/// Random bytes of an id: enough that two projects never draw the same.
const LENGTH: usize = 16;

/// The first lines of [`ID_FILE`].
const HEADER: &str = "# The id of this project. hitc marks the servers and containers of the project with it.\n\
                      # Commit this file and keep it: without it, hitc does not touch what it created.\n";

/// The id of a project: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectId(String);

impl ProjectId {
    /// Draws a new id from the kernel's random numbers.
    fn random() -> io::Result<Self> {
        let mut bytes = [0; LENGTH];
        fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(ProjectId(HEXLOWER.encode(&bytes)))
    }

    /// The id of the project of a test of scripts, which owns nothing real.
    pub(super) fn of_test() -> Self {
        ProjectId("0".repeat(2 * LENGTH))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the id in the file at `path`. Returns none if the file does not exist.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Diagnostic> {
        let text = match read_text(path, USUAL_LIMIT) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot("read", path, error)),
        };
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        match (lines.next().map(str::parse), lines.next()) {
            (Some(Ok(id)), None) => Ok(Some(id)),
            _ => Err(malformed(path)),
        }
    }

    /// Reads the id in the file at `path`, or writes a new one there. Also says whether it was
    /// written. Of two processes that do this at once, both get the same id.
    pub(super) fn ensure(path: &Path) -> Result<(Self, bool), Diagnostic> {
        if let Some(id) = ProjectId::read(path)? {
            return Ok((id, false));
        }
        let id = ProjectId::random().map_err(|error| cannot("write", path, error))?;
        match id.write_new(path) {
            Ok(()) => Ok((id, true)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => ProjectId::read(path)?
                .map(|id| (id, false))
                .ok_or_else(|| malformed(path)),
            Err(error) => Err(cannot("write", path, error)),
        }
    }

    /// Writes the file in one step, so that no reader sees a part of it. Fails if it exists.
    fn write_new(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new()
            // It is committed, so it has the mode of an ordinary file, less the umask.
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder)?;
        writeln!(file, "{HEADER}{self}")?;
        file.persist_noclobber(path)
            .map(drop)
            .map_err(|error| error.error)
    }
}

impl FromStr for ProjectId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 2 * LENGTH && text.bytes().all(is_digit) {
            Ok(ProjectId(text.to_owned()))
        } else {
            Err(())
        }
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn cannot(what: &str, path: &Path, error: io::Error) -> Diagnostic {
    let message = format!("cannot {what} `{}`: {}", path.display(), plain(error));
    Diagnostic::new(Kind::Usage, message)
}

fn malformed(path: &Path) -> Diagnostic {
    let message = format!("`{}`: invalid project id", path.display());
    Diagnostic::new(Kind::Usage, message).help(format!(
        "restore the file from version control: it has {} hexadecimal digits on one line; with \
         another id, hitc does not touch what this project created",
        2 * LENGTH
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ID_FILE);
        assert_eq!(ProjectId::read(&path).unwrap(), None);
        let (id, written) = ProjectId::ensure(&path).unwrap();
        assert!(written);
        assert_eq!(ProjectId::ensure(&path).unwrap(), (id.clone(), false));
        assert_eq!(ProjectId::read(&path).unwrap(), Some(id.clone()));
        // A checkout on Windows changes the ends of lines.
        fs::write(&path, format!("# a comment\r\n{id}\r\n")).unwrap();
        assert_eq!(ProjectId::read(&path).unwrap(), Some(id));
    }

    #[test]
    fn malformed_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ID_FILE);
        let id = ProjectId::random().unwrap();
        for text in [
            String::new(),
            "# only a comment\n".to_owned(),
            "0123\n".to_owned(),
            format!("{id}\n{id}\n"),
            format!("<<<<<<< HEAD\n{id}\n"),
            id.to_string().to_uppercase().replace(char::is_numeric, "A"),
        ] {
            fs::write(&path, &text).unwrap();
            let error = ProjectId::read(&path).unwrap_err();
            assert!(error.message.ends_with("invalid project id"), "{text}");
            assert_eq!(ProjectId::ensure(&path).unwrap_err().message, error.message);
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
