//! `fs::`: files on the local machine. Relative paths start at the project's folder.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use data_encoding::HEXLOWER;
use rhai::{Array, Dynamic, ImmutableString, Map};
use sha2::{Digest, Sha256};

use super::{
    Api,
    call::{Answer, Call},
    local_file::{absolute, file_error, files, read, read_bytes, read_text},
    namespace::Namespace,
    secret::{self, text_of},
};
use crate::{
    core::diagnostic::{Diagnostic, Kind, did_you_mean},
    mock,
};

/// The mode of a file with a secret.
const SECRET_MODE: u32 = 0o600;

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut fs = Namespace::new(
        api,
        "fs",
        "Files on the local machine. Relative paths start at the project's folder. In a test, the files of the
         project can be read, and changes are kept in memory until the end of the test.",
    );
    fs.function(
        "read(path: string) -> string",
        "Returns the content of a text file.",
        |call: &Call, path: ImmutableString| read_text(call, &path),
    );
    fs.function(
        "fill(text: string, values: map) -> string",
        "Fills in a template: replaces `{{ name }}` with the value of that key. A name without a
         value is an error. If a value is a secret, so is the result.",
        |call: &Call, text: ImmutableString, values: Map| fill_in(call, &text, &values),
    );
    fs.function(
        "template(path: string, values: map) -> string",
        "Fills in a template file of the project, as `fill` does.",
        |call: &Call, path: ImmutableString, values: Map| template(call, &path, &values),
    );
    fs.change(
        "write(path: string, text: string)",
        "Writes a file atomically. Creates missing parent folders. The text may be a secret: then
         only the owner can read the file.",
        |call: &Call, path: ImmutableString, text: Dynamic| {
            let secret = text_of(&text);
            let is_secret = secret.is_some();
            let text = secret.unwrap_or_else(|| text.to_string());
            let mode = is_secret.then_some(SECRET_MODE);
            let bytes = text.clone().into_bytes();
            change(
                call,
                &path,
                "write",
                |file| write(file, &text, is_secret),
                |files, file| files.write(file, bytes, mode),
            )
        },
    );
    add_readers(&mut fs);
    add_facts(&mut fs);
    fs.change(
        "make_folder(path: string)",
        "Creates a folder and its missing parents. Does nothing if it exists.",
        |call: &Call, path: ImmutableString| {
            change(
                call,
                &path,
                "create",
                |folder| fs::create_dir_all(folder),
                mock::Files::make_folder,
            )
        },
    );
    fs.change(
        "remove(path: string)",
        "Removes a file, or a folder with its contents. Does nothing if it does not exist.",
        |call: &Call, path: ImmutableString| {
            change(call, &path, "remove", remove, mock::Files::remove)
        },
    );
    fs
}

/// Adds the functions that look at folders.
fn add_readers(fs: &mut Namespace) {
    fs.function(
        "exists(path: string) -> bool",
        "Returns whether a file or folder exists.",
        |call: &Call, path: ImmutableString| {
            let file = absolute(call, &path);
            Ok(match files(call, &path, &file)? {
                Some(files) => files.exists(&file),
                None => file.exists(),
            })
        },
    );
    fs.function(
        "is_folder(path: string) -> bool",
        "Returns whether a folder exists.",
        |call: &Call, path: ImmutableString| {
            let file = absolute(call, &path);
            Ok(match files(call, &path, &file)? {
                Some(files) => files.is_folder(&file),
                None => file.is_dir(),
            })
        },
    );
    fs.function(
        "list(path: string) -> array",
        "Returns the names of the files and folders in a folder, sorted.",
        |call: &Call, path: ImmutableString| {
            let names = read(call, &path, |files, folder| match files {
                Some(files) => files.list(folder),
                None => list(folder),
            })?;
            Ok(names.into_iter().map(Into::into).collect::<Array>())
        },
    );
    fs.function(
        "files(path: string) -> array",
        "Returns the paths of all files below a folder, relative to it, sorted.",
        |call: &Call, path: ImmutableString| {
            let found = read(call, &path, |files, folder| {
                let mut found = Vec::new();
                walk(files, folder, "", &mut found).map(|()| found)
            })?;
            Ok(found.into_iter().map(Into::into).collect::<Array>())
        },
    );
}

/// Adds the functions that return digests and permissions.
fn add_facts(fs: &mut Namespace) {
    fs.function(
        "sha256(path: string) -> string",
        "Returns the SHA-256 digest of a file, in hexadecimal digits.",
        |call: &Call, path: ImmutableString| {
            let bytes = read_bytes(call, &path)?;
            Ok(HEXLOWER.encode(&Sha256::digest(bytes)))
        },
    );
    fs.function(
        "sha256_of(text: string) -> string",
        "Returns the SHA-256 digest of a text or a secret, in hexadecimal digits.",
        |_: &Call, text: Dynamic| {
            let text = text_of(&text).unwrap_or_else(|| text.to_string());
            Ok(HEXLOWER.encode(&Sha256::digest(text)))
        },
    );
    fs.function(
        "mode(path: string) -> string",
        "Returns the permissions of a file, in octal digits: `640`.",
        |call: &Call, path: ImmutableString| {
            let mode = read(call, &path, |files, file| match files {
                Some(files) => files.mode(file),
                None => Ok(fs::metadata(file)?.permissions().mode() & 0o777),
            })?;
            Ok(format!("{mode:03o}"))
        },
    );
}

/// Fills in a template file of the project.
pub(super) fn template(call: &Call, path: &str, values: &Map) -> Answer<Dynamic> {
    let text = read_text(call, path)?;
    fill_in(call, &text, values)
}

fn fill_in(call: &Call, text: &str, values: &Map) -> Answer<Dynamic> {
    let (filled, is_secret) = call.check(fill(text, values))?;
    Ok(if is_secret {
        Dynamic::from(secret::create(call, &filled))
    } else {
        filled.into()
    })
}

/// Fills in a text. Also returns whether a value was a secret.
fn fill(text: &str, values: &Map) -> Result<(String, bool), Diagnostic> {
    let fail = |cause: String| Diagnostic::new(Kind::Usage, format!("template: {cause}"));
    let (mut filled, mut rest, mut is_secret) = (String::new(), text, false);
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else {
            return Err(fail("missing `}}` after `{{`".to_owned()));
        };
        let name = name.trim();
        let Some(value) = values.get(name) else {
            let known = values.keys().map(rhai::Identifier::as_str);
            return Err(fail(format!("no value for `{name}`")).help(did_you_mean(name, known)));
        };
        let secret = text_of(value);
        is_secret |= secret.is_some();
        filled.push_str(before);
        filled.push_str(&secret.unwrap_or_else(|| value.to_string()));
        rest = after;
    }
    filled.push_str(rest);
    Ok((filled, is_secret))
}

fn change(
    call: &Call,
    path: &str,
    verb: &str,
    act: impl FnOnce(&Path) -> io::Result<()>,
    in_test: impl FnOnce(&mock::Files, &Path),
) -> Answer<()> {
    let file = absolute(call, path);
    if call.would(|| format!("{verb} `{path}` here")) {
        if let Some(mock) = call.mock() {
            in_test(&mock.files, &file);
        }
        return Ok(());
    }
    let done = act(&file);
    call.check(done.map_err(|error| file_error(path, &error)))
}

fn write(file: &Path, text: &str, is_secret: bool) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let temporary = tempfile::NamedTempFile::new_in(folder)?;
    fs::write(temporary.path(), text)?;
    // Only the owner can read a temporary file. An existing file keeps its mode.
    if !is_secret {
        let mode = match fs::metadata(file) {
            Ok(existing) => existing.permissions(),
            Err(_) => fs::Permissions::from_mode(0o644),
        };
        fs::set_permissions(temporary.path(), mode)?;
    }
    temporary.persist(file)?;
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        _ => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn list(folder: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(folder)?.map(|entry| {
        let name = entry?.file_name();
        Ok(name.to_string_lossy().into_owned())
    });
    let mut names: Vec<String> = names.collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

fn walk(
    files: Option<&mock::Files>,
    folder: &Path,
    within: &str,
    found: &mut Vec<String>,
) -> io::Result<()> {
    let names = match files {
        Some(files) => files.list(folder)?,
        None => list(folder)?,
    };
    for name in names {
        let path = folder.join(&name);
        let shown = format!("{within}{name}");
        // Links to folders are not followed: they can form a cycle.
        let is_folder = match files {
            Some(files) => files.is_folder(&path) && !path.is_symlink(),
            None => fs::symlink_metadata(&path)?.is_dir(),
        };
        if is_folder {
            walk(files, &path, &format!("{shown}/"), found)?;
        } else {
            found.push(shown);
        }
    }
    Ok(())
}
