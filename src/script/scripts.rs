//! The tasks of all scripts, by name.

use std::{io, path::Path, sync::Arc};

use rhai::{Dynamic, Engine};

use super::{
    Config,
    discover::{TaskFilter, discover_tasks, read_tasks},
    embedded::{ALIASES, STDLIB, TASKS, TOP, ejected, file_name},
    engine,
    function::Function,
    invoke::call,
    library::Library,
    reference::{Namespace, explain as explain_function, native, scripted},
    task::Task,
};
use crate::{
    api::{self, Api, Frame},
    core::{
        cancel::Cancel,
        diagnostic::{Diagnostic, Failure, Kind, Source, did_you_mean},
        event::Events,
    },
    project::Project,
};

/// The scripts of a run. Built-in scripts are compiled when one of their tasks is looked up.
pub struct Scripts {
    engine: Engine,
    library: Arc<Library>,
    /// The name of the hitcfile, if there is one.
    hitcfile: Option<String>,
    entries: Vec<Entry>,
    built_in: Vec<&'static str>,
}

/// Writes definition files, which tell the Rhai language server the functions of hitc.
pub fn write_definitions(folder: &Path) -> io::Result<()> {
    let library = Arc::new(Library::new(folder.to_owned()));
    let (events, cancel) = (Events::silent(), Cancel::default());
    let engine = engine::new(&Arc::new(Api::default()), &library, &events, &cancel);
    std::fs::create_dir_all(folder)?;
    engine.definitions().write_to_dir(folder)
}

/// A task, and the engine's name of its module.
struct Entry {
    task: Arc<Task>,
    module: String,
}

impl Scripts {
    /// Loads the hitcfile of a project, if there is one, and its imports. Runs only their top level.
    pub fn load(
        api: &Arc<Api>,
        project: &Project,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<Self, Failure> {
        let library = Arc::new(Library::new(project.root.clone()));
        let mut scripts = Scripts::empty(api, &library, events, cancel);
        scripts.add_project(project)?;
        Ok(scripts)
    }

    /// Loads the same for a test, which notes the tasks that are called.
    pub fn load_for_test(
        api: &Arc<Api>,
        project: &Project,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<Self, Failure> {
        let library = Arc::new(Library::covered(project.root.clone()));
        let mut scripts = Scripts::empty(api, &library, events, cancel);
        scripts.add_project(project)?;
        Ok(scripts)
    }

    fn empty(api: &Arc<Api>, library: &Arc<Library>, events: &Events, cancel: &Cancel) -> Self {
        Scripts {
            engine: engine::new(api, library, events, cancel),
            library: library.clone(),
            hitcfile: None,
            entries: Vec::new(),
            built_in: Vec::new(),
        }
    }

    /// Adds the tasks of the hitcfile and of what it imports, if there is one.
    fn add_project(&mut self, project: &Project) -> Result<(), Failure> {
        if let Some(hitcfile) = project.script() {
            self.add(&hitcfile, None, TaskFilter::All)?;
            let unit = self.library.unit(&self.engine, &hitcfile)?;
            self.hitcfile = Some(hitcfile);
            for (name, alias) in self.library.namespaces(&unit) {
                self.add(&name, Some(&alias), TaskFilter::Documented)?;
            }
        }
        Ok(())
    }

    /// Loads all tasks into an engine of their own, from scripts that are compiled already.
    pub(super) fn load_all(
        api: &Arc<Api>,
        library: &Arc<Library>,
        project: &Project,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<Self, Failure> {
        let mut scripts = Scripts::empty(api, library, events, cancel);
        scripts.add_project(project)?;
        scripts.all()?;
        Ok(scripts)
    }

    /// The compiled scripts.
    pub(super) fn library(&self) -> &Arc<Library> {
        &self.library
    }

    /// Loads the built-in scripts only.
    #[cfg(test)]
    pub fn without_project() -> Result<Self, Failure> {
        let api = Arc::new(Api::default());
        let events = Events::silent();
        let project = Project {
            root: std::path::PathBuf::from("/nowhere"),
            hitcfile: None,
            data: std::path::PathBuf::new(),
            home: std::path::PathBuf::new(),
            is_test: false,
        };
        Scripts::load(&api, &project, &events, &Cancel::default())
    }

    /// Returns the documentation of the functions that scripts can call: the registered namespaces and
    /// the standard library.
    pub fn reference(&self) -> Result<Vec<Namespace>, Failure> {
        let mut namespaces = native(&self.engine, api::docs());
        for (name, _) in STDLIB {
            let unit = self.library.unit(&self.engine, &format!("{name}.rhai"))?;
            namespaces.push(scripted(name, &unit.ast));
        }
        Ok(namespaces)
    }

    /// Returns the help text of a function or namespace; none if the name is unknown.
    pub fn explain(&self, name: &str) -> Result<Option<String>, Failure> {
        Ok(explain_function(&self.reference()?, name))
    }

    /// Returns a suggestion: the full name of a function with a similar name.
    pub fn near_function(&self, name: &str) -> Result<Option<String>, Failure> {
        let all = self.reference()?;
        let names = all.iter().flat_map(|namespace| {
            let functions = namespace.functions.iter();
            functions
                .flat_map(|function| [Some(namespace.full_name(function)), function.method_name()])
        });
        let names: Vec<String> = names.flatten().collect();
        Ok(did_you_mean(name, names.iter().map(String::as_str)))
    }

    /// Registers the functions of the hitcfile and of its imports for the console. Returns the names of
    /// all functions.
    pub(super) fn share_functions(&mut self) -> Result<Vec<String>, Failure> {
        let namespaces = self.reference()?;
        let mut words: Vec<String> = namespaces
            .iter()
            .flat_map(|namespace| namespace.functions.iter().map(|f| namespace.full_name(f)))
            .collect();
        if let Some(hitcfile) = &self.hitcfile {
            let unit = self.library.unit(&self.engine, hitcfile)?;
            let module = self.library.module(&self.engine, hitcfile)?;
            self.engine.register_global_module(module);
            for (name, alias) in self.library.namespaces(&unit) {
                let module = self.library.module(&self.engine, &name)?;
                self.engine.register_static_module(alias, module);
            }
        }
        words.extend(self.entries.iter().map(|entry| entry.task.name.clone()));
        words.sort();
        words.dedup();
        Ok(words)
    }

    /// Returns the engine and its scripts.
    pub(super) fn parts(&self) -> (&Engine, &Library) {
        (&self.engine, &self.library)
    }

    /// Finds a task by its name on the command line, in which dashes stand for underscores.
    pub fn find(&mut self, name: &str) -> Result<Arc<Task>, Failure> {
        let wanted = self.full_name(name);
        if let Some(task) = self.lookup(&wanted) {
            return Ok(task);
        }
        let namespace = wanted
            .split_once('.')
            .map_or(TOP, |(namespace, _)| namespace);
        if let Some((namespace, _)) = TASKS.iter().find(|(known, _)| *known == namespace) {
            self.load_built_in(namespace)?;
            if let Some(task) = self.lookup(&wanted) {
                return Ok(task);
            }
        }
        self.all()?;
        self.known(name)
    }

    /// Finds a task by name among those that are loaded.
    pub(super) fn known(&self, name: &str) -> Result<Arc<Task>, Failure> {
        let wanted = self.full_name(name);
        if let Some(task) = self.lookup(&wanted) {
            return Ok(task);
        }
        let tasks = self.entries.iter().map(|entry| &entry.task);
        let names: Vec<String> = tasks.clone().map(|task| task.full_name()).collect();
        // `logs` is `docker.logs`.
        let inner: Vec<String> = tasks
            .filter(|task| task.name == wanted && !task.hidden)
            .map(|task| format!("`{}`", task.full_name()))
            .collect();
        let inner = (!inner.is_empty()).then(|| format!("did you mean {}?", inner.join(" or ")));
        let help = did_you_mean(&wanted, names.iter().map(String::as_str))
            .or(inner)
            .unwrap_or_else(|| "run `hitc tasks` for a list of the tasks".to_owned());
        Err(
            Diagnostic::new(Kind::NotFound, format!("task `{name}` not found"))
                .help(help)
                .into(),
        )
    }

    /// Returns all tasks: those of the hitcfile in its order, of its imports, then the built-in ones.
    pub fn all(&mut self) -> Result<Vec<Arc<Task>>, Failure> {
        for (namespace, _) in TASKS {
            self.load_built_in(namespace)?;
        }
        Ok(self
            .entries
            .iter()
            .map(|entry| entry.task.clone())
            .collect())
    }

    /// Returns the same tasks as [`Scripts::all`], to be listed and not run: built-in scripts that are not
    /// loaded yet are not compiled.
    pub fn list(&mut self) -> Result<Vec<Arc<Task>>, Failure> {
        for (namespace, _) in TASKS {
            if self.library.has(&ejected(namespace)) {
                self.load_built_in(namespace)?;
            }
        }
        let is_built_in = |task: &Task| {
            let files = |namespace| [file_name(namespace), ejected(namespace)];
            let mut scripts = TASKS.iter().map(|(namespace, _)| files(namespace));
            scripts.any(|files| files.contains(&task.source.name))
        };
        let loaded = self.entries.iter().map(|entry| &entry.task);
        let (mut listed, loaded): (Vec<_>, Vec<_>) =
            loaded.cloned().partition(|task| !is_built_in(task));
        for (namespace, text) in TASKS {
            let shown = (namespace != TOP).then_some(namespace);
            if self.built_in.contains(&namespace) {
                let own = |task: &&Arc<Task>| task.namespace.as_deref() == shown;
                listed.extend(loaded.iter().filter(own).cloned());
                continue;
            }
            let source = Source::new(file_name(namespace), text);
            let functions = Function::scan(&source);
            let (tasks, _) = read_tasks(&functions, &source, shown, TaskFilter::All);
            let is_free = |task: &Task| self.lookup(&task.full_name()).is_none();
            listed.extend(tasks.into_iter().filter(is_free).map(Arc::new));
        }
        Ok(listed)
    }

    /// Returns the tests in these files, each with the namespace that its tests get: their functions
    /// without parameters.
    pub fn tests(&mut self, files: &[(String, String)]) -> Result<Vec<Arc<Task>>, Failure> {
        if let Some(coverage) = &self.library.coverage {
            coverage.complete();
        }
        let first = self.entries.len();
        for (file, namespace) in files {
            self.add(file, Some(namespace), TaskFilter::WithoutParameters)?;
        }
        let tests = self.entries[first..].iter().map(|entry| entry.task.clone());
        Ok(tests.collect())
    }

    /// Returns the tasks of the project that are loaded, each with whether it was called since they were
    /// loaded for a test.
    pub fn covered(&self) -> Vec<(Arc<Task>, bool)> {
        let is_own = |task: &&Arc<Task>| !Library::is_embedded(&task.source.name);
        let tasks = self.entries.iter().map(|entry| &entry.task).filter(is_own);
        let is_called = |task: &Task| {
            let coverage = self.library.coverage.as_ref();
            coverage.is_some_and(|coverage| coverage.has(&task.source.name, &task.name))
        };
        tasks.map(|task| (task.clone(), is_called(task))).collect()
    }

    /// Calls a task's function with a frame, on the thread of the caller.
    pub(super) fn call(
        &self,
        frame: &Frame,
        task: &Task,
        arguments: Vec<Dynamic>,
    ) -> Result<Dynamic, Failure> {
        let has_name = |entry: &&Entry| entry.task.full_name() == task.full_name();
        let entry = self
            .entries
            .iter()
            // A test may have the name of a task.
            .find(|entry| std::ptr::eq(&raw const *entry.task, task))
            .or_else(|| self.entries.iter().find(has_name))
            .ok_or_else(|| Diagnostic::new(Kind::NotFound, "task not loaded"))?;
        let (engine, library) = (&self.engine, &self.library);
        let function = format!("{}::{}", entry.module, task.name);
        call(engine, library, frame, &function, Some(task), arguments)
    }

    /// Returns the settings that the hitcfile makes with `config`.
    pub fn config(&self, api: &Api) -> Result<Config, Diagnostic> {
        let hitcfile = self.hitcfile.as_ref();
        match hitcfile.and_then(|name| self.library.source(name)) {
            Some(hitcfile) => Config::read(api, &hitcfile),
            None => Ok(Config::default()),
        }
    }

    /// The name of a task without dashes and aliases of namespaces. A namespace of the project is not an
    /// alias.
    fn full_name(&self, name: &str) -> String {
        let name = name.replace('-', "_");
        let Some((namespace, task)) = name.split_once('.') else {
            return name;
        };
        let mut own = self.entries.iter().map(|entry| &entry.task.namespace);
        match ALIASES.iter().find(|(alias, _)| *alias == namespace) {
            Some((_, real)) if !own.any(|own| own.as_deref() == Some(namespace)) => {
                format!("{real}.{task}")
            }
            _ => name,
        }
    }

    fn lookup(&self, name: &str) -> Option<Arc<Task>> {
        let has_name = |task: &Task| {
            let alias = |alias: &String| match &task.namespace {
                Some(namespace) => format!("{namespace}.{alias}") == name,
                None => alias == name,
            };
            task.full_name() == name || task.aliases.iter().any(alias)
        };
        self.entries
            .iter()
            .map(|entry| &entry.task)
            .find(|task| has_name(task))
            .cloned()
    }

    fn load_built_in(&mut self, namespace: &'static str) -> Result<(), Failure> {
        if self.built_in.contains(&namespace) {
            return Ok(());
        }
        self.built_in.push(namespace);
        let shown = (namespace != TOP).then_some(namespace);
        let own = ejected(namespace);
        if self.library.has(&own) {
            return self.add(&own, shown, TaskFilter::All);
        }
        self.add(&file_name(namespace), shown, TaskFilter::All)
    }

    /// Adds the tasks of a script, except those whose names are taken: tasks of the user replace
    /// built-in ones.
    fn add(
        &mut self,
        file: &str,
        namespace: Option<&str>,
        filter: TaskFilter,
    ) -> Result<(), Failure> {
        let unit = self.library.unit(&self.engine, file)?;
        let (tasks, errors) = discover_tasks(&unit.ast, &unit.source, namespace, filter);
        if !errors.is_empty() {
            return Err(Failure(errors));
        }
        let module = self.library.module(&self.engine, file)?;
        let name = format!("hitc_tasks_{}", self.entries.len());
        self.engine.register_static_module(&name, module);
        for task in tasks {
            let is_test = filter == TaskFilter::WithoutParameters;
            if is_test || self.lookup(&task.full_name()).is_none() {
                self.entries.push(Entry {
                    task: Arc::new(task),
                    module: name.clone(),
                });
            }
        }
        Ok(())
    }
}
