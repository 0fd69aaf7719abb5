//! Loads a manifest: expands templates and counts, finds variables, and reports all errors, not
//! only the first.
//!
//! Nothing is contacted. Everything on the local machine that a plan needs is read here.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind, Source},
        environment::may_be_secret,
        event::Events,
        value::{Data, Entry, Fields, Invalid, Span, Value, shorten},
    },
    docker::{self, Port},
    ensemble::{
        Graph,
        manifest::{
            Container, Manifest, Server, check, depends,
            file::{TEMPLATES, find, identity, read_text},
            name::{CONTAINER_RULE, is_address, is_container_name, is_reserved},
            template::{TEMPLATE, Templates, literal, merge},
            tree::Tree,
            yaml,
        },
    },
    inventory::Providers,
    project::Project,
    provider::{MOST, NAME_RULE, is_name, numbered, refuse_shared_address},
};

/// The provider of servers that are known by their address.
const UNMANAGED: &str = "unmanaged";

/// Loads the manifest at `path`, whose extension may be omitted, of the project in `root`.
/// Values of env files and environment variables that may be secrets are masked in `events`.
pub fn load(
    path: &Path,
    root: &Path,
    providers: &Providers,
    events: &Events,
) -> Result<Manifest, Failure> {
    let path = find(path)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let id = identity(&path, root).unwrap_or_else(|| name.clone().into_owned());
    if id.contains(char::is_control) {
        let message = format!("manifest {id:?}: control characters in its name");
        return Err(Diagnostic::new(Kind::Usage, message).into());
    }
    let text = read_text(&path)?;
    let source = Source::new(Project::display(&path), text);
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut manifest = read(&name, source, folder, providers, events)?;
    manifest.id = id;
    Ok(manifest)
}

/// Reads a manifest from its text.
pub fn read(
    name: &str,
    source: Arc<Source>,
    folder: PathBuf,
    providers: &Providers,
    events: &Events,
) -> Result<Manifest, Failure> {
    let document = yaml::parse(&source)?;
    let mut loader = Loader {
        providers,
        manifest: Manifest::new(name, source, folder),
        templates: Templates::default(),
        errors: Vec::new(),
    };
    loader.document(document);
    // A server with an error is not in the manifest; references to it are no further errors.
    if loader.errors.is_empty() {
        let (environment, errors) = check::environment(&loader.manifest);
        loader.manifest.environment = Arc::new(environment);
        loader.note_all(errors);
        loader.note_all(check::references(&loader.manifest));
    }
    loader.manifest.inputs = Arc::new(check::inputs(&loader.manifest));
    let environment = loader.manifest.environment.iter();
    let environment = environment.map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in environment.chain(loader.manifest.inputs.variables()) {
        if may_be_secret(name, value) {
            events.hide(value);
        }
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
    templates: Templates,
    errors: Vec<Diagnostic>,
}

impl Loader<'_> {
    /// Records an error and continues.
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
        // The span of a map is empty: its first word is shown.
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

    fn document(&mut self, document: Value) {
        let Some(mut entries) = self.note(document.into_map("a manifest")) else {
            return;
        };
        if let Some(at) = entries.iter().position(|entry| entry.key == TEMPLATES) {
            let templates = self.note(Templates::read(entries.remove(at).value));
            self.templates = templates.unwrap_or_default();
        }
        for entry in entries {
            self.server(entry);
        }
    }

    fn server(&mut self, mut entry: Entry) {
        let value = std::mem::replace(&mut entry.value, Value::new(Data::Null));
        let entry = &entry;
        let name = &entry.key;
        if is_reserved(name) {
            let help = format!("`${{{name}.…}}` has another meaning in variables");
            self.bad_name("server", &help, entry);
            return;
        }
        let by_address = is_address(name) && self.providers.by_address(name).is_some();
        if !by_address && !is_name(name) {
            self.bad_name("server", NAME_RULE, entry);
            return;
        }
        let what = format!("server `{name}`");
        let Some(value) = self.note(self.templates.expand(value)) else {
            return;
        };
        let span = value.span.clone();
        let Some(entries) = self.note(value.into_map(&what)) else {
            return;
        };
        let mut fields = Fields::of(entries, span.clone(), &what);
        let firewall = fields.take("firewall").map(|rules| self.firewall(rules));
        let firewall = firewall.transpose();
        let count = fields.decode("count", |value, what| {
            literal(value, what)?.to_integer(what, 1..MOST + 1)
        });
        if by_address && let Ok(Some(_)) = count {
            let message =
                format!("{what}: `count` cannot be used with an address, which is one server");
            self.note::<()>(Err(Invalid::at(entry.key_span.clone(), message)));
        }
        let docker_mount = fields.decode("docker_mount", |value, what| {
            docker::device(literal(value, what)?, what)
        });
        let docker_mount = self.note(docker_mount).flatten();
        let containers = fields.take("containers");
        let provider = match fields.take("provider") {
            Some(provider) => self.provider(&provider),
            None if by_address => Some(UNMANAGED.to_owned()),
            None => {
                let near = fields.nearest("provider");
                let span = near.map_or(&entry.key_span, |near| &near.key_span);
                let help = match near {
                    Some(near) => format!("is `{}` meant to be `provider`?", near.key),
                    None => format!("the providers are {}", self.providers.names().join(", ")),
                };
                let message = format!("{what}: `provider` is missing");
                let error = Invalid::at(span.clone(), message).help(help);
                self.note(Err(error))
            }
        };
        if by_address && let Some(provider) = provider.as_ref().filter(|name| *name != UNMANAGED) {
            let help = format!("{NAME_RULE}; an address needs no provider");
            let message = format!("invalid name `{name}` for a server of `{provider}`");
            let error = Invalid::at(entry.key_span.clone(), message).help(help);
            self.note::<()>(Err(error));
            return;
        }
        let options = Value {
            data: Data::Map(fields.rest()),
            span,
        };
        if let Ok(Some(count)) = count {
            self.note(refuse_shared_address(&options, count));
        }
        let options = Tree::read(options, &self.manifest.source.text);
        let options = self.note(options);
        let containers = self.containers(&what, containers);
        let (Some(count), Some(provider), Some(options), Some(firewall)) =
            (self.note(count), provider, options, self.note(firewall))
        else {
            return;
        };
        let options = Arc::new(options);
        let index = containers.iter().enumerate();
        let index: HashMap<String, usize> = index
            .map(|(index, container)| (container.name.clone(), index))
            .collect();
        let index = Arc::new(index);
        for name in numbered(name, count.unwrap_or(1)) {
            let added = self.manifest.add(Server {
                name: name.clone(),
                provider: provider.clone(),
                options: options.clone(),
                docker_mount: docker_mount.clone(),
                firewall: firewall.clone(),
                containers: containers.clone(),
                index: index.clone(),
                span: entry.key_span.clone(),
            });
            if !added {
                self.report_duplicate("server", &name, entry);
                return;
            }
        }
    }

    fn provider(&mut self, value: &Value) -> Option<String> {
        let name = literal(value, "provider").and_then(|value| value.to_text("provider"));
        let name = self.note(name)?;
        match self.providers.get(&name) {
            Ok(_) => Some(name),
            Err(error) => {
                self.wrong(error.into(), value.span.clone());
                None
            }
        }
    }

    /// The rules of a firewall, whose templates are merged port by port.
    fn firewall(&self, rules: Value) -> Result<Arc<Tree>, Invalid> {
        let rules = self.templates.expand(rules)?;
        Tree::read(rules, &self.manifest.source.text).map(Arc::new)
    }

    fn containers(&mut self, server: &str, value: Option<Value>) -> Vec<Container> {
        let mut containers: Vec<Container> = Vec::new();
        let Some(value) = value else {
            return containers;
        };
        let what = format!("{server}: `containers`");
        let Some(mut entries) = self.note(value.into_map(&what)) else {
            return containers;
        };
        // A template beside the containers is merged under each of them.
        let common = entries.iter().position(|entry| entry.key == TEMPLATE);
        let common = common.map(|at| {
            let reference = Data::Map(vec![entries.remove(at)]);
            self.templates.expand(Value::new(reference))
        });
        let Some(common) = self.note(common.transpose()) else {
            return containers;
        };
        let mut names = HashSet::new();
        for mut entry in entries {
            let value = std::mem::replace(&mut entry.value, Value::new(Data::Null));
            for container in self.container(&entry, value, common.as_ref()) {
                if !names.insert(container.name.clone()) {
                    self.report_duplicate("container", &container.name, &entry);
                    break;
                }
                containers.push(container);
            }
        }
        containers
    }

    /// Returns the copies of a container. `common` is merged under its value.
    fn container(&mut self, entry: &Entry, value: Value, common: Option<&Value>) -> Vec<Container> {
        let name = &entry.key;
        if !is_container_name(name) {
            self.bad_name("container", CONTAINER_RULE, entry);
            return Vec::new();
        }
        let Some(mut value) = self.note(self.templates.expand(value)) else {
            return Vec::new();
        };
        if let Some(common) = common {
            if let Data::Null = value.data {
                value.data = Data::Map(Vec::new());
            }
            value = merge(value, common.clone());
        }
        let what = format!("container `{name}`");
        let span = value.span.clone();
        let Some(entries) = self.note(value.into_map(&what)) else {
            return Vec::new();
        };
        let mut fields = Vec::new();
        let mut count = Some(1);
        let mut depends_on: Arc<[depends::Dependency]> = Arc::default();
        for mut entry in entries {
            if entry.key == "depends_on" {
                let read = depends::read(&entry.value, "depends_on");
                depends_on = self.note(read).unwrap_or_default().into();
                continue;
            }
            if entry.key == "count" {
                let given = literal(&entry.value, "count")
                    .and_then(|value| value.to_integer("count", 1..MOST + 1));
                count = self.note(given);
                continue;
            }
            let value = std::mem::replace(&mut entry.value, Value::new(Data::Null));
            let tree = self.field(&entry.key, value);
            let Some(tree) = self.note(tree) else {
                return Vec::new();
            };
            fields.push((entry.key, entry.key_span, tree));
        }
        let body = Arc::new(Tree::map(fields, span));
        numbered(name, count.unwrap_or(1))
            .into_iter()
            .map(|name| Container {
                name,
                body: body.clone(),
                depends_on: depends_on.clone(),
                span: entry.key_span.clone(),
            })
            .collect()
    }

    /// The value of one key of a container.
    fn field(&self, key: &str, mut value: Value) -> Result<Tree, Invalid> {
        let text = &self.manifest.source.text;
        match key {
            "command" | "entrypoint" => Tree::read_words(value, text, key),
            "environment" => Tree::read(self.templates.expand(value)?, text),
            "ports" => {
                Port::replace_internal(&mut value, "${host.internal_ip}");
                Tree::read(value, text)
            }
            _ => Tree::read(value, text),
        }
    }

    fn bad_name(&mut self, what: &str, rule: &str, entry: &Entry) {
        let name = shorten(&entry.key);
        let message = format!("invalid name `{name}` for a {what}");
        let error = Invalid::at(entry.key_span.clone(), message).help(rule.to_owned());
        self.note::<()>(Err(error));
    }

    fn report_duplicate(&mut self, what: &str, name: &str, entry: &Entry) {
        let message = format!("{what} `{name}` already exists");
        let error = Invalid::at(entry.key_span.clone(), message)
            .help("a `count` adds numbers to the name: NAME, NAME-1, NAME-2".to_owned());
        self.note::<()>(Err(error));
    }
}
