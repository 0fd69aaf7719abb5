//! The functions that a test of scripts answers for, and the calls of functions in it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Mutex,
};

use rhai::{Array, Dynamic};

use crate::core::{
    diagnostic::{Diagnostic, Kind, did_you_mean},
    sync::lock,
};

/// The namespaces whose functions only compute. Their calls are not recorded.
const UNRECORDED: [&str; 5] = ["env", "json", "test", "time", "yaml"];

/// What a function does besides computing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing, or it has answers of its own in a test.
    None,
    /// It asks a server, an engine, a cloud. In a test, the test must answer.
    Asks,
    /// It changes something, or runs a command. In a test, that is recorded and not done.
    Changes,
}

/// A function of a namespace.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// `NAMESPACE::NAME`.
    pub name: String,
    /// The type of its result, as the user reads it.
    pub result: String,
    /// What it does.
    pub effect: Effect,
}

impl Entry {
    /// A literal of the type of the result.
    pub fn example(&self) -> &str {
        match self.result.as_str() {
            "array" => "[…]",
            "map" => "#{…}",
            "string" => "\"…\"",
            "Secret" => "secret::of(\"…\")",
            "Host" => "test::host(\"…\")",
            "float" => "0.0",
            _ => "()",
        }
    }
}

fn is_recorded(name: &str) -> bool {
    let namespace = name.split("::").next().unwrap_or(name);
    !UNRECORDED.contains(&namespace)
}

/// The functions of a test.
#[derive(Default)]
pub(super) struct Functions {
    known: Mutex<BTreeSet<String>>,
    results: Mutex<HashMap<String, Dynamic>>,
    calls: Mutex<Vec<(String, Array)>>,
}

impl Functions {
    /// Adds a function that exists.
    pub fn add(&self, name: &str) {
        lock(&self.known).insert(name.to_owned());
    }

    /// Sets the result of a function: a value, or a closure that gets the arguments.
    pub fn mock(&self, name: &str, result: Dynamic) -> Result<(), Diagnostic> {
        self.check(name)?;
        lock(&self.results).insert(name.to_owned(), result);
        Ok(())
    }

    /// The result of a function, if the test sets one.
    pub fn result(&self, name: &str) -> Option<Dynamic> {
        lock(&self.results).get(name).cloned()
    }

    /// Records a call.
    pub fn record(&self, name: &str, arguments: &Array) {
        if is_recorded(name) {
            lock(&self.calls).push((name.to_owned(), arguments.clone()));
        }
    }

    /// Returns the arguments of each call of a function, in order.
    pub fn calls(&self, name: &str) -> Result<Vec<Array>, Diagnostic> {
        self.check(name)?;
        if !is_recorded(name) {
            let message = format!("calls of `{name}` are not recorded");
            return Err(Diagnostic::new(Kind::Usage, message));
        }
        let calls = lock(&self.calls);
        let of_function = calls.iter().filter(|(called, _)| called == name);
        Ok(of_function
            .map(|(_, arguments)| arguments.clone())
            .collect())
    }

    /// Fails if there is no such function.
    fn check(&self, name: &str) -> Result<(), Diagnostic> {
        let known = lock(&self.known);
        if known.contains(name) {
            return Ok(());
        }
        let help = did_you_mean(name, known.iter().map(String::as_str))
            .unwrap_or_else(|| "write it with its namespace: `docker::ps`".to_owned());
        let message = format!("function `{name}` not found");
        Err(Diagnostic::new(Kind::Usage, message).help(help))
    }

    /// Removes all answers and calls, for the next test.
    pub fn clear(&self) {
        lock(&self.results).clear();
        lock(&self.calls).clear();
    }
}
