//! Finds where functions of a script call themselves.
//!
//! The engine does not say where calls were nested too deep: each call on the way out replaces the place.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{ASTNode, Expr, FnCallExpr, Position, Stmt};

use super::unit::Unit;

/// A function: its name and its number of parameters.
type Signature = (String, usize);

/// The calls of a function: what is called, and where.
type Calls = BTreeMap<Signature, Vec<(Signature, Position)>>;

/// The position of the call with which a function of a script calls itself, directly or through others of
/// the same script, when `name` is called. None if there is no such call.
pub(super) fn recursive_call(unit: &Unit, name: &str) -> Option<Position> {
    let calls = calls_of(unit);
    let mut starts = calls.keys().filter(|(own, _)| own == name);
    starts.find_map(|start| find(&calls, start, &mut Vec::new(), &mut BTreeSet::new()))
}

/// The calls by name in each function. Those in a closure are calls of the function around it. Calls of
/// methods are left out: most are of the engine's functions, which may have the same names.
fn calls_of(unit: &Unit) -> Calls {
    let functions = unit.ast.shared_lib();
    let functions: Vec<(Signature, Position, Position)> = functions
        .iter_script_fn_info()
        .map(|(.., function)| function)
        // The engine names closures `anon$…`.
        .filter(|function| !function.name.contains('$'))
        .map(|function| {
            let body = &function.body;
            let signature = (function.name.to_string(), function.params.len());
            (signature, body.start_position(), body.end_position())
        })
        .collect();
    let place = |position: Position| (position.line(), position.position());
    let mut calls = Calls::new();
    unit.ast.walk(&mut |path: &[ASTNode<'_>]| {
        let call: Option<(&FnCallExpr, Position)> = match path.last() {
            Some(
                ASTNode::Expr(Expr::FnCall(call, position))
                | ASTNode::Stmt(Stmt::FnCall(call, position)),
            ) => Some((call, *position)),
            _ => None,
        };
        if let Some((call, position)) = call
            && call.namespace.is_empty()
            && let Some((caller, ..)) = functions.iter().find(|(_, start, end)| {
                place(*start) <= place(position) && place(position) <= place(*end)
            })
        {
            let own = calls.entry(caller.clone()).or_default();
            own.push(((call.name.to_string(), call.args.len()), position));
        }
        true
    });
    calls
}

/// The first call, in the order of the script, that leads back to a function on the way to it.
fn find(
    calls: &Calls,
    function: &Signature,
    way: &mut Vec<Signature>,
    seen: &mut BTreeSet<Signature>,
) -> Option<Position> {
    if !seen.insert(function.clone()) {
        return None;
    }
    way.push(function.clone());
    for (called, position) in calls.get(function).into_iter().flatten() {
        if way.contains(called) {
            return Some(*position);
        }
        if let Some(found) = find(calls, called, way, seen) {
            return Some(found);
        }
    }
    way.pop();
    None
}

#[cfg(test)]
mod tests {
    use rhai::Engine;

    use super::*;
    use crate::core::diagnostic::Source;

    #[test]
    fn calls_that_lead_back() {
        let text = "fn a() { b(1) }\n\
                    fn b(n) { if n > 3 { c(n) } }\n\
                    fn c(n) { [1].map(|x| b(x)) }\n\
                    fn d() { c2(); d2() }\nfn c2() { 1 }\nfn d2() { c2() }\n\
                    fn e() { e::e() }\n\
                    fn f(x) { x.f(); g(1) }\nfn g(x) { g(x, 1) }\nfn g(x, y) { g(x, y) }\n";
        let unit = Unit::compile(&Engine::new(), Source::new("it", text)).unwrap();
        let line = |name| recursive_call(&unit, name)?.line();
        let lines = ["a", "b", "c", "d", "e", "f"].map(line);
        assert_eq!(lines, [Some(3), Some(3), Some(2), None, None, Some(10)]);
    }
}
