//! Reading a manifest: templates, counts, variables, and everything that can be wrong with it.
//!
//! Nothing is contacted. All errors are found, not just the first.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind, Source, did_you_mean, plain},
        value::{Data, Entry, Fields, Invalid, Span, Value},
    },
    ensemble::{
        Container, Graph, Manifest, Server,
        manifest::{
            check,
            template::{expand, templates},
            tree::Tree,
            yaml,
        },
    },
    inventory::Providers,
    project::Project,
    provider::{MOST, NAME_RULE, is_name, numbered},
};

/// The endings of manifests, which may be left out.
const ENDINGS: [&str; 2] = ["yml", "yaml"];
/// The key of the templates, which is no server.
const TEMPLATES: &str = "templates";
/// Keys of a server that the manifest reference has and that do not work yet.
const NOT_YET: [&str; 3] = ["firewall", "docker_mount", "protect"];
/// What variables call something else: `${host.ip}` is no server's.
const RESERVED: [&str; 3] = ["host", "env", "secret"];

/// Reads the manifest at `path`, whose ending may be left out, of the project in `root`.
pub fn load(path: &Path, root: &Path, providers: &Providers) -> Result<Manifest, Failure> {
    let path = find(path)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let id = identity(&path, root).unwrap_or_else(|| name.clone().into_owned());
    let text = fs::read_to_string(&path).map_err(|error| {
        let cause = match error.kind() {
            io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
            _ => plain(error),
        };
        let message = format!("manifest `{}`: {cause}", path.display());
        Diagnostic::new(Kind::Usage, message)
    })?;
    let source = Source::new(Project::display(&path), text);
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut manifest = read(&name, source, folder, providers)?;
    manifest.id = id;
    Ok(manifest)
}

/// The path of a manifest within its project, without its ending; none outside of it.
fn identity(path: &Path, root: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?.with_extension("");
    let within = path.strip_prefix(root.canonicalize().ok()?).ok()?;
    Some(within.to_string_lossy().into_owned())
}

/// The file of a manifest, whose ending may be left out.
pub fn find(path: &Path) -> Result<PathBuf, Diagnostic> {
    let with_endings = ENDINGS.iter().map(|ending| {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(ending);
        PathBuf::from(name)
    });
    let candidates = [path.to_owned()].into_iter().chain(with_endings);
    if let Some(found) = candidates.into_iter().find(|path| path.is_file()) {
        return Ok(found);
    }
    let message = format!("there is no manifest `{}`", path.display());
    Err(Diagnostic::new(Kind::NotFound, message).help(near(path)))
}

/// A manifest in the same folder whose name is near.
fn near(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let names: Vec<String> = fs::read_dir(folder.unwrap_or(Path::new(".")))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|e| ENDINGS.iter().any(|known| e == *known))
        })
        .flat_map(|path| [path.file_name(), path.file_stem()].map(|n| n.map(ToOwned::to_owned)))
        .filter_map(|name| name?.into_string().ok())
        .collect();
    let wanted = path.file_name()?.to_str()?;
    did_you_mean(wanted, names.iter().map(String::as_str))
}

/// Reads a manifest from its text.
pub(in crate::ensemble) fn read(
    name: &str,
    source: Arc<Source>,
    folder: PathBuf,
    providers: &Providers,
) -> Result<Manifest, Failure> {
    let document = yaml::parse(&source)?;
    let mut loader = Loader {
        providers,
        manifest: Manifest {
            name: name.to_owned(),
            id: name.to_owned(),
            source,
            folder,
            servers: Vec::new(),
        },
        templates: Vec::new(),
        errors: Vec::new(),
    };
    loader.document(&document);
    // What could not be read cannot be referred to, which is no error of its own.
    if loader.errors.is_empty() {
        loader.note_all(check::references(&loader.manifest));
    }
    loader.note_all(check::values(&loader.manifest, providers));
    if loader.errors.is_empty()
        && let Err(cycle) = Graph::of(&loader.manifest)
    {
        loader.errors.push(cycle);
    }
    let Loader {
        manifest,
        mut errors,
        ..
    } = loader;
    if errors.is_empty() {
        return Ok(manifest);
    }
    errors.sort_by_key(|error| error.excerpts.first().map(|excerpt| excerpt.span.start));
    Err(Failure(errors))
}

struct Loader<'a> {
    providers: &'a Providers,
    manifest: Manifest,
    templates: Vec<Entry>,
    errors: Vec<Diagnostic>,
}

impl Loader<'_> {
    /// Notes an error and goes on.
    fn note<T>(&mut self, result: Result<T, Invalid>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(invalid) => {
                let span = invalid.span.clone();
                self.wrong(Diagnostic::from(invalid), span);
                None
            }
        }
    }

    fn note_all(&mut self, errors: Vec<Invalid>) {
        for error in errors {
            self.note::<()>(Err(error));
        }
    }

    fn wrong(&mut self, diagnostic: Diagnostic, span: Option<Span>) {
        let source = &self.manifest.source;
        // A map has no extent of its own: its first word will do.
        let span = span.map(|span| {
            if span.is_empty() {
                source.word_at(span.start)
            } else {
                span
            }
        });
        self.errors.push(match span {
            Some(span) => diagnostic.at(source, span),
            None => diagnostic,
        });
    }

    fn document(&mut self, document: &Value) {
        let Some(entries) = self.note(document.to_map("a manifest")) else {
            return;
        };
        let found = entries.iter().find(|entry| entry.key == TEMPLATES);
        match templates(found.map(|entry| &entry.value)) {
            Ok(templates) => self.templates = templates,
            Err(error) => self.wrong(error, found.and_then(|entry| entry.value.span.clone())),
        }
        for entry in entries.iter().filter(|entry| entry.key != TEMPLATES) {
            self.server(entry);
        }
    }

    fn server(&mut self, entry: &Entry) {
        let name = &entry.key;
        let by_address = self.providers.by_address(name).is_some();
        if !by_address && !is_name(name) {
            self.bad_name("server", NAME_RULE, entry);
            return;
        }
        if RESERVED.contains(&name.as_str()) {
            let help = format!("`${{{name}.…}}` is something else in variables");
            self.bad_name("server", &help, entry);
            return;
        }
        let what = format!("server `{name}`");
        let Some(value) = self.note(expand(&entry.value, &self.templates)) else {
            return;
        };
        let Some(mut fields) = self.note(Fields::new(&value, &what)) else {
            return;
        };
        for key in NOT_YET {
            if let Some(value) = fields.take(key) {
                let error = Invalid {
                    message: format!("{what}: `{key}` does not work yet"),
                    span: value.span,
                    help: Some("leave it out; this version of hitc cannot do it".to_owned()),
                };
                self.note::<()>(Err(error));
            }
        }
        let count = fields.decode("count", |value, what| value.to_integer(what, 1..MOST + 1));
        if by_address && let Ok(Some(_)) = count {
            let error = Invalid {
                message: format!("{what}: an address is one server, and cannot have a `count`"),
                span: entry.key_span.clone(),
                help: None,
            };
            self.note::<()>(Err(error));
        }
        let containers = fields.take("containers");
        let provider = match fields.take("provider") {
            Some(provider) => self.provider(&provider),
            None if by_address => Some("unmanaged".to_owned()),
            None => {
                let mut error = Invalid {
                    message: format!("{what}: `provider` is missing"),
                    span: entry.key_span.clone(),
                    help: Some(format!("there is {}", self.providers.names().join(", "))),
                };
                if let Some(near) = fields.nearest("provider") {
                    error.span.clone_from(&near.key_span);
                    error.help = Some(format!("is `{}` meant to be `provider`?", near.key));
                }
                self.note(Err(error))
            }
        };
        let options = Value {
            data: Data::Map(fields.rest()),
            span: value.span.clone(),
        };
        let options = Tree::read(&options, &self.manifest.source.text);
        let options = self.note(options);
        let containers = self.containers(&what, containers.as_ref());
        let (Some(count), Some(provider), Some(options)) = (self.note(count), provider, options)
        else {
            return;
        };
        for name in numbered(name, count.unwrap_or(1)) {
            if self.manifest.server(&name).is_some() {
                self.twice("server", &name, entry);
                return;
            }
            self.manifest.servers.push(Server {
                name,
                provider: provider.clone(),
                options: options.clone(),
                containers: containers.clone(),
                span: entry.key_span.clone(),
            });
        }
    }

    fn provider(&mut self, value: &Value) -> Option<String> {
        let name = self.note(value.to_text("provider"))?;
        match self.providers.get(&name) {
            Ok(_) => Some(name),
            Err(error) => {
                self.wrong(error.into(), value.span.clone());
                None
            }
        }
    }

    fn containers(&mut self, server: &str, value: Option<&Value>) -> Vec<Container> {
        let mut containers: Vec<Container> = Vec::new();
        let Some(value) = value else {
            return containers;
        };
        let Some(entries) = self.note(value.to_map(&format!("{server}: `containers`"))) else {
            return containers;
        };
        for entry in &entries {
            for container in self.container(entry) {
                if containers.iter().any(|other| other.name == container.name) {
                    self.twice("container", &container.name, entry);
                    break;
                }
                containers.push(container);
            }
        }
        containers
    }

    fn container(&mut self, entry: &Entry) -> Vec<Container> {
        let name = &entry.key;
        if !is_container_name(name) {
            let rule = "use letters, digits, dashes and underscores, two at least";
            self.bad_name("container", rule, entry);
            return Vec::new();
        }
        let Some(value) = self.note(expand(&entry.value, &self.templates)) else {
            return Vec::new();
        };
        let what = format!("container `{name}`");
        let Some(mut entries) = self.note(value.to_map(&what)) else {
            return Vec::new();
        };
        let mut count = 1;
        if let Some(at) = entries.iter().position(|entry| entry.key == "count") {
            let given = entries.remove(at).value.to_integer("count", 1..MOST + 1);
            count = self.note(given).unwrap_or(1);
        }
        for entry in &mut entries {
            if ["command", "entrypoint"].contains(&entry.key.as_str())
                && let Data::Text(line) = &entry.value.data
            {
                // Into words before variables take their place: a value is part of one word,
                // whatever is in it.
                let words = shlex::split(line).ok_or_else(|| {
                    let message = format!("{}: a quote is not closed", entry.key);
                    Invalid::new(&entry.value, message)
                });
                if let Some(words) = self.note(words) {
                    let word = |text| Value {
                        data: Data::Text(text),
                        span: entry.value.span.clone(),
                    };
                    entry.value.data = Data::List(words.into_iter().map(word).collect());
                }
            }
            if entry.key == "environment" {
                let expanded = expand(&entry.value, &self.templates);
                if let Some(value) = self.note(expanded) {
                    entry.value = value;
                }
            }
        }
        let value = Value {
            data: Data::Map(entries),
            span: value.span,
        };
        let body = Tree::read(&value, &self.manifest.source.text);
        let Some(body) = self.note(body) else {
            return Vec::new();
        };
        numbered(name, count)
            .into_iter()
            .map(|name| Container {
                name,
                body: body.clone(),
                span: entry.key_span.clone(),
            })
            .collect()
    }

    fn bad_name(&mut self, what: &str, help: &str, entry: &Entry) {
        let message = format!("`{}` is no name for a {what}", entry.key);
        let diagnostic = Diagnostic::new(Kind::Usage, message).help(help.to_owned());
        self.wrong(diagnostic, entry.key_span.clone());
    }

    fn twice(&mut self, what: &str, name: &str, entry: &Entry) {
        let message = format!("there is a second {what} `{name}`");
        let diagnostic = Diagnostic::new(Kind::Usage, message)
            .help("counts number the names: NAME, NAME-1, NAME-2".to_owned());
        self.wrong(diagnostic, entry.key_span.clone());
    }
}

/// Letters, digits, dashes and underscores, beginning with a letter or digit. The engine wants two
/// at least; endings with a dot are ours.
fn is_container_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && (2..=50).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}
