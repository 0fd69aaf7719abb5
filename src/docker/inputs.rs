//! The files that container options refer to, each read once: env files and build folders.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    core::{
        diagnostic::plain,
        text_file::{USUAL_LIMIT, read_text},
        value::{Data, Invalid, Value},
    },
    docker::{Context, Image},
};

/// The names and values of an env file, in its order.
type Pairs = Vec<(String, String)>;

/// Env files and build folders, by their paths as the user wrote them. A path that could not be
/// read has the reason instead.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    env_files: BTreeMap<String, Result<Pairs, String>>,
    folders: BTreeMap<String, Result<Image, String>>,
}

impl Inputs {
    /// Reads all env files and build folders that containers refer to. Relative paths start at
    /// `folder`.
    pub fn load<'a>(folder: &Path, containers: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut inputs = Inputs::default();
        for container in containers {
            let Data::Map(entries) = &container.data else {
                continue;
            };
            for entry in entries {
                match entry.key.as_str() {
                    "env_file" => {
                        for file in entry.value.to_list("env_file").unwrap_or_default() {
                            if let Ok(path) = file.to_text("env_file") {
                                let read = || read_env_file(&folder.join(&path));
                                inputs.env_files.entry(path.clone()).or_insert_with(read);
                            }
                        }
                    }
                    "build" => {
                        if let Ok(path) = entry.value.to_text("build") {
                            let read = || read_folder(folder.join(&path));
                            inputs.folders.entry(path.clone()).or_insert_with(read);
                        }
                    }
                    _ => {}
                }
            }
        }
        inputs
    }

    /// The variables of an env file.
    pub(super) fn environment(&self, file: &Value) -> Result<&[(String, String)], Invalid> {
        let path = file.to_text("env_file")?;
        match self.env_files.get(&path) {
            Some(Ok(pairs)) => Ok(pairs),
            Some(Err(cause)) => Err(Invalid::new(file, cause.as_str())),
            None => Err(unknown(file, "env_file", &path)),
        }
    }

    /// The variables of all env files.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let files = self.env_files.values().flatten().flatten();
        files.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The image that is built from a folder.
    pub(super) fn image(&self, build: &Value) -> Result<Image, Invalid> {
        let path = build.to_text("build")?;
        match self.folders.get(&path) {
            Some(Ok(image)) => Ok(image.clone()),
            Some(Err(cause)) => Err(Invalid::new(build, cause.as_str())),
            None => Err(unknown(build, "build", &path)),
        }
    }
}

/// The error for a path that was not known when files were read.
fn unknown(value: &Value, key: &str, path: &str) -> Invalid {
    Invalid::new(value, format!("{key}: `{path}` was not read"))
        .help("write a path that does not depend on servers or containers".to_owned())
}

fn read_folder(folder: PathBuf) -> Result<Image, String> {
    let context = Context::read(&folder).map_err(|error| format!("build: {error}"))?;
    Ok(Image::Built {
        name: context.image_name(),
        folder,
    })
}

/// Reads lines `NAME=VALUE`; empty lines and comments are skipped. As for `docker run --env-file`,
/// quotes are part of the value, and `export` is not understood.
pub fn read_env_file(path: &Path) -> Result<Pairs, String> {
    let fail = |cause: String| format!("env_file `{}`: {cause}", path.display());
    let text = read_text(path, USUAL_LIMIT).map_err(|error| fail(plain(error)))?;
    let mut pairs = Pairs::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err(fail(format!("line {}: missing `=`", index + 1)));
        };
        let name = name.trim();
        if !is_variable(name) {
            // The line is not shown: it may be a part of a secret.
            let export = name.starts_with("export ").then_some("; remove `export`");
            let cause = format!("line {}: invalid name", index + 1);
            return Err(fail(cause + export.unwrap_or_default()));
        }
        pairs.push((name.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

/// Whether an environment variable can have this name. Dots and dashes are in use.
fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control())
}
