//! Finds and reads the file of a manifest, and determines its path within the project.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    template::{TEMPLATE, list},
    yaml,
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind, Source, did_you_mean, plain, plural},
        text_file::read_text as read_text_file,
        value::{Data, Entry, Value},
    },
    project::{Project, check_trusted},
};

/// The extensions of manifests, which may be left out.
const EXTENSIONS: [&str; 2] = ["yml", "yaml"];
/// The largest file that is read, in bytes. Larger ones are not manifests.
pub const LARGEST: u64 = 256 << 20;

/// The key of the templates, which is not a server.
pub const TEMPLATES: &str = "templates";

/// Keys of servers by which a file is taken for a manifest.
const SERVER_KEYS: [&str; 4] = ["provider", "containers", "firewall", "template"];
/// Keys of the files of other programs: Compose, and the workflows of forges.
const FOREIGN_KEYS: [&str; 4] = ["services", "jobs", "apiVersion", "stages"];

/// Finds the file of a manifest, whose extension may be left out.
pub fn find(path: &Path) -> Result<PathBuf, Diagnostic> {
    let with_extensions = EXTENSIONS.iter().map(|extension| {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(extension);
        PathBuf::from(name)
    });
    let candidates = || [path.to_owned()].into_iter().chain(with_extensions.clone());
    if let Some(found) = candidates().find(|path| path.is_file()) {
        return Ok(found);
    }
    // A folder beside `production.yml` does not hide it, but alone it deserves a message.
    let unusable = candidates().find_map(|path| Some((unusable(&path)?, path)));
    if let Some((cause, path)) = unusable {
        let message = format!("manifest `{}`: {cause}", path.display());
        return Err(Diagnostic::new(Kind::Usage, message));
    }
    let message = format!("manifest `{}` not found", path.display());
    Err(Diagnostic::new(Kind::NotFound, message).help(suggestion(path)))
}

/// Finds the file of the only manifest of a project. None or several are an error that names them.
pub fn find_only(project: &Project) -> Result<PathBuf, Diagnostic> {
    let files = project.files(&EXTENSIONS)?;
    let is_one = |file: &&String| {
        let text = read_text_file(&project.root.join(file), LARGEST);
        text.is_ok_and(|text| is_manifest(&text))
    };
    let manifests: Vec<&String> = files.iter().filter(is_one).collect();
    match manifests.as_slice() {
        [one] => Ok(project.root.join(one)),
        [] => {
            let message = "no manifest found in this project";
            Err(Diagnostic::new(Kind::Usage, message)
                .help("name one, or write a file such as production.yml".to_owned()))
        }
        all => {
            let names: Vec<&str> = all
                .iter()
                .map(|file| {
                    file.rsplit_once('.')
                        .map_or(file.as_str(), |(stem, _)| stem)
                })
                .collect();
            let message = format!(
                "which manifest? this project has {}",
                plural(all.len(), "manifest")
            );
            Err(Diagnostic::new(Kind::Usage, message).help(format!("name one: {}", list(&names))))
        }
    }
}

/// The servers in the text of a manifest, and its containers as `SERVER.CONTAINER`, as they are written: a
/// manifest with errors has names, too. For completion.
pub fn names(text: &str) -> Vec<String> {
    let source = Source::new("", text);
    let Ok(document) = yaml::parse(&source) else {
        return Vec::new();
    };
    let entries = |value: Option<&Value>| match value.map(|value| &value.data) {
        Some(Data::Map(entries)) => entries.clone(),
        _ => Vec::new(),
    };
    let field = |value: &Value, key: &str| {
        let found = entries(Some(value)).into_iter();
        found
            .into_iter()
            .find(|entry| entry.key == key)
            .map(|entry| entry.value)
    };
    let templates = field(&document, TEMPLATES);
    let mut names = Vec::new();
    for server in entries(Some(&document)) {
        if server.key == TEMPLATES {
            continue;
        }
        let template = field(&server.value, TEMPLATE).and_then(|name| match name.data {
            Data::Text(name) => field(templates.as_ref()?, &name),
            _ => None,
        });
        let own = field(&server.value, "containers");
        let inherited = template.and_then(|template| field(&template, "containers"));
        for container in [own, inherited]
            .iter()
            .flat_map(|map| entries(map.as_ref()))
            .filter(|container| container.key != TEMPLATE)
        {
            names.push(format!("{}.{}", server.key, container.key));
        }
        names.push(server.key);
    }
    names
}

/// Whether a YAML file is a manifest, and not the file of another program.
pub fn is_manifest(text: &str) -> bool {
    let source = Source::new("", text);
    // A key may be misspelled, if its value is of the right kind.
    let is_text = |value: &Value| matches!(value.data, Data::Text(_));
    let is_map = |value: &Value| matches!(value.data, Data::Map(_));
    let is_server = |value: &Value| match &value.data {
        Data::Map(entries) => entries.iter().any(|entry| {
            let (key, value) = (&entry.key, &entry.value);
            SERVER_KEYS.contains(&key.as_str())
                || is_text(value) && did_you_mean(key, ["provider", "template"]).is_some()
                || is_map(value) && did_you_mean(key, ["containers", "firewall"]).is_some()
        }),
        _ => false,
    };
    // A server may have such a name.
    let has_provider = |value: &Value| match &value.data {
        Data::Map(entries) => entries.iter().any(|entry| entry.key == "provider"),
        _ => false,
    };
    match yaml::parse(&source) {
        Ok(Value {
            data: Data::Map(entries),
            ..
        }) => {
            let is_foreign = |entry: &Entry| {
                FOREIGN_KEYS.contains(&entry.key.as_str()) && !has_provider(&entry.value)
            };
            !entries.iter().any(is_foreign) && entries.iter().any(|entry| is_server(&entry.value))
        }
        Ok(_) => false,
        // The file is incomplete.
        Err(_) => text
            .lines()
            .any(|line| line.trim_start().starts_with("provider:")),
    }
}

/// Why a path that exists cannot be read as a manifest.
fn unusable(path: &Path) -> Option<&'static str> {
    let link = fs::symlink_metadata(path).ok()?;
    match fs::metadata(path) {
        Ok(target) if target.is_dir() => Some("is a directory"),
        Ok(_) => Some("is not a regular file"),
        Err(_) if link.is_symlink() => Some("broken symbolic link"),
        Err(_) => None,
    }
}

/// What to write instead: a manifest of the same folder with a similar name, or all of them.
fn suggestion(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let mut names: Vec<(String, String)> = fs::read_dir(folder.unwrap_or(Path::new(".")))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let extension = path.extension().unwrap_or_default();
            EXTENSIONS.iter().any(|known| extension == *known) && path.is_file()
        })
        .filter_map(|path| {
            let text = |name: &OsStr| name.to_str().map(str::to_owned);
            Some((text(path.file_stem()?)?, text(path.file_name()?)?))
        })
        .collect();
    names.sort();
    let wanted = path.file_name()?.to_str()?;
    let all = names.iter().flat_map(|(stem, name)| [stem, name]);
    did_you_mean(wanted, all.map(String::as_str)).or_else(|| {
        let stems: Vec<&str> = names.iter().map(|(stem, _)| stem.as_str()).collect();
        (!stems.is_empty()).then(|| format!("this folder has: {}", list(&stems)))
    })
}

/// Reads the text of a manifest, without a byte order mark.
pub(super) fn read_text(path: &Path) -> Result<String, Diagnostic> {
    let fail = |cause: String| {
        let message = format!("manifest `{}`: {cause}", path.display());
        Diagnostic::new(Kind::Usage, message)
    };
    check_trusted(path)?;
    let text = read_text_file(path, LARGEST).map_err(|error| {
        fail(match error.kind() {
            io::ErrorKind::InvalidData => "not valid UTF-8".to_owned(),
            _ => plain(error),
        })
    })?;
    match text.strip_prefix('\u{feff}') {
        Some(rest) => Ok(rest.to_owned()),
        None => Ok(text),
    }
}

/// The path of a manifest within its project, without its extension. `None` outside of it.
pub(super) fn identity(path: &Path, root: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?.with_extension("");
    let within = path.strip_prefix(root.canonicalize().ok()?).ok()?;
    Some(within.to_string_lossy().into_owned())
}
