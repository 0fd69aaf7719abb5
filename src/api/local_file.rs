//! Local files, as scripts see them: in a test, those of the project and of the test.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::call::{Answer, Call};
use crate::{
    core::diagnostic::{Diagnostic, Kind, plain},
    mock,
};

/// The absolute path of a file that a script names.
pub(super) fn absolute(call: &Call, path: &str) -> PathBuf {
    call.context.project.root.join(path)
}

/// The files of a test; none if this is no test. Fails if the test must not look at a path.
pub(super) fn files<'a>(
    call: &'a Call,
    path: &str,
    file: &Path,
) -> Answer<Option<&'a mock::Files>> {
    let Some(mock) = call.mock() else {
        return Ok(None);
    };
    if mock.files.is_known(file) {
        return Ok(Some(&mock.files));
    }
    let text = format!("`{path}` is outside of the project, and not a file of this test");
    Err(call.unanswered(text, &test_file(path)))
}

/// What a test calls to have a file.
fn test_file(path: &str) -> String {
    format!("test::file({}, \"…\")", mock::quoted(path))
}

/// Looks at a path: at the file of a test, or at the real one.
pub(super) fn read<T>(
    call: &Call,
    path: &str,
    look: impl FnOnce(Option<&mock::Files>, &Path) -> io::Result<T>,
) -> Answer<T> {
    let file = absolute(call, path);
    let files = files(call, path, &file)?;
    look(files, &file).map_err(|error| {
        let mut diagnostic = file_error(path, &error);
        if files.is_some() && error.kind() == io::ErrorKind::NotFound {
            let help = format!("if the test needs it, write `{}` before", test_file(path));
            diagnostic = diagnostic.help(help);
        }
        call.fail(diagnostic)
    })
}

/// Returns the content of a file.
pub(super) fn read_bytes(call: &Call, path: &str) -> Answer<Vec<u8>> {
    read(call, path, |files, file| match files {
        Some(files) => files.read(file),
        None => fs::read(file),
    })
}

/// Returns the content of a text file.
pub(super) fn read_text(call: &Call, path: &str) -> Answer<String> {
    read(call, path, |files, file| match files {
        Some(files) => into_text(files.read(file)?),
        None => fs::read_to_string(file),
    })
}

fn into_text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads the text of a file in a test; `path` is how the script names it.
pub(super) fn read_in_test(call: &Call, path: &str, file: &Path) -> Answer<String> {
    match files(call, path, file)? {
        Some(files) if files.exists(file) => {
            let text = files.read(file).and_then(into_text);
            call.check(text.map_err(|error| file_error(path, &error)))
        }
        _ => {
            let text = format!("`{path}` does not exist in this test");
            Err(call.unanswered(text, &test_file(path)))
        }
    }
}

/// Fails if there is no file or folder at a path, for a function that needs one.
pub(super) fn require(call: &Call, path: &str, file: &Path) -> Answer<()> {
    let exists = match files(call, path, file)? {
        Some(files) => files.exists(file),
        None => file.exists(),
    };
    if exists {
        return Ok(());
    }
    if call.mock().is_some() {
        let text = format!("`{path}` does not exist in this test");
        return Err(call.unanswered(text, &test_file(path)));
    }
    let text = format!("`{}` not found", file.display());
    Err(call.fail(Diagnostic::new(Kind::Usage, text)))
}

/// The error of a file that a script names.
pub(super) fn file_error(path: &str, error: &io::Error) -> Diagnostic {
    let cause = match error.kind() {
        io::ErrorKind::InvalidData => "not valid UTF-8".to_owned(),
        _ => plain(error),
    };
    Diagnostic::new(Kind::Failed, format!("`{path}`: {cause}"))
}
