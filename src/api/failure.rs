//! Errors on their way through scripts.
//!
//! A script that catches an error gets a map with `kind`, `message`, `host` and `code`. The map's
//! tag leads back to the error itself, so that nothing is lost when nobody catches it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rhai::{Dynamic, EvalAltResult, Map, Position};

use crate::core::diagnostic::{Failure, Kind};

/// The errors that were thrown in this run. The tag of one's map is its place, counted from 1.
static THROWN: Mutex<Vec<Cause>> = Mutex::new(Vec::new());

/// What a thrown map stands for.
#[derive(Clone)]
enum Cause {
    /// An error of a layer below.
    Failure(Failure),
    /// What closures threw that ran for several hosts.
    Closures(Arc<Vec<Thrown>>),
}

/// What a closure threw.
pub struct Thrown {
    /// The host that it ran for, among several.
    pub host: Option<String>,
    /// The engine's error.
    pub error: Box<EvalAltResult>,
}

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
    tagged(map, Cause::Failure(failure), position)
}

/// Makes one error of what closures threw.
pub fn throw_all(thrown: Vec<Thrown>, position: Position) -> Box<EvalAltResult> {
    let is_end =
        |thrown: &Thrown| matches!(innermost(&thrown.error), EvalAltResult::ErrorTerminated(..));
    if thrown.iter().any(is_end) {
        // Ctrl-C is no error that a script can catch.
        return Box::new(EvalAltResult::ErrorTerminated(Dynamic::UNIT, position));
    }
    let messages = thrown.iter().map(|thrown| match innermost(&thrown.error) {
        EvalAltResult::ErrorRuntime(value, _) => message(value),
        other => other.to_string(),
    });
    let messages: Vec<String> = messages.collect();
    let first = thrown.first();
    let mut map = Map::new();
    let kind = first.and_then(|thrown| match innermost(&thrown.error) {
        EvalAltResult::ErrorRuntime(value, _) => failure_of(value).map(|failure| failure.kind()),
        _ => None,
    });
    map.insert("kind".into(), kind.unwrap_or(Kind::Failed).name().into());
    map.insert("message".into(), messages.join("; ").into());
    let host = first.and_then(|thrown| thrown.host.clone());
    map.insert("host".into(), host.map_or(Dynamic::UNIT, Dynamic::from));
    map.insert("code".into(), Dynamic::UNIT);
    tagged(map, Cause::Closures(Arc::new(thrown)), position)
}

/// The error itself, without the calls that led to it.
pub(super) fn innermost(mut error: &EvalAltResult) -> &EvalAltResult {
    while let EvalAltResult::ErrorInFunctionCall(_, _, inner, _) = error {
        error = inner;
    }
    error
}

/// What a thrown value says.
pub fn message(value: &Dynamic) -> String {
    let map = value.read_lock::<Map>();
    let text = map.and_then(|map| map.get("message").map(ToString::to_string));
    text.unwrap_or_else(|| value.to_string())
}

fn tagged(map: Map, cause: Cause, position: Position) -> Box<EvalAltResult> {
    let mut value = Dynamic::from_map(map);
    let mut thrown = thrown();
    thrown.push(cause);
    value.set_tag(i32::try_from(thrown.len()).unwrap_or(0));
    Box::new(EvalAltResult::ErrorRuntime(value, position))
}

fn cause_of(value: &Dynamic) -> Option<Cause> {
    if !value.is_map() {
        return None;
    }
    let at = usize::try_from(value.tag()).ok()?.checked_sub(1)?;
    thrown().get(at).cloned()
}

/// The error that a thrown value stands for, if it is one of ours.
pub fn failure_of(value: &Dynamic) -> Option<Failure> {
    match cause_of(value)? {
        Cause::Failure(failure) => Some(failure),
        Cause::Closures(_) => None,
    }
}

/// What closures threw that a thrown value stands for.
pub fn thrown_by(value: &Dynamic) -> Option<Arc<Vec<Thrown>>> {
    match cause_of(value)? {
        Cause::Failure(_) => None,
        Cause::Closures(thrown) => Some(thrown),
    }
}

/// A thread that died with the lock held has left a sound list behind.
fn thrown() -> MutexGuard<'static, Vec<Cause>> {
    THROWN.lock().unwrap_or_else(PoisonError::into_inner)
}
