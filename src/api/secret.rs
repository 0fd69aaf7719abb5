//! `secret::`: values that are never shown.
//!
//! A secret prints as `***`, and where its text turns up in what is written all the same, it is
//! hidden there. It is accepted where a value leaves for its destination and for nothing else: an
//! environment of a container, a file on a server, a header, a command's input. A command line
//! takes none.

use std::{fs, sync::Arc};

use rhai::{Dynamic, Engine, FuncRegistration, ImmutableString};

use super::{
    Api,
    call::{Answer, Call},
    namespace::Namespace,
};
use crate::core::{
    diagnostic::{Diagnostic, Kind, plain},
    environment,
    process::Program,
};

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub Arc<str>);

/// What stands for a secret wherever it would be printed.
const HIDDEN: &str = "***";

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut secret = Namespace::new(api, "secret", "Values that are never shown.");
    secret.function(
        "env(name: string) -> Secret",
        "The value of an environment variable, or of a line of `.env`.",
        |call: &Call, name: ImmutableString| {
            let value = environment::get(&name).ok_or_else(|| {
                Diagnostic::new(
                    Kind::Usage,
                    format!("environment variable `{name}` is not set"),
                )
                .help("set it, or write it into the file `.env` of the project".to_owned())
            });
            Ok(keep(call, &call.check(value)?))
        },
    );
    secret.function(
        "file(path: string) -> Secret",
        "The text of a file, without the line end at its end. `~` is the home folder.",
        |call: &Call, path: ImmutableString| {
            let project = &call.context.project;
            let file = match path.strip_prefix("~/") {
                Some(rest) => project.home.join(rest),
                None => project.root.join(path.as_str()),
            };
            let text = fs::read_to_string(file).map_err(|error| {
                Diagnostic::new(Kind::Usage, format!("secret `{path}`: {}", plain(error)))
            });
            Ok(keep(call, call.check(text)?.trim_end_matches(['\n', '\r'])))
        },
    );
    secret.function(
        "command(line: string) -> Secret",
        "What a line of shell writes, such as that of a password manager: `pass show db`. It runs
         in a dry run too.",
        |call: &Call, line: ImmutableString| command(call, &line),
    );
    secret.function(
        "prompt(question: string) -> Secret",
        "What the user types, which is not shown. Refused without a terminal.",
        |call: &Call, question: ImmutableString| {
            let answer = call.context.events.prompt(&question, true);
            Ok(keep(call, &call.check(answer)?))
        },
    );
    secret
}

/// Registers the type.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Secret>("Secret");
    for name in ["to_string", "to_debug"] {
        FuncRegistration::new(name)
            .with_comments(["/// `***`: a secret is not shown."])
            .register_into_engine(engine, |_: &mut Secret| HIDDEN);
    }
    FuncRegistration::new("reveal")
        .with_comments(["/// The text itself. It is hidden all the same where it is printed."])
        .register_into_engine(engine, |secret: &mut Secret| secret.0.to_string());
    let joined = |a: &str, b: &str| Secret(format!("{a}{b}").into());
    FuncRegistration::new("+")
        .register_into_engine(engine, move |a: &str, b: Secret| joined(a, &b.0));
    FuncRegistration::new("+")
        .register_into_engine(engine, move |a: Secret, b: &str| joined(&a.0, b));
    FuncRegistration::new("+")
        .register_into_engine(engine, move |a: Secret, b: Secret| joined(&a.0, &b.0));
    FuncRegistration::new("==").register_into_engine(engine, |a: Secret, b: Secret| a == b);
    FuncRegistration::new("!=").register_into_engine(engine, |a: Secret, b: Secret| a != b);
}

/// The text of a secret, if a value is one.
pub(super) fn text_of(value: &Dynamic) -> Option<String> {
    let secret = value.read_lock::<Secret>()?;
    Some(secret.0.to_string())
}

pub(super) fn keep(call: &Call, text: &str) -> Secret {
    call.context.events.hide(text);
    Secret(text.into())
}

fn command(call: &Call, line: &str) -> Answer<Secret> {
    let mut program = Program::new(["sh", "-c", line]);
    program.folder = Some(call.context.project.root.clone());
    let output = call.wait(async {
        let output = program.run(|_, _| ()).await;
        output.map_err(|error| Diagnostic::new(Kind::Failed, plain(error)))
    })?;
    call.check(super::ssh::command::check(&output, line, None))?;
    Ok(keep(call, &output.text()))
}
