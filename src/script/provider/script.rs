//! The script of a provider: loads it, and calls its functions.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rhai::{Array, Dynamic, Engine, FnAccess, Map};

use super::super::{engine, invoke::call, library::Library};
use crate::{
    api::{Api, Frame},
    core::{
        diagnostic::{Diagnostic, Failure, Kind, did_you_mean},
        value::{Entry, Invalid, Value},
    },
    fleet::alone,
    inventory::Inventory,
    project::PROVIDERS_FOLDER,
    provider::is_user,
};

/// The name under which the engine knows the script.
const MODULE: &str = "hitc_provider";

/// The functions of a provider that change nothing. The commands that they run, such as a cloud's own
/// client, run in a dry run too.
const READING: [&str; 16] = [
    "missing",
    "account",
    "options",
    "list",
    "look_up",
    "quote",
    "costs",
    "check",
    "check_resize",
    "firewalls",
    "prices",
    "user",
    "images",
    "console",
    "volumes",
    "look_up_volume",
];

/// The script, which is loaded on first use.
pub(super) struct Script {
    pub name: String,
    /// The name of the file in errors.
    pub file: String,
    pub inventory: Arc<Inventory>,
    pub inner: Mutex<Option<Result<Arc<Inner>, Failure>>>,
}

pub(super) struct Inner {
    engine: Engine,
    library: Arc<Library>,
    /// The functions of the script and its parts, with the name under which the engine knows them.
    functions: HashMap<String, String>,
}

impl Script {
    /// Loads the script, once.
    fn inner(&self) -> Result<Arc<Inner>, Failure> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.get_or_insert_with(|| self.load()).clone()
    }

    fn load(&self) -> Result<Arc<Inner>, Failure> {
        let context = &self.inventory.context;
        let api = Arc::new(Api::default());
        let library = Arc::new(Library::new(context.project.root.clone()));
        let mut engine = engine::new(&api, &library, &context.events, &context.cancel);
        let mut files = vec![(MODULE.to_owned(), self.file.clone())];
        for import in &library.unit(&engine, &self.file)?.imports {
            let file = library.locate(Some(&self.file), &import.path)?;
            if self.is_part(&file) {
                files.push((format!("{MODULE}_{}", import.alias), file));
            }
        }
        let mut functions = HashMap::new();
        for (name, file) in files {
            let module = library.module(&engine, &file)?;
            let unit = library.unit(&engine, &file)?;
            let public = unit.ast.iter_functions();
            for function in public.filter(|function| function.access == FnAccess::Public) {
                let function = function.name.to_owned();
                let path = format!("{name}::{function}");
                functions.entry(function).or_insert(path);
            }
            engine.register_static_module(name, module);
        }
        api.start(self.inventory.clone());
        Ok(Arc::new(Inner {
            engine,
            library,
            functions,
        }))
    }

    /// Whether an imported file is a part of the provider: it is in a folder with its name. Its functions count
    /// as the provider's.
    fn is_part(&self, file: &str) -> bool {
        let folder = Path::new(file).parent();
        folder.is_some_and(|folder| folder.ends_with(Path::new(PROVIDERS_FOLDER).join(&self.name)))
    }

    /// Calls a function of the script, on a thread for scripts.
    pub fn call_here(&self, function: &str, arguments: Vec<Dynamic>) -> Result<Dynamic, Failure> {
        let called = alone(|| {
            let inner = self.inner()?;
            let Some(path) = inner.functions.get(function) else {
                let text = format!(
                    "provider `{}`: `{}` has no `{function}`",
                    self.name, self.file
                );
                return Err(Diagnostic::new(Kind::Usage, text).into());
            };
            let is_readonly = READING.contains(&function);
            let frame = Frame::new(&self.inventory.context.mode, is_readonly);
            call(&inner.engine, &inner.library, &frame, path, None, arguments)
        });
        called.unwrap_or_else(|error| Err(Diagnostic::new(Kind::Failed, error.to_string()).into()))
    }

    /// Merges the options of the user with the defaults of the script.
    pub fn options(&self, options: &Value) -> Result<Map, Invalid> {
        let refuse = |text: String| Invalid::new(options, text);
        let known = self
            .call_here("options", Vec::new())
            .map_err(|failure| refuse(self.placed(&failure)))?;
        let mut merged = known
            .try_cast::<Map>()
            .ok_or_else(|| refuse(format!("`{}`: `options` must return a map", self.file)))?;
        for Entry {
            key,
            key_span,
            value,
        } in options.to_map(&self.name)?
        {
            let Some(default) = merged.get(key.as_str()).cloned() else {
                let message = format!("provider `{}`: unknown option `{key}`", self.name);
                let near = did_you_mean(&key, merged.keys().map(rhai::Identifier::as_str));
                return Err(Invalid::at(key_span, message).help(near));
            };
            // Each is of the kind that its default is of.
            let value = if default.is_bool() {
                value.to_bool(&key)?.into()
            } else if default.is_int() {
                value.to_integer(&key, i64::MIN..i64::MAX)?.into()
            } else if default.is_array() {
                let items = value.to_list(&key)?;
                let texts = items
                    .iter()
                    .map(|item| item.to_text(&key).map(Dynamic::from));
                texts.collect::<Result<Array, _>>()?.into()
            } else {
                let text = value.to_text(&key)?;
                if key == "user" && !is_user(&text) {
                    return Err(Invalid::new(&value, format!("invalid user `{text}`")));
                }
                text.into()
            };
            merged.insert(key.into(), value);
        }
        Ok(merged)
    }

    /// Describes a failure with its file and line.
    fn placed(&self, failure: &Failure) -> String {
        match failure.0.first().and_then(|first| first.excerpts.first()) {
            Some(place) => format!("{}:{}: {failure}", place.source.name, place.line()),
            None => format!("{}: {failure}", self.file),
        }
    }

    pub fn has(&self, function: &str) -> bool {
        self.inner()
            .is_ok_and(|inner| inner.functions.contains_key(function))
    }
}
