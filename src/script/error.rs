//! Turns errors of the script engine into diagnostics: message, place in the user's script, call
//! stack.

use rhai::{Engine, EvalAltResult, Position};

use super::{library::Library, limits, unit::span};
use crate::{
    api::{exit_of, failure_of, message, thrown_by},
    core::{
        diagnostic::{Diagnostic, Excerpt, Failure, Kind, did_you_mean, plain},
        value::SECRETS_HELP,
    },
};

/// A frame of the call stack: a place in a script, and the function that was called there, if there
/// was a call.
struct Frame {
    file: String,
    position: Position,
    called: Option<String>,
}

/// Turns an error of the engine into diagnostics. `file` is the script whose top level was running,
/// if there is one.
pub(super) fn explain(
    engine: &Engine,
    library: &Library,
    file: Option<&str>,
    error: &EvalAltResult,
) -> Failure {
    let (innermost, frames) = unwind(file.unwrap_or_default(), error);
    if let EvalAltResult::ErrorRuntime(value, _) = innermost
        && let Some(thrown) = thrown_by(value)
    {
        // Each closure has a call stack of its own, which begins at the call of the closure.
        let file = frames.first().map(|frame| frame.file.clone());
        let failures = thrown.iter().flat_map(|thrown| {
            let failure = explain(engine, library, file.as_deref(), &thrown.error);
            let of_host = |error: Diagnostic| match &thrown.host {
                Some(host) => error.of_host(host),
                None => error,
            };
            failure.0.into_iter().map(of_host).collect::<Vec<_>>()
        });
        let mut failure = Failure(failures.collect());
        // The closure's stack includes the innermost frame.
        let outer = frames.get(1..).unwrap_or_default();
        for diagnostic in &mut failure.0 {
            locate(library, diagnostic, outer);
        }
        return failure;
    }
    let mut failure = match innermost {
        EvalAltResult::ErrorRuntime(value, _) => failure_of(value)
            .unwrap_or_else(|| Diagnostic::new(Kind::Failed, message(value)).into()),
        EvalAltResult::ErrorTerminated(cause, _) if limits::explain(innermost).is_none() => {
            match exit_of(cause) {
                Some(error) => error.into(),
                None => return Diagnostic::new(Kind::Interrupted, "interrupted").into(),
            }
        }
        other => describe(engine, library, other).into(),
    };
    for diagnostic in &mut failure.0 {
        locate(library, diagnostic, &frames);
    }
    failure
}

/// Returns the original error, and the call stack from the innermost to the outermost frame.
fn unwind<'a>(file: &str, error: &'a EvalAltResult) -> (&'a EvalAltResult, Vec<Frame>) {
    let mut frames = Vec::new();
    let mut file = file.to_owned();
    let mut current = error;
    // `position` is in the file of the caller, `source` is the file of the called function.
    while let EvalAltResult::ErrorInFunctionCall(name, source, inner, position) = current {
        frames.push(Frame {
            file: std::mem::replace(&mut file, source.clone()),
            position: *position,
            called: Some(name.clone()),
        });
        current = inner;
    }
    frames.push(Frame {
        file,
        position: current.position(),
        called: None,
    });
    // A frame without a file is the call by hitc itself.
    frames.retain(|frame| !frame.file.is_empty() && !frame.position.is_none());
    frames.reverse();
    (current, frames)
}

/// Adds an excerpt of the innermost place in the user's scripts, and a note for each call that led
/// there. Places in embedded scripts are left out: the user cannot change them.
fn locate(library: &Library, diagnostic: &mut Diagnostic, frames: &[Frame]) {
    let is_users = |frame: &&Frame| !Library::is_embedded(&frame.file);
    // An error in a manifest has an excerpt of the manifest.
    let mut shown = !diagnostic.excerpts.is_empty();
    for frame in frames.iter().filter(is_users) {
        let Some(source) = library.source(&frame.file) else {
            continue;
        };
        if shown {
            let Frame { file, position, .. } = frame;
            let line = position.line().unwrap_or_default();
            let column = position.position().unwrap_or_default();
            let called = match &frame.called {
                Some(name) if name.starts_with("anon$") => "in a closure called".to_owned(),
                Some(name) => format!("in `{name}`, called"),
                None => "called".to_owned(),
            };
            let note = format!("{called} at {file}:{line}:{column}");
            // Recursion would repeat the note.
            if diagnostic.notes.last() != Some(&note) {
                diagnostic.notes.push(note);
            }
        } else {
            let span = span(&source, frame.position);
            diagnostic.excerpts.push(Excerpt {
                source,
                span,
                label: String::new(),
            });
            shown = true;
        }
    }
}

/// Describes an error without its place.
fn describe(engine: &Engine, library: &Library, error: &EvalAltResult) -> Diagnostic {
    let diagnostic = |message: String| Diagnostic::new(Kind::Failed, message);
    if let Some(diagnostic) = limits::explain(error) {
        return diagnostic;
    }
    match error {
        EvalAltResult::ErrorFunctionNotFound(signature, _) => {
            let (name, types) = signature.split_once(" (").unwrap_or((signature, ""));
            let types = types.trim_end_matches(')');
            let registered = library.signatures(engine);
            let forms = registered.signatures(name);
            if forms.is_empty() {
                return diagnostic(format!("function `{name}` not found"))
                    .help(did_you_mean(name, registered.names("")));
            }
            let is_secret = types.split(", ").any(|name| name == "Secret");
            let help = if is_secret {
                format!("a secret cannot be used here: {SECRETS_HELP}")
            } else {
                format!("the signature is `{}`", forms.join("` or `"))
            };
            diagnostic(format!(
                "`{name}` does not take arguments of type ({types})"
            ))
            .help(help)
        }
        EvalAltResult::ErrorMismatchDataType(expected, actual, _) => {
            diagnostic(format!("expected {expected}, got {actual}"))
        }
        EvalAltResult::ErrorParsing(kind, _) => diagnostic(plain(kind)),
        other => {
            // Remove the position, which the excerpt shows.
            let text = other.to_string();
            let end = text.rfind(" (line ").unwrap_or(text.len());
            diagnostic(plain(&text[..end]))
        }
    }
}
