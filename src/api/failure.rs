//! Errors on their way through scripts.
//!
//! A script that catches an error gets a map with `kind`, `message`, `host` and `code`. The map's
//! tag leads back to the error itself, so that nothing is lost when nobody catches it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rhai::{Dynamic, EvalAltResult, Map, Position};

use crate::diagnostic::Failure;

/// The errors that were thrown in this run. The tag of one's map is its place, counted from 1.
static THROWN: Mutex<Vec<Failure>> = Mutex::new(Vec::new());

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
    let mut value = Dynamic::from_map(map);
    let mut thrown = thrown();
    thrown.push(failure);
    value.set_tag(i32::try_from(thrown.len()).unwrap_or(0));
    Box::new(EvalAltResult::ErrorRuntime(value, position))
}

/// The error that a thrown value stands for, if it is one of ours.
pub fn failure_of(value: &Dynamic) -> Option<Failure> {
    if !value.is_map() {
        return None;
    }
    let at = usize::try_from(value.tag()).ok()?.checked_sub(1)?;
    thrown().get(at).cloned()
}

/// A thread that died with the lock held has left a sound list behind.
fn thrown() -> MutexGuard<'static, Vec<Failure>> {
    THROWN.lock().unwrap_or_else(PoisonError::into_inner)
}
