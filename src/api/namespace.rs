//! A namespace of functions, each with its signature and its documentation beside it.

use std::sync::Arc;

use rhai::{Engine, FuncRegistration, Module, NativeCallContext, Variant};

use super::{
    Api,
    call::{Answer, Call},
};

/// Functions that scripts call as `NAME::FUNCTION`.
pub(super) struct Namespace {
    name: &'static str,
    api: Arc<Api>,
    module: Module,
}

impl Namespace {
    /// An empty namespace; `doc` says what it is for.
    pub fn new(api: &Arc<Api>, name: &'static str, doc: &str) -> Self {
        let mut module = Module::new();
        let lines: Vec<&str> = doc.lines().map(str::trim).collect();
        module.set_doc(lines.join("\n"));
        Namespace {
            name,
            api: api.clone(),
            module,
        }
    }

    /// Adds a function. The signature is written as the user reads it:
    /// `run(host: Host, command: string) -> string`.
    pub fn function<A, R>(&mut self, signature: &str, doc: &str, function: impl Function<A, R>) {
        let registration = registration(signature, doc);
        function.register(registration, &mut self.module, self.api.clone());
    }

    /// Adds a function that can also be called as a method of its first parameter.
    pub fn method<A, R>(&mut self, signature: &str, doc: &str, function: impl Function<A, R>) {
        let registration = registration(signature, doc).in_global_namespace();
        function.register(registration, &mut self.module, self.api.clone());
    }

    /// The name, and what it is for.
    pub fn doc(&self) -> (&'static str, String) {
        (self.name, self.module.doc().to_owned())
    }

    /// Makes the namespace known to scripts.
    pub fn register(self, engine: &mut Engine) {
        engine.register_static_module(self.name, self.module.into());
    }
}

/// What can be a function of a namespace: it is given the call and its arguments.
pub(super) trait Function<A, R> {
    /// Puts it into a module.
    fn register(self, registration: FuncRegistration, module: &mut Module, api: Arc<Api>);
}

macro_rules! function {
    ($($argument:ident: $type:ident),*) => {
        impl<F, R, $($type),*> Function<($($type,)*), R> for F
        where
            F: Fn(&Call<'_>, $($type),*) -> Answer<R> + Send + Sync + 'static,
            R: Variant + Clone,
            $($type: Variant + Clone,)*
        {
            fn register(self, registration: FuncRegistration, module: &mut Module, api: Arc<Api>) {
                registration.set_into_module(
                    module,
                    move |context: NativeCallContext, $($argument: $type),*| -> Answer<R> {
                        self(&api.call(&context)?, $($argument),*)
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

fn registration(signature: &str, doc: &str) -> FuncRegistration {
    let (name, parameters) = parse(signature);
    FuncRegistration::new(name)
        .with_params_info(parameters)
        .with_comments(doc.lines().map(|line| format!("/// {}", line.trim())))
}

/// The name, and the parameters followed by the type of the result, as the engine wants them.
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
