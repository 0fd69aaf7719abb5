//! A namespace of functions, each registered with its signature and documentation.

use std::sync::Arc;

use rhai::{Dynamic, Engine, FuncRegistration, Module, NativeCallContext, Variant};

use super::{
    Api,
    call::{Answer, Call},
    functions::{Effect, Entry},
    mocked::call_in_test,
};
use crate::core::diagnostic::{Diagnostic, Kind};

/// Functions that scripts call as `NAME::FUNCTION`.
pub(super) struct Namespace {
    name: &'static str,
    api: Arc<Api>,
    module: Module,
    changing: Vec<String>,
}

/// How a function is registered.
pub(super) struct Registration {
    function: FuncRegistration,
    api: Arc<Api>,
    entry: Entry,
}

impl Namespace {
    /// An empty namespace with its documentation.
    pub fn new(api: &Arc<Api>, name: &'static str, doc: &str) -> Self {
        let mut module = Module::new();
        let lines: Vec<&str> = doc.lines().map(str::trim).collect();
        module.set_doc(lines.join("\n"));
        Namespace {
            name,
            api: api.clone(),
            module,
            changing: Vec::new(),
        }
    }

    /// Adds a function that only reads. The signature is written as the user reads it:
    /// `exists(path: string) -> bool`.
    pub fn function<A, R>(&mut self, signature: &str, doc: &str, function: impl Function<A, R>) {
        let registration = registration(signature, doc);
        self.add(signature, registration, Effect::None, function);
    }

    /// Adds a function that only reads, and asks a server, an engine or a cloud. In a test of scripts, the
    /// test answers for it.
    pub fn query<A, R>(&mut self, signature: &str, doc: &str, function: impl Function<A, R>) {
        let registration = registration(signature, doc);
        self.add(signature, registration, Effect::Asks, function);
    }

    /// Adds a function as [`Namespace::query`] does, that is also a method of its first parameter.
    pub fn query_method<A, R>(
        &mut self,
        signature: &str,
        doc: &str,
        function: impl Function<A, R>,
    ) {
        let registration = registration(signature, doc).in_global_namespace();
        self.add(signature, registration, Effect::Asks, function);
    }

    /// Adds a function that only reads and is also a method of its first parameter.
    pub fn method<A, R>(&mut self, signature: &str, doc: &str, function: impl Function<A, R>) {
        let registration = registration(signature, doc).in_global_namespace();
        self.add(signature, registration, Effect::None, function);
    }

    /// Adds a function that changes something or runs a command. It must do neither in a dry run.
    pub fn change<A, R>(&mut self, signature: &str, doc: &str, function: impl Function<A, R>) {
        let registration = registration(signature, doc);
        self.add(signature, registration, Effect::Changes, function);
    }

    /// Adds a function that changes something and is also a method of its first parameter.
    pub fn change_method<A, R>(
        &mut self,
        signature: &str,
        doc: &str,
        function: impl Function<A, R>,
    ) {
        let registration = registration(signature, doc).in_global_namespace();
        self.add(signature, registration, Effect::Changes, function);
    }

    fn add<A, R>(
        &mut self,
        signature: &str,
        registration: FuncRegistration,
        effect: Effect,
        function: impl Function<A, R>,
    ) {
        if effect == Effect::Changes {
            self.changing.push(signature.to_owned());
        }
        let (name, parameters) = parse(signature);
        let entry = Entry {
            name: format!("{}::{name}", self.name),
            result: parameters.last().copied().unwrap_or("()").to_owned(),
            effect,
        };
        self.api.functions.add(&entry.name);
        let registration = Registration {
            function: registration,
            api: self.api.clone(),
            entry,
        };
        function.register(registration, &mut self.module);
    }

    /// The name and the documentation.
    pub fn doc(&self) -> (&'static str, String) {
        (self.name, self.module.doc().to_owned())
    }

    /// The functions that change something, each as `NAMESPACE::NAME/PARAMETERS`.
    #[cfg(test)]
    pub fn changing(&self) -> Vec<String> {
        let describe = |signature: &String| {
            let (name, parameters) = parse(signature);
            format!("{}::{name}/{}", self.name, parameters.len() - 1)
        };
        self.changing.iter().map(describe).collect()
    }

    /// Registers the namespace with the engine.
    pub fn register(self, engine: &mut Engine) {
        engine.register_static_module(self.name, self.module.into());
    }
}

/// A closure that implements a function of a namespace: it takes the call and the arguments.
pub(super) trait Function<A, R> {
    /// Registers it in a module.
    fn register(self, registration: Registration, module: &mut Module);
}

macro_rules! function {
    ($($argument:ident: $type:ident),*) => {
        impl<F, R, $($type),*> Function<($($type,)*), R> for F
        where
            F: Fn(&Call<'_>, $($type),*) -> Answer<R> + Send + Sync + 'static,
            R: Variant + Clone,
            $($type: Variant + Clone,)*
        {
            fn register(self, registration: Registration, module: &mut Module) {
                let Registration { function, api, entry } = registration;
                function.set_into_module(
                    module,
                    move |script: NativeCallContext, $($argument: $type),*| -> Answer<R> {
                        let call = api.call(&script)?;
                        if call.mock().is_some() {
                            let arguments = vec![$(Dynamic::from($argument.clone())),*];
                            let own = || self(&call, $($argument),*);
                            return call_in_test(&call, &entry, arguments, own);
                        }
                        let answer = self(&call, $($argument),*);
                        if entry.effect == Effect::Changes { answer } else { reading(&call, answer) }
                    },
                );
            }
        }
    };
}

function!();
function!(a: A);
function!(a: A, b: B);
function!(a: A, b: B, c: C);
function!(a: A, b: B, c: C, d: D);
function!(a: A, b: B, c: C, d: D, e: E);

/// Checks that a function that is registered as read-only did not ask whether it may change
/// something: the test that calls all changing functions in a dry run would not cover it.
fn reading<R>(call: &Call, answer: Answer<R>) -> Answer<R> {
    if !call.has_asked() {
        return answer;
    }
    let name = call.script.fn_name();
    let message =
        format!("internal error: `{name}` may change something, but is registered as read-only");
    Err(call.fail(Diagnostic::new(Kind::Failed, message)))
}

fn registration(signature: &str, doc: &str) -> FuncRegistration {
    let (name, parameters) = parse(signature);
    FuncRegistration::new(name)
        .with_params_info(parameters)
        .with_comments(doc.lines().map(|line| format!("/// {}", line.trim())))
}

/// The name, and the parameters followed by the type of the result, in the order of the engine.
fn parse(signature: &str) -> (&str, Vec<&str>) {
    let (name, rest) = signature.split_once('(').unwrap_or((signature, ")"));
    let (parameters, result) = rest.rsplit_once(')').unwrap_or((rest, ""));
    let result = result.trim().trim_start_matches("->").trim();
    let mut all: Vec<&str> = parameters
        .split(',')
        .map(str::trim)
        .filter(|parameter| !parameter.is_empty())
        .collect();
    all.push(if result.is_empty() { "()" } else { result });
    (name, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures() {
        assert_eq!(
            parse("run(host: Host, command: string) -> string"),
            ("run", vec!["host: Host", "command: string", "string"])
        );
        assert_eq!(parse("now()"), ("now", vec!["()"]));
    }
}
