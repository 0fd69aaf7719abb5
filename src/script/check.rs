//! Finding calls of functions that do not exist, before anything runs.
//!
//! Rhai looks functions up by the types of their arguments, at run time. Whether there is any
//! function of a name with so many parameters is known before, and that is most of all mistakes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use rhai::{ASTNode, Engine, Expr, FnAccess, FnCallExpr, Position};

use super::unit::{Unit, span};
use crate::core::diagnostic::{Diagnostic, Kind, did_you_mean, plural};

/// Functions of the language itself, which take arguments as they like.
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

/// By name: with how many parameters, and how each is written.
type Functions = BTreeMap<String, BTreeMap<usize, Vec<String>>>;

/// All functions that the engine has.
#[derive(Debug, Default)]
pub(super) struct Known {
    global: Functions,
    namespaces: HashMap<String, Functions>,
}

impl Known {
    /// Asks the engine.
    pub fn of(engine: &Engine) -> Self {
        let all = engine.collect_fn_metadata(
            None,
            |info| {
                let function = info.metadata;
                Some((
                    info.namespace.to_string(),
                    function.name.to_string(),
                    function.num_params,
                    function.gen_signature(Into::into),
                    function.namespace.is_global_namespace(),
                ))
            },
            true,
        );
        let mut known = Known::default();
        for (namespace, name, count, signature, is_global) in all {
            let add = |functions: &mut Functions| {
                let forms = functions.entry(name.clone()).or_default();
                forms.entry(count).or_default().push(signature.clone());
            };
            if namespace.is_empty() || is_global {
                add(&mut known.global);
            }
            if !namespace.is_empty() {
                add(known.namespaces.entry(namespace).or_default());
            }
        }
        known
    }

    /// How the functions of a name are written, for a call that fits none of them.
    pub fn signatures(&self, name: &str) -> Vec<String> {
        let functions = match name.rsplit_once("::") {
            Some((namespace, _)) => self.namespaces.get(namespace),
            None => Some(&self.global),
        };
        let name = name.rsplit("::").next().unwrap_or(name);
        let forms = functions.and_then(|functions| functions.get(name));
        forms
            .into_iter()
            .flat_map(BTreeMap::values)
            .flatten()
            .cloned()
            .collect()
    }

    /// The names of the functions of a namespace, or of none.
    pub fn names(&self, namespace: &str) -> impl Iterator<Item = &str> {
        let functions = match namespace {
            "" => Some(&self.global),
            namespace => self.namespaces.get(namespace),
        };
        functions
            .into_iter()
            .flat_map(|functions| functions.keys().map(String::as_str))
    }
}

/// Every call in a script that no function fits. `imports` are the scripts behind its aliases.
pub(super) fn check(
    unit: &Unit,
    imports: &HashMap<String, Arc<Unit>>,
    known: impl FnOnce() -> Arc<Known>,
) -> Vec<Diagnostic> {
    let own = functions_of(unit, true);
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
        // Asking the engine for all it has takes a millisecond; a script that calls only itself
        // does without.
        return Vec::new();
    }
    let known = known();
    let imported: HashMap<&str, Functions> = imports
        .iter()
        .map(|(alias, unit)| (alias.as_str(), functions_of(unit, false)))
        .collect();
    let is_wrong_itself = |name: &str| {
        unit.imports.iter().any(|import| import.alias == name) && !imported.contains_key(name)
    };
    calls.retain(|call| {
        let functions = match call.namespace.as_str() {
            // What it has is not known.
            name if is_wrong_itself(name) => return false,
            "" => Some(&known.global),
            namespace => imported.get(namespace).or(known.namespaces.get(namespace)),
        };
        !functions.is_some_and(|functions| call.fits(functions))
    });
    calls.sort_by_key(|call| (call.position.line(), call.position.position()));
    calls
        .iter()
        .map(|call| call.explain(unit, &own, &imported, &known))
        .collect()
}

fn functions_of(unit: &Unit, private: bool) -> Functions {
    let mut functions = Functions::new();
    for function in unit.ast.iter_functions() {
        if private || function.access == FnAccess::Public {
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
    /// How many arguments; of a method call, the object included.
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
        // `a + b` is a call too.
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

    fn fits(&self, functions: &Functions) -> bool {
        let Some(forms) = functions.get(&self.name) else {
            return false;
        };
        // A function of the script that is called as a method gets the object as `this`.
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
        own: &Functions,
        imported: &HashMap<&str, Functions>,
        known: &Known,
    ) -> Diagnostic {
        let name = self.full_name();
        let sources: Vec<&Functions> = match self.namespace.as_str() {
            "" => vec![own, &known.global],
            namespace => imported
                .get(namespace)
                .into_iter()
                .chain(known.namespaces.get(namespace))
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
                (!self.namespace.is_empty())
                    .then(|| format!("`{}` has {}", self.namespace, listed.join(", ")))
            });
            (format!("there is no function `{name}`"), help)
        } else {
            let count = self.count - usize::from(self.is_method);
            let forms: Vec<&str> = forms.into_iter().map(String::as_str).collect();
            (
                format!("`{name}` does not take {}", plural(count, "argument")),
                Some(format!("it is `{}`", forms.join("` or `"))),
            )
        };
        Diagnostic::new(Kind::Usage, message)
            .at(&unit.source, self.span(unit))
            .help(help)
    }

    /// The position of a call is that of its first word; the name may come after a namespace.
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
