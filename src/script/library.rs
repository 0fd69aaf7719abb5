//! The scripts of a run: finds, compiles and checks each of them once.

use std::{
    collections::HashMap,
    fs, io,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use rhai::{Engine, Module, Shared};

use super::{
    check::{RegisteredNames, RegisteredSignatures, check},
    coverage::Coverage,
    embedded::{
        PARTS, PROVIDERS, STDLIB, TASKS, file_name, missing_module, part_file, provider_file,
        standard_module,
    },
    unit::{Unit, span},
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind, Source, did_you_mean, plain},
        text_file::{USUAL_LIMIT, read_text},
    },
    project::check_trusted,
};

/// The scripts of a project and the embedded ones, by the file name that errors show.
pub(super) struct Library {
    root: PathBuf,
    units: Mutex<HashMap<String, Arc<Unit>>>,
    /// The evaluated scripts; see `module.rs`.
    modules: Mutex<HashMap<String, Shared<Module>>>,
    failed: Mutex<HashMap<String, Failure>>,
    names: OnceLock<Arc<RegisteredNames>>,
    signatures: OnceLock<Arc<RegisteredSignatures>>,
    /// Which functions are called, in a test.
    pub coverage: Option<Coverage>,
}

impl Library {
    /// Creates a library of a project's folder.
    pub fn new(root: PathBuf) -> Self {
        Library {
            root,
            units: Mutex::default(),
            modules: Mutex::default(),
            failed: Mutex::default(),
            names: OnceLock::new(),
            signatures: OnceLock::new(),
            coverage: None,
        }
    }

    /// Creates a library that notes which functions of the project's scripts are called.
    pub fn covered(root: PathBuf) -> Self {
        Library {
            coverage: Some(Coverage::default()),
            ..Library::new(root)
        }
    }

    /// Returns a script, compiled and checked together with its imports.
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

    /// Checks a script's imports, then its calls.
    fn check(&self, engine: &Engine, unit: Arc<Unit>) -> Result<Arc<Unit>, Failure> {
        let name = &unit.source.name;
        self.units().insert(name.clone(), unit.clone());
        let (mut imports, mut errors) = (HashMap::new(), Vec::new());
        for import in &unit.imports {
            let imported = match self.locate(Some(name), &import.path) {
                Ok(imported) => self.unit(engine, &imported),
                Err(error) => {
                    let span = span(&unit.source, import.position);
                    Err(error.at(&unit.source, span).into())
                }
            };
            match imported {
                Ok(unit) => drop(imports.insert(import.alias.clone(), unit)),
                Err(failure) => errors.extend(failure.0),
            }
        }
        errors.extend(check(
            &unit,
            &imports,
            || self.names(engine),
            || self.signatures(engine),
        ));
        if errors.is_empty() {
            Ok(unit)
        } else {
            Err(Failure(errors))
        }
    }

    /// Resolves the path of an import in the script `from` to a script's name.
    pub fn locate(&self, from: Option<&str>, path: &str) -> Result<String, Diagnostic> {
        if path.starts_with("std/") {
            if PARTS.iter().any(|(part, _)| *part == path) {
                return Ok(part_file(path));
            }
            if standard_module(path).is_some() {
                return Ok(format!("{path}.rhai"));
            }
            return Err(missing_module(path));
        }
        let folder = from.and_then(|from| Path::new(from).parent());
        let file = normalize(&folder.unwrap_or(Path::new("")).join(format!("{path}.rhai")));
        if self.root.join(&file).is_file() {
            return Ok(file);
        }
        let message = format!("script `{file}` not found");
        Err(Diagnostic::new(Kind::Usage, message).help(self.near(&file)))
    }

    /// Returns the scripts that the hitcfile imports, with their aliases: their functions are tasks in
    /// a namespace. Functions of the standard library are not tasks.
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

    /// Whether the project has a script of this name.
    pub fn has(&self, name: &str) -> bool {
        self.root.join(name).is_file()
    }

    /// Returns a compiled script, even if its check failed.
    pub fn compiled(&self, name: &str) -> Option<Arc<Unit>> {
        self.units().get(name).cloned()
    }

    /// Returns the source of a compiled script.
    pub fn source(&self, name: &str) -> Option<Arc<Source>> {
        self.compiled(name).map(|unit| unit.source.clone())
    }

    /// Whether a script is embedded in the program.
    pub fn is_embedded(name: &str) -> bool {
        embedded(name).is_some()
    }

    /// Returns which functions are registered with the engine.
    pub fn names(&self, engine: &Engine) -> Arc<RegisteredNames> {
        let names = self
            .names
            .get_or_init(|| RegisteredNames::of(engine).into());
        names.clone()
    }

    /// Returns the functions that are registered with the engine, with their signatures.
    pub fn signatures(&self, engine: &Engine) -> Arc<RegisteredSignatures> {
        let signatures = self
            .signatures
            .get_or_init(|| RegisteredSignatures::of(engine).into());
        signatures.clone()
    }

    fn read(&self, name: &str) -> Result<String, Diagnostic> {
        if let Some(text) = embedded(name) {
            return Ok(text.to_owned());
        }
        let path = self.root.join(name);
        check_trusted(&path)?;
        let text = read_text(&path, USUAL_LIMIT).map_err(|error| {
            let cause = match error.kind() {
                io::ErrorKind::InvalidData => "not UTF-8 text".to_owned(),
                _ => plain(error),
            };
            Diagnostic::new(Kind::Usage, format!("`{name}`: {cause}"))
        })?;
        Ok(text)
    }

    /// Returns a suggestion: a script in the same folder with a similar name.
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

    /// Returns the evaluated scripts, by name.
    pub fn modules(&self) -> MutexGuard<'_, HashMap<String, Shared<Module>>> {
        lock(&self.modules)
    }
}

/// Locks a map. It is consistent even if a thread panicked while holding the lock.
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
    let parts = PARTS.iter().map(|(path, text)| (part_file(path), *text));
    tasks
        .chain(modules)
        .chain(providers)
        .chain(parts)
        .find(|(file, _)| file == name)
        .map(|(_, text)| text)
}

/// Resolves `.` and `..` in a path without accessing the file system.
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
