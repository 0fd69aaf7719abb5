//! `fs::`: files on the local machine. Relative paths start at the project's folder.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::HEXLOWER;
use rhai::{Array, Dynamic, ImmutableString, Map};
use sha2::{Digest, Sha256};

use super::{
    Api,
    call::{Answer, Call},
    namespace::Namespace,
    secret::{self, text_of},
};
use crate::core::diagnostic::{Diagnostic, Kind, did_you_mean, plain};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut fs = Namespace::new(
        api,
        "fs",
        "Files on the local machine. Relative paths start at the project's folder.",
    );
    fs.function(
        "read(path: string) -> string",
        "Returns the content of a text file.",
        |call: &Call, path: ImmutableString| {
            let text = fs::read_to_string(absolute(call, &path));
            call.check(text.map_err(|error| file_error(&path, &error)))
        },
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
            change(call, &path, "write", |file| write(file, &text, is_secret))
        },
    );
    fs.function(
        "exists(path: string) -> bool",
        "Returns whether a file or folder exists.",
        |call: &Call, path: ImmutableString| Ok(absolute(call, &path).exists()),
    );
    fs.function(
        "is_folder(path: string) -> bool",
        "Returns whether a folder exists.",
        |call: &Call, path: ImmutableString| Ok(absolute(call, &path).is_dir()),
    );
    fs.function(
        "list(path: string) -> array",
        "Returns the names of the files and folders in a folder, sorted.",
        |call: &Call, path: ImmutableString| {
            let names = list(&absolute(call, &path)).map_err(|error| file_error(&path, &error));
            Ok(call
                .check(names)?
                .into_iter()
                .map(Into::into)
                .collect::<Array>())
        },
    );
    fs.function(
        "files(path: string) -> array",
        "Returns the paths of all files below a folder, relative to it, sorted.",
        |call: &Call, path: ImmutableString| {
            let mut found = Vec::new();
            let walked = walk(&absolute(call, &path), "", &mut found);
            call.check(walked.map_err(|error| file_error(&path, &error)))?;
            Ok(found.into_iter().map(Into::into).collect::<Array>())
        },
    );
    add_facts(&mut fs);
    fs.change(
        "make_folder(path: string)",
        "Creates a folder and its missing parents. Does nothing if it exists.",
        |call: &Call, path: ImmutableString| {
            change(call, &path, "create", |folder| fs::create_dir_all(folder))
        },
    );
    fs.change(
        "remove(path: string)",
        "Removes a file, or a folder with its contents. Does nothing if it does not exist.",
        |call: &Call, path: ImmutableString| change(call, &path, "remove", remove),
    );
    fs
}

/// Adds the functions that return digests and permissions.
fn add_facts(fs: &mut Namespace) {
    fs.function(
        "sha256(path: string) -> string",
        "Returns the SHA-256 digest of a file, in hexadecimal digits.",
        |call: &Call, path: ImmutableString| {
            let bytes = fs::read(absolute(call, &path)).map_err(|error| file_error(&path, &error));
            Ok(HEXLOWER.encode(&Sha256::digest(call.check(bytes)?)))
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
            let found = fs::metadata(absolute(call, &path));
            let found = call.check(found.map_err(|error| file_error(&path, &error)))?;
            Ok(format!("{:03o}", found.permissions().mode() & 0o777))
        },
    );
}

/// Fills in a template file of the project.
pub(super) fn template(call: &Call, path: &str, values: &Map) -> Answer<Dynamic> {
    let text = fs::read_to_string(absolute(call, path));
    let text = call.check(text.map_err(|error| file_error(path, &error)))?;
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

fn absolute(call: &Call, path: &str) -> PathBuf {
    call.context.project.root.join(path)
}

fn file_error(path: &str, error: &io::Error) -> Diagnostic {
    let cause = match error.kind() {
        io::ErrorKind::InvalidData => "not valid UTF-8".to_owned(),
        _ => plain(error),
    };
    Diagnostic::new(Kind::Failed, format!("`{path}`: {cause}"))
}

fn change(
    call: &Call,
    path: &str,
    verb: &str,
    act: impl FnOnce(&Path) -> io::Result<()>,
) -> Answer<()> {
    if call.would(|| format!("{verb} `{path}` here")) {
        return Ok(());
    }
    let done = act(&absolute(call, path));
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

fn walk(folder: &Path, within: &str, found: &mut Vec<String>) -> io::Result<()> {
    for name in list(folder)? {
        let path = folder.join(&name);
        let shown = format!("{within}{name}");
        // Links to folders are not followed: they can form a cycle.
        if fs::symlink_metadata(&path)?.is_dir() {
            walk(&path, &format!("{shown}/"), found)?;
        } else {
            found.push(shown);
        }
    }
    Ok(())
}
