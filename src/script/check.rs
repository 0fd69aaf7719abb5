//! Finds calls of functions that do not exist, before anything runs.
//!
//! Rhai resolves a function by the types of its arguments at run time. Whether any function has the
//! name and the number of parameters is known before, and catches most mistakes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use rhai::{ASTNode, Engine, Expr, FnAccess, FnCallExpr, FuncMetadata, Position};

use super::unit::{Unit, span};
use crate::core::diagnostic::{Diagnostic, Kind, did_you_mean, plural};

/// Functions of the language itself, with any number of arguments.
const LANGUAGE: [&str; 10] = [
    "Fn",
    "call",
    "curry",
    "debug",
    "is_def_fn",
    "is_def_var",
    "is_shared",
    "print",
    "type_of",
    "throw",
];

/// Something about each function, by its name and number of parameters.
type Functions<T> = BTreeMap<String, BTreeMap<usize, Vec<T>>>;

/// The functions that are registered with the engine, and something about each.
pub(super) struct Registered<T> {
    global: Functions<T>,
    namespaces: HashMap<String, Functions<T>>,
}

/// Which functions there are. They are collected in a fraction of the time that the signatures take.
pub(super) type RegisteredNames = Registered<()>;

/// The functions with their signatures.
pub(super) type RegisteredSignatures = Registered<String>;

impl RegisteredNames {
    /// Collects them from the engine.
    pub fn of(engine: &Engine) -> Self {
        Registered::collect(engine, |_| ())
    }
}

impl<T: Clone> Registered<T> {
    fn collect(engine: &Engine, about: impl Fn(&FuncMetadata) -> T + Copy) -> Self {
        let all = engine.collect_fn_metadata(
            None,
            |info| {
                let function = info.metadata;
                Some((
                    info.namespace,
                    function.name.clone(),
                    function.num_params,
                    about(function),
                    function.namespace.is_global_namespace(),
                ))
            },
            true,
        );
        let mut registered = Registered {
            global: Functions::new(),
            namespaces: HashMap::new(),
        };
        for (namespace, name, count, about, is_global) in all {
            let add = |functions: &mut Functions<T>| {
                let forms = functions.entry(name.to_string()).or_default();
                forms.entry(count).or_default().push(about.clone());
            };
            if namespace.is_empty() || is_global {
                add(&mut registered.global);
            }
            if !namespace.is_empty() {
                add(registered
                    .namespaces
                    .entry(namespace.to_string())
                    .or_default());
            }
        }
        registered
    }

    /// The functions of a namespace; with `""`, the global ones.
    fn functions(&self, namespace: &str) -> Option<&Functions<T>> {
        match namespace {
            "" => Some(&self.global),
            namespace => self.namespaces.get(namespace),
        }
    }
}

impl RegisteredSignatures {
    /// Collects them from the engine.
    pub fn of(engine: &Engine) -> Self {
        Registered::collect(engine, |function| function.gen_signature(Into::into))
    }

    /// Returns the signatures of all functions of a name, `NAMESPACE::NAME` or `NAME`.
    pub fn signatures(&self, name: &str) -> Vec<String> {
        let (namespace, name) = name.rsplit_once("::").unwrap_or(("", name));
        let functions = self.functions(namespace);
        let forms = functions.and_then(|functions| functions.get(name));
        forms
            .into_iter()
            .flat_map(BTreeMap::values)
            .flatten()
            .cloned()
            .collect()
    }

    /// Returns the names of the functions of a namespace; with `""`, of the global ones.
    pub fn names(&self, namespace: &str) -> impl Iterator<Item = &str> {
        self.functions(namespace)
            .into_iter()
            .flat_map(|functions| functions.keys().map(String::as_str))
    }
}

/// Returns an error for every call in a script for which there is no function. `imports` has the
/// imported scripts by alias. Collects the functions of the engine only if they are needed.
pub(super) fn check(
    unit: &Unit,
    imports: &HashMap<String, Arc<Unit>>,
    names: impl FnOnce() -> Arc<RegisteredNames>,
    signatures: impl FnOnce() -> Arc<RegisteredSignatures>,
) -> Vec<Diagnostic> {
    let own = signatures_of(unit, true);
    let mut calls = Vec::new();
    unit.ast.walk(&mut |path: &[ASTNode<'_>]| {
        if let Some(call) = path.last().and_then(Call::of)
            && !call.fits(&own)
            && !LANGUAGE.contains(&call.name.as_str())
        {
            calls.push(call);
        }
        true
    });
    if calls.is_empty() {
        return Vec::new();
    }
    let names = names();
    // Functions that are imported without an alias cannot be called.
    let imported: HashMap<&str, Functions<String>> = imports
        .iter()
        .filter(|(alias, _)| !alias.is_empty())
        .map(|(alias, unit)| (alias.as_str(), signatures_of(unit, false)))
        .collect();
    let has_errors = |name: &str| {
        let mut imports = unit.imports.iter();
        !name.is_empty()
            && imports.any(|import| import.alias == name)
            && !imported.contains_key(name)
    };
    calls.retain(|call| {
        let namespace = call.namespace.as_str();
        // The functions of a script with errors are unknown.
        !has_errors(namespace)
            && !match imported.get(namespace) {
                Some(functions) => call.fits(functions),
                None => names
                    .functions(namespace)
                    .is_some_and(|functions| call.fits(functions)),
            }
    });
    if calls.is_empty() {
        return Vec::new();
    }
    let registered = signatures();
    calls.sort_by_key(|call| (call.position.line(), call.position.position()));
    calls
        .iter()
        .map(|call| call.explain(unit, &own, &imported, &registered))
        .collect()
}

fn signatures_of(unit: &Unit, with_private: bool) -> Functions<String> {
    let mut functions = Functions::new();
    for function in unit.ast.iter_functions() {
        if with_private || function.access == FnAccess::Public {
            let signature = format!("{}({})", function.name, function.params.join(", "));
            let forms = functions.entry(function.name.to_owned()).or_default();
            forms
                .entry(function.params.len())
                .or_default()
                .push(signature);
        }
    }
    functions
}

/// A call in a script.
struct Call {
    namespace: String,
    name: String,
    /// The number of arguments, including the object of a method call.
    count: usize,
    is_method: bool,
    position: Position,
}

impl Call {
    fn of(node: &ASTNode<'_>) -> Option<Self> {
        let (call, is_method, position): (&FnCallExpr, _, _) = match node {
            ASTNode::Expr(Expr::MethodCall(call, position)) => (call, true, *position),
            ASTNode::Expr(Expr::FnCall(call, position))
            | ASTNode::Stmt(rhai::Stmt::FnCall(call, position)) => (call, false, *position),
            _ => return None,
        };
        // Operators are calls too.
        if call.op_token.is_some() {
            return None;
        }
        Some(Call {
            namespace: call.namespace.to_string(),
            name: call.name.to_string(),
            count: call.args.len() + usize::from(is_method),
            is_method,
            position,
        })
    }

    fn fits<T>(&self, functions: &Functions<T>) -> bool {
        let Some(forms) = functions.get(&self.name) else {
            return false;
        };
        // A script function that is called as a method gets the object as `this`, not as an argument.
        forms.contains_key(&self.count) || (self.is_method && forms.contains_key(&(self.count - 1)))
    }

    fn full_name(&self) -> String {
        match self.namespace.as_str() {
            "" => self.name.clone(),
            namespace => format!("{namespace}::{}", self.name),
        }
    }

    fn explain(
        &self,
        unit: &Unit,
        own: &Functions<String>,
        imported: &HashMap<&str, Functions<String>>,
        registered: &RegisteredSignatures,
    ) -> Diagnostic {
        let name = self.full_name();
        let sources: Vec<&Functions<String>> = match self.namespace.as_str() {
            "" => vec![own, &registered.global],
            namespace => imported
                .get(namespace)
                .into_iter()
                .chain(registered.functions(namespace))
                .collect(),
        };
        let forms: BTreeSet<&String> = sources
            .iter()
            .filter_map(|functions| functions.get(&self.name))
            .flat_map(|forms| forms.values().flatten())
            .collect();
        let (message, help) = if forms.is_empty() {
            let names: BTreeSet<&str> = sources
                .iter()
                .flat_map(|functions| functions.keys().map(String::as_str))
                .collect();
            let help = did_you_mean(&self.name, names.iter().copied()).or_else(|| {
                let listed: Vec<&str> = names.into_iter().collect();
                (!self.namespace.is_empty()).then(|| {
                    format!(
                        "the functions of `{}` are {}",
                        self.namespace,
                        listed.join(", ")
                    )
                })
            });
            (format!("function `{name}` not found"), help)
        } else {
            let count = self.count - usize::from(self.is_method);
            let forms: Vec<&str> = forms.into_iter().map(String::as_str).collect();
            (
                format!("`{name}` does not take {}", plural(count, "argument")),
                Some(format!("the signature is `{}`", forms.join("` or `"))),
            )
        };
        Diagnostic::new(Kind::Usage, message)
            .at(&unit.source, self.span(unit))
            .help(help)
    }

    /// Returns the byte range of the name, including the namespace. The position of a call is that of
    /// its first word.
    fn span(&self, unit: &Unit) -> Range<usize> {
        let at = span(&unit.source, self.position);
        let name = self.full_name();
        let line = unit.source.text[at.start..]
            .lines()
            .next()
            .unwrap_or_default();
        if line.starts_with(&name) {
            return at.start..at.start + name.len();
        }
        at
    }
}
