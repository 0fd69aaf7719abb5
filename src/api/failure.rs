//! Errors on their way through scripts.
//!
//! A script that catches an error gets a map with `kind`, `message`, `host` and `code`. The map
//! also carries the error itself, so that nothing is lost when nobody catches it.

use std::sync::Arc;

use rhai::{Dynamic, EvalAltResult, Map, Position};

use crate::diagnostic::Failure;

/// Under this key of the map is the error itself.
const DETAIL: &str = "detail";

/// Makes an error that scripts can catch, raised at `position`.
///
/// The position must be given: the engine loses it for functions in namespaces.
pub fn throw(failure: impl Into<Failure>, position: Position) -> Box<EvalAltResult> {
    let failure = failure.into();
    let first = failure.0.first();
    let mut map = Map::new();
    map.insert("kind".into(), failure.kind().name().into());
    map.insert("message".into(), failure.to_string().into());
    map.insert(
        "host".into(),
        first
            .and_then(|diagnostic| diagnostic.host.clone())
            .map_or(Dynamic::UNIT, Dynamic::from),
    );
    map.insert(
        "code".into(),
        first
            .and_then(|diagnostic| diagnostic.code)
            .map_or(Dynamic::UNIT, |code| i64::from(code).into()),
    );
    map.insert(DETAIL.into(), Dynamic::from(Arc::new(failure)));
    Box::new(EvalAltResult::ErrorRuntime(
        Dynamic::from_map(map),
        position,
    ))
}

/// The error that a thrown value carries, if it is one of ours.
pub fn failure_of(thrown: &Dynamic) -> Option<Failure> {
    let map = thrown.read_lock::<Map>()?;
    let detail = map.get(DETAIL)?.clone().try_cast::<Arc<Failure>>()?;
    Some(detail.as_ref().clone())
}
