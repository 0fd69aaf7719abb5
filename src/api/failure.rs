//! Errors of script functions.
//!
//! A script that catches an error gets an `Error` with `kind`, `message`, `help`, `host` and `code`. It holds
//! the error itself, so that nothing is lost when no script catches it.

use std::sync::Arc;

use rhai::{Dynamic, Engine, EvalAltResult, FuncRegistration, Map, Position};

use crate::core::diagnostic::{Diagnostic, Failure, Kind};

/// An error as scripts catch it.
#[derive(Clone)]
struct ScriptError(Arc<Content>);

struct Content {
    kind: Kind,
    message: String,
    host: Option<String>,
    code: Option<u32>,
    cause: Cause,
}

/// What was thrown.
enum Cause {
    /// An error of a layer below.
    Failure(Failure),
    /// The errors of closures that ran for several hosts.
    Closures(Arc<Vec<Thrown>>),
}

/// What a closure threw.
pub struct Thrown {
    /// The host of the closure, if it is one of several.
    pub host: Option<String>,
    /// The engine's error.
    pub error: Box<EvalAltResult>,
}

/// Registers the type and its properties.
pub(super) fn register(engine: &mut Engine) {
    register_exit(engine);
    engine.register_type_with_name::<ScriptError>("Error");
    let optional = |value: Option<Dynamic>| value.unwrap_or(Dynamic::UNIT);
    FuncRegistration::new_getter("kind")
        .with_comments(["/// The kind of the error, such as `failed`, `usage` or `unreachable`."])
        .register_into_engine(engine, |error: &mut ScriptError| error.0.kind.name());
    FuncRegistration::new_getter("message")
        .with_comments(["/// The message, without what to do."])
        .register_into_engine(engine, |error: &mut ScriptError| error.0.message.clone());
    FuncRegistration::new_getter("help")
        .with_comments(["/// What to do, or `()`."])
        .register_into_engine(engine, move |error: &mut ScriptError| {
            let help = match &error.0.cause {
                Cause::Failure(failure) => failure.0.first().and_then(|first| first.help.clone()),
                Cause::Closures(_) => None,
            };
            optional(help.map(Dynamic::from))
        });
    FuncRegistration::new_getter("host")
        .with_comments(["/// The name of the host where the error occurred, or `()`."])
        .register_into_engine(engine, move |error: &mut ScriptError| {
            optional(error.0.host.clone().map(Dynamic::from))
        });
    FuncRegistration::new_getter("code")
        .with_comments([
            "/// The exit status of a command, the status of an HTTP response, or `()`.",
        ])
        .register_into_engine(engine, move |error: &mut ScriptError| {
            optional(error.0.code.map(|code| i64::from(code).into()))
        });
    for name in ["to_string", "to_debug"] {
        FuncRegistration::new(name)
            .with_comments(["/// The message."])
            .register_into_engine(engine, |error: &mut ScriptError| error.0.message.clone());
    }
}

/// The status with which a script ended itself.
#[derive(Clone, Copy)]
struct ExitStatus(i64);

/// Registers `exit`, whose own form in Rhai only returns from the script: a task that ends with a
/// status other than 0 has failed.
fn register_exit(engine: &mut Engine) {
    FuncRegistration::new("exit")
        .with_comments([
            "/// Ends the task. It has failed if the status is not 0. No `catch` prevents it.",
        ])
        .with_params_info(["status: int"])
        .register_into_engine(engine, |status: i64| -> Result<(), Box<EvalAltResult>> {
            Err(Box::new(match status {
                0 => EvalAltResult::Exit(Dynamic::UNIT, Position::NONE),
                _ => EvalAltResult::ErrorTerminated(
                    Dynamic::from(ExitStatus(status)),
                    Position::NONE,
                ),
            }))
        });
    FuncRegistration::new("exit")
        .with_comments(["/// Refuses what is no status."])
        .with_params_info(["status: ?"])
        .register_into_engine(
            engine,
            |status: Dynamic| -> Result<(), Box<EvalAltResult>> {
                let text = format!("exit: expected a whole number, got {}", status.type_name());
                Err(text.into())
            },
        );
}

/// The error of a script that ended itself; none if Ctrl-C ended it.
pub fn exit_of(cause: &Dynamic) -> Option<Diagnostic> {
    let status = cause.read_lock::<ExitStatus>()?.0;
    let mut error = Diagnostic::new(Kind::Failed, format!("the task ended with status {status}"));
    error.code = u32::try_from(status).ok();
    Some(error)
}

/// Makes an error that scripts can catch, raised at `position`.
///
/// The position must be given: the engine loses it for functions in namespaces.
pub fn throw(failure: impl Into<Failure>, position: Position) -> Box<EvalAltResult> {
    let failure = failure.into();
    let first = failure.0.first();
    let content = Content {
        kind: failure.kind(),
        message: failure.to_string(),
        host: first.and_then(|diagnostic| diagnostic.host.clone()),
        code: first.and_then(|diagnostic| diagnostic.code),
        cause: Cause::Failure(failure),
    };
    raise(content, position)
}

/// Combines the errors of several closures into one.
pub fn throw_all(thrown: Vec<Thrown>, position: Position) -> Box<EvalAltResult> {
    // A script cannot catch Ctrl-C, nor `exit`.
    let mut ends = thrown
        .iter()
        .filter_map(|thrown| match innermost(&thrown.error) {
            EvalAltResult::ErrorTerminated(cause, _) => Some(cause.clone()),
            _ => None,
        });
    if let Some(first) = ends.next() {
        let interrupt = ends.find(Dynamic::is_unit);
        let cause = interrupt.unwrap_or(first);
        return Box::new(EvalAltResult::ErrorTerminated(cause, position));
    }
    let messages = thrown.iter().map(|thrown| match innermost(&thrown.error) {
        EvalAltResult::ErrorRuntime(value, _) => message(value),
        other => other.to_string(),
    });
    let messages: Vec<String> = messages.collect();
    let first = thrown.first();
    let kind = first.and_then(|thrown| match innermost(&thrown.error) {
        EvalAltResult::ErrorRuntime(value, _) => failure_of(value).map(|failure| failure.kind()),
        _ => None,
    });
    let content = Content {
        kind: kind.unwrap_or(Kind::Failed),
        message: messages.join("; "),
        host: first.and_then(|thrown| thrown.host.clone()),
        code: None,
        cause: Cause::Closures(Arc::new(thrown)),
    };
    raise(content, position)
}

fn raise(content: Content, position: Position) -> Box<EvalAltResult> {
    let error = ScriptError(Arc::new(content));
    Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(error), position))
}

/// The error itself, without the calls that led to it.
pub(super) fn innermost(mut error: &EvalAltResult) -> &EvalAltResult {
    while let EvalAltResult::ErrorInFunctionCall(_, _, inner, _) = error {
        error = inner;
    }
    error
}

/// The message of a thrown value: an error of ours, or a map or any other value of a script.
pub fn message(value: &Dynamic) -> String {
    if let Some(error) = value.read_lock::<ScriptError>() {
        return error.0.message.clone();
    }
    let map = value.read_lock::<Map>();
    let text = map.and_then(|map| map.get("message").map(ToString::to_string));
    text.unwrap_or_else(|| value.to_string())
}

/// The error of a layer below that a thrown value holds, if it holds one.
pub fn failure_of(value: &Dynamic) -> Option<Failure> {
    match &value.read_lock::<ScriptError>()?.0.cause {
        Cause::Failure(failure) => Some(failure.clone()),
        Cause::Closures(_) => None,
    }
}

/// The errors of closures that a thrown value holds, if it holds some.
pub fn thrown_by(value: &Dynamic) -> Option<Arc<Vec<Thrown>>> {
    match &value.read_lock::<ScriptError>()?.0.cause {
        Cause::Failure(_) => None,
        Cause::Closures(thrown) => Some(thrown.clone()),
    }
}
