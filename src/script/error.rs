//! From the engine's errors to ours: the message, the place in the user's script, the calls that
//! led there.

use rhai::{EvalAltResult, Position};

use super::{library::Library, unit::span};
use crate::{
    api::{failure_of, message, thrown_by},
    core::diagnostic::{Diagnostic, Failure, Kind, did_you_mean, plain},
};

/// A place in a script, and the function that was called there, if one was.
struct Place {
    file: String,
    position: Position,
    called: Option<String>,
}

/// Explains an error of the engine. `file` is the script whose top level was run, if one was.
pub(super) fn explain(library: &Library, file: Option<&str>, error: &EvalAltResult) -> Failure {
    let (innermost, places) = unwind(file.unwrap_or_default(), error);
    if let EvalAltResult::ErrorRuntime(value, _) = innermost
        && let Some(thrown) = thrown_by(value)
    {
        // Each closure has its own way to its error, from where it was called on.
        let file = places.first().map(|place| place.file.clone());
        let failures = thrown.iter().flat_map(|thrown| {
            let failure = explain(library, file.as_deref(), &thrown.error);
            let of_host = |error: Diagnostic| match &thrown.host {
                Some(host) => error.of_host(host),
                None => error,
            };
            failure.0.into_iter().map(of_host).collect::<Vec<_>>()
        });
        let mut failure = Failure(failures.collect());
        // Where it was called, that says already.
        let outer = places.get(1..).unwrap_or_default();
        for diagnostic in &mut failure.0 {
            locate(library, diagnostic, outer);
        }
        return failure;
    }
    let mut failure = match innermost {
        EvalAltResult::ErrorRuntime(value, _) => failure_of(value)
            .unwrap_or_else(|| Diagnostic::new(Kind::Failed, message(value)).into()),
        EvalAltResult::ErrorTerminated(..) => {
            return Diagnostic::new(Kind::Interrupted, "interrupted").into();
        }
        other => describe(library, other).into(),
    };
    for diagnostic in &mut failure.0 {
        locate(library, diagnostic, &places);
    }
    failure
}

/// The error itself, and the places from the innermost to the outermost.
fn unwind<'a>(file: &str, error: &'a EvalAltResult) -> (&'a EvalAltResult, Vec<Place>) {
    let mut places = Vec::new();
    let mut file = file.to_owned();
    let mut current = error;
    // The position of a call is in the file of the caller, the source is that of the function.
    while let EvalAltResult::ErrorInFunctionCall(name, source, inner, position) = current {
        places.push(Place {
            file: std::mem::replace(&mut file, source.clone()),
            position: *position,
            called: Some(name.clone()),
        });
        current = inner;
    }
    places.push(Place {
        file,
        position: current.position(),
        called: None,
    });
    // Without a file, the outermost is the call that we made ourselves.
    places.retain(|place| !place.file.is_empty() && !place.position.is_none());
    places.reverse();
    (current, places)
}

/// Says where it happened: an excerpt of the innermost place in a script of the user's, and a
/// note for each call that led there. The program's own scripts are not the user's business.
fn locate(library: &Library, diagnostic: &mut Diagnostic, places: &[Place]) {
    let users = |place: &&Place| !Library::is_embedded(&place.file);
    // What points into a manifest already says where it is wrong.
    let mut shown = !diagnostic.excerpts.is_empty();
    for place in places.iter().filter(users) {
        let Some(source) = library.source(&place.file) else {
            continue;
        };
        if shown {
            let Place { file, position, .. } = place;
            let line = position.line().unwrap_or_default();
            let column = position.position().unwrap_or_default();
            let called = match &place.called {
                Some(name) if name.starts_with("anon$") => "in a closure called".to_owned(),
                Some(name) => format!("in `{name}`, called"),
                None => "called".to_owned(),
            };
            let note = format!("{called} at {file}:{line}:{column}");
            // Recursion says the same again and again.
            if diagnostic.notes.last() != Some(&note) {
                diagnostic.notes.push(note);
            }
        } else {
            let span = span(&source, place.position);
            diagnostic.excerpts.push(crate::core::diagnostic::Excerpt {
                source,
                span,
                label: String::new(),
            });
            shown = true;
        }
    }
}

fn describe(library: &Library, error: &EvalAltResult) -> Diagnostic {
    let diagnostic = |message: String| Diagnostic::new(Kind::Failed, message);
    match error {
        EvalAltResult::ErrorFunctionNotFound(signature, _) => {
            let (name, types) = signature.split_once(" (").unwrap_or((signature, ""));
            let types = types.trim_end_matches(')');
            let known = library.known_already();
            let forms = known
                .map(|known| known.signatures(name))
                .unwrap_or_default();
            if forms.is_empty() {
                let names = known.map(|known| known.names("").collect::<Vec<_>>());
                return diagnostic(format!("there is no function `{name}`"))
                    .help(did_you_mean(name, names.unwrap_or_default()));
            }
            diagnostic(format!("`{name}` does not take ({types})"))
                .help(format!("it is `{}`", forms.join("` or `")))
        }
        EvalAltResult::ErrorMismatchDataType(expected, actual, _) => {
            diagnostic(format!("this must be {expected}, and is {actual}"))
        }
        EvalAltResult::ErrorStackOverflow(_) => {
            diagnostic("calls are nested too deeply".to_owned())
                .help("does a function call itself without end?".to_owned())
        }
        EvalAltResult::ErrorParsing(kind, _) => diagnostic(plain(kind)),
        other => {
            // The message without the position, which is shown as an excerpt.
            let text = other.to_string();
            let end = text.rfind(" (line ").unwrap_or(text.len());
            diagnostic(plain(&text[..end]))
        }
    }
}
