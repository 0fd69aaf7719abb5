//! `Api`: the state that the functions of all namespaces share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread::{self, ThreadId},
};

use rhai::{Dynamic, Map, Position};

use super::{Frame, Host, functions::Functions};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        value::Value,
    },
    inventory::Inventory,
};

/// Runs a task by name for a task with the given frame: on these hosts, or on those that the task
/// itself names, with values for its parameters.
pub type Runner = Box<
    dyn Fn(&Inventory, &Frame, &str, Option<Vec<Host>>, Map) -> Result<Dynamic, Failure>
        + Send
        + Sync,
>;

/// The state behind the functions of all namespaces.
#[derive(Default)]
pub struct Api {
    inventory: OnceLock<Arc<Inventory>>,
    runner: OnceLock<Runner>,
    config: Mutex<Vec<(Value, Position)>>,
    /// The values of `provider::once`, by key.
    once: Mutex<HashMap<String, Arc<Once>>>,
    /// The functions that a test answers for.
    pub(super) functions: Functions,
}

/// A value of `provider::once`.
#[derive(Default)]
struct Once {
    /// The lock is held while it is made.
    value: Mutex<Option<Dynamic>>,
    /// The thread that makes it.
    maker: Mutex<Option<ThreadId>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Api {
    /// Enables the functions. Before, while scripts are loaded, they fail: otherwise a hitcfile
    /// that acts at its top level would do so for `hitc tasks`, too.
    pub fn start(&self, inventory: Arc<Inventory>) {
        // A process has one run, so this is called once.
        let _ = self.inventory.set(inventory);
    }

    /// Forgets the functions that a test answers for, before the next test.
    pub fn forget_mocks(&self) {
        self.functions.clear();
        self.once
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Sets how tasks are run by name. The layer above knows the tasks.
    pub fn set_runner(&self, runner: Runner) {
        // As for `start`.
        let _ = self.runner.set(runner);
    }

    /// Whether the run has started: all scripts are loaded.
    pub fn has_started(&self) -> bool {
        self.inventory.get().is_some()
    }

    /// The inventory of the run, once it has started.
    pub(super) fn inventory(&self) -> Option<&Arc<Inventory>> {
        self.inventory.get()
    }

    /// Runs a task by name.
    pub(super) fn run_task(
        &self,
        inventory: &Inventory,
        frame: &Frame,
        name: &str,
        hosts: Option<Vec<Host>>,
        values: Map,
    ) -> Result<Dynamic, Failure> {
        match self.runner.get() {
            Some(runner) => runner(inventory, frame, name, hosts, values),
            None => {
                let message = "task::run: not available in the script of a provider";
                Err(Diagnostic::new(Kind::Usage, message).into())
            }
        }
    }

    /// Returns the value of this key, which the first caller makes. Callers at the same time wait for it. An
    /// error is not kept. None if the caller is making this value.
    pub(super) fn once<E>(
        &self,
        key: &str,
        make: impl FnOnce() -> Result<Dynamic, E>,
    ) -> Option<Result<Dynamic, E>> {
        let cell = {
            let mut all = self.once.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(key.to_owned()).or_default().clone()
        };
        let own = Some(thread::current().id());
        if *lock(&cell.maker) == own {
            return None;
        }
        let mut value = lock(&cell.value);
        if let Some(value) = &*value {
            return Some(Ok(value.clone()));
        }
        *lock(&cell.maker) = own;
        let made = make();
        *lock(&cell.maker) = None;
        if let Ok(made) = &made {
            *value = Some(made.clone());
        }
        Some(made)
    }

    /// Adds what a call of `config(…)` sets.
    pub(super) fn configure(&self, settings: Value, position: Position) {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.push((settings, position));
    }

    /// The arguments of all calls of `config(…)`, with their positions.
    pub fn config(&self) -> Vec<(Value, Position)> {
        let config = self.config.lock();
        config.unwrap_or_else(PoisonError::into_inner).clone()
    }
}
