//! All scripts of a run, found, compiled once, and imported by each other.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs, io,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use rhai::{Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared};

use super::{
    check::{Known, check},
    embedded::{PROVIDERS, STDLIB, TASKS, file_name, provider_file},
    error::explain,
    unit::Unit,
};
use crate::{
    api::throw,
    core::diagnostic::{Diagnostic, Failure, Kind, Source, did_you_mean, plain},
};

thread_local! {
    /// The scripts that this thread is importing, outermost first.
    static IMPORTING: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// The scripts of a project and of the program, by the name under which errors show them.
pub(super) struct Library {
    root: PathBuf,
    units: Mutex<HashMap<String, Arc<Unit>>>,
    modules: Mutex<HashMap<String, Shared<Module>>>,
    failed: Mutex<HashMap<String, Failure>>,
    known: OnceLock<Arc<Known>>,
}

impl Library {
    /// The scripts below a project's folder.
    pub fn new(root: PathBuf) -> Self {
        Library {
            root,
            units: Mutex::default(),
            modules: Mutex::default(),
            failed: Mutex::default(),
            known: OnceLock::new(),
        }
    }

    /// A script by name, compiled and checked, with what it imports.
    pub fn unit(&self, engine: &Engine, name: &str) -> Result<Arc<Unit>, Failure> {
        let failed = lock(&self.failed).get(name).cloned();
        if let Some(failure) = failed {
            return Err(failure);
        }
        if let Some(unit) = self.units().get(name) {
            return Ok(unit.clone());
        }
        let read = self.read(name).map_err(Failure::from);
        let unit = read
            .and_then(|text| Ok(Arc::new(Unit::compile(engine, Source::new(name, text))?)))
            .and_then(|unit| self.check(engine, unit));
        if let Err(failure) = &unit {
            lock(&self.failed).insert(name.to_owned(), failure.clone());
        }
        unit
    }

    /// Checks a script's calls, after its imports.
    fn check(&self, engine: &Engine, unit: Arc<Unit>) -> Result<Arc<Unit>, Failure> {
        let name = &unit.source.name;
        self.units().insert(name.clone(), unit.clone());
        let (mut imports, mut errors) = (HashMap::new(), Vec::new());
        for import in &unit.imports {
            let imported = match self.locate(Some(name), &import.path) {
                Ok(imported) => self.unit(engine, &imported),
                Err(error) => {
                    let span = super::unit::span(&unit.source, import.position);
                    Err(error.at(&unit.source, span).into())
                }
            };
            match imported {
                Ok(unit) => drop(imports.insert(import.alias.clone(), unit)),
                Err(failure) => errors.extend(failure.0),
            }
        }
        errors.extend(check(&unit, &imports, || self.known(engine)));
        if errors.is_empty() {
            Ok(unit)
        } else {
            Err(Failure(errors))
        }
    }

    /// A script by name, as a module: its top level is run once.
    pub fn module(&self, engine: &Engine, name: &str) -> Result<Shared<Module>, Failure> {
        if let Some(module) = self.modules().get(name) {
            return Ok(module.clone());
        }
        let _importing = Importing::begin(name)?;
        let unit = self.unit(engine, name)?;
        let module = Module::eval_ast_as_new(Scope::new(), &unit.ast, engine)
            .map_err(|error| explain(self, Some(name), &error))?;
        let module: Shared<Module> = module.into();
        self.modules().insert(name.to_owned(), module.clone());
        Ok(module)
    }

    /// The name of the script that `path` means in an import of the script `from`.
    pub fn locate(&self, from: Option<&str>, path: &str) -> Result<String, Diagnostic> {
        if path.starts_with("std/") {
            let names = STDLIB.map(|(name, _)| name);
            if names.contains(&path) {
                return Ok(format!("{path}.rhai"));
            }
            let message = format!("there is no module `{path}`");
            let help = did_you_mean(path, names)
                .unwrap_or_else(|| format!("there is {}", names.join(", ")));
            return Err(Diagnostic::new(Kind::Usage, message).help(help));
        }
        let folder = from.and_then(|from| Path::new(from).parent());
        let file = normalize(&folder.unwrap_or(Path::new("")).join(format!("{path}.rhai")));
        if self.root.join(&file).is_file() {
            return Ok(file);
        }
        let message = format!("there is no script `{file}`");
        Err(Diagnostic::new(Kind::Usage, message).help(self.near(&file)))
    }

    /// The scripts whose functions are tasks because the hitcfile imports them, and their
    /// namespaces. Modules of the standard library are for calling, not for running.
    pub fn namespaces(&self, hitcfile: &Unit) -> Vec<(String, String)> {
        let imports = hitcfile.imports.iter();
        let located = imports.filter_map(|import| {
            let name = self
                .locate(Some(&hitcfile.source.name), &import.path)
                .ok()?;
            Some((name, import.alias.clone()))
        });
        located
            .filter(|(name, _)| !Library::is_embedded(name))
            .collect()
    }

    /// Whether the project has a file of that name.
    pub fn has(&self, name: &str) -> bool {
        self.root.join(name).is_file()
    }

    /// A script that was compiled, whatever is wrong with its calls.
    pub fn compiled(&self, name: &str) -> Option<Arc<Unit>> {
        self.units().get(name).cloned()
    }

    /// The source of a script that was read.
    pub fn source(&self, name: &str) -> Option<Arc<Source>> {
        self.compiled(name).map(|unit| unit.source.clone())
    }

    /// Whether a script is part of the program and not the user's.
    pub fn is_embedded(name: &str) -> bool {
        embedded(name).is_some()
    }

    /// All functions that the engine has.
    pub fn known(&self, engine: &Engine) -> Arc<Known> {
        let known = self.known.get_or_init(|| Arc::new(Known::of(engine)));
        known.clone()
    }

    /// The same, if they were asked for.
    pub fn known_already(&self) -> Option<&Arc<Known>> {
        self.known.get()
    }

    fn read(&self, name: &str) -> Result<String, Diagnostic> {
        if let Some(text) = embedded(name) {
            return Ok(text.to_owned());
        }
        fs::read_to_string(self.root.join(name)).map_err(|error| {
            let cause = match error.kind() {
                io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
                _ => plain(error),
            };
            Diagnostic::new(Kind::Usage, format!("`{name}`: {cause}"))
        })
    }

    /// A script in the same folder whose name is near.
    fn near(&self, file: &str) -> Option<String> {
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        let names: Vec<String> = fs::read_dir(self.root.join(folder))
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .map(|name| folder.join(name))
            .filter(|path| path.extension().is_some_and(|ending| ending == "rhai"))
            .map(|path| path.display().to_string())
            .collect();
        did_you_mean(file, names.iter().map(String::as_str))
    }

    fn units(&self) -> MutexGuard<'_, HashMap<String, Arc<Unit>>> {
        lock(&self.units)
    }

    fn modules(&self) -> MutexGuard<'_, HashMap<String, Shared<Module>>> {
        lock(&self.modules)
    }
}

/// A thread that died with the lock held has left a sound map behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn embedded(name: &str) -> Option<&'static str> {
    let tasks = TASKS
        .iter()
        .map(|(namespace, text)| (file_name(namespace), *text));
    let modules = STDLIB
        .iter()
        .map(|(path, text)| (format!("{path}.rhai"), *text));
    let providers = PROVIDERS
        .iter()
        .map(|(name, text)| (provider_file(name), *text));
    tasks
        .chain(modules)
        .chain(providers)
        .find(|(file, _)| file == name)
        .map(|(_, text)| text)
}

/// Takes `.` and `..` out of a path, without looking at the disk.
fn normalize(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for component in path.components() {
        match component {
            Component::ParentDir if parts.last().is_some_and(|part| part != "..") => {
                parts.pop();
            }
            Component::CurDir => {}
            other => parts.push(other.as_os_str().to_string_lossy().into_owned()),
        }
    }
    parts.join("/")
}

/// Keeps the path of imports, in which no script may appear twice: the engine would not notice,
/// and run out of stack.
struct Importing;

impl Importing {
    fn begin(name: &str) -> Result<Self, Diagnostic> {
        IMPORTING.with_borrow_mut(|names| {
            if let Some(first) = names.iter().position(|other| other == name) {
                let mut cycle = names[first..].to_vec();
                cycle.push(name.to_owned());
                let message = format!("scripts import each other: {}", cycle.join(" → "));
                return Err(Diagnostic::new(Kind::Usage, message)
                    .help("move what both need into a third script".to_owned()));
            }
            names.push(name.to_owned());
            Ok(Importing)
        })
    }
}

impl Drop for Importing {
    fn drop(&mut self) {
        IMPORTING.with_borrow_mut(Vec::pop);
    }
}

/// Gives the engine the modules of a library.
pub(super) struct Resolver(pub Arc<Library>);

impl ModuleResolver for Resolver {
    fn resolve(
        &self,
        engine: &Engine,
        source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let located = self.0.locate(source, path).map_err(Failure::from);
        located
            .and_then(|name| self.0.module(engine, &name))
            .map_err(|failure| throw(failure, position))
    }
}
