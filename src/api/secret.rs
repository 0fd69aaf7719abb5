//! `secret::`: values that are masked in all output.
//!
//! A secret prints as `***`. Its text is masked, too, wherever it occurs in output. Secrets are
//! accepted only where a value is sent to its destination: the environment of a container, a file
//! on a server, a header, the input of a command. A command line does not accept them.

use std::{fs, sync::Arc};

use rhai::{Dynamic, Engine, FuncRegistration, ImmutableString};

use super::{
    Api,
    call::{Answer, Call},
    env::{self, unset},
    local_file::read_in_test,
    namespace::Namespace,
};
use crate::core::{
    diagnostic::{Diagnostic, Kind, plain},
    process::Program,
    secrets::{MASK, SecretText},
};

/// A text that is masked in all output.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub SecretText);

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret(SecretText(text.into()))
    }
}

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut secret = Namespace::new(api, "secret", "Values that are masked in all output.");
    secret.function(
        "env(name: string) -> Secret",
        "Returns the value of an environment variable, also of one in `.env`.",
        |call: &Call, name: ImmutableString| {
            let value = call.check(env::read(&name))?;
            if value.is_none() && call.mock().is_some() {
                return Err(unset(call, &name));
            }
            let value = value.ok_or_else(|| {
                Diagnostic::new(
                    Kind::Usage,
                    format!("environment variable `{name}` is not set"),
                )
                .help("set it, or add it to the file `.env` of the project".to_owned())
            });
            Ok(create(call, &call.check(value)?))
        },
    );
    secret.function(
        "file(path: string) -> Secret",
        "Returns the content of a file, without the line ends at its end. `~/` is the home folder.",
        |call: &Call, path: ImmutableString| {
            let project = &call.context.project;
            let file = match path.strip_prefix("~/") {
                Some(rest) => project.home.join(rest),
                None => project.root.join(path.as_str()),
            };
            if call.mock().is_some() {
                let text = read_in_test(call, &path, &file)?;
                return Ok(create(call, text.trim_end_matches(['\n', '\r'])));
            }
            let text = fs::read_to_string(file).map_err(|error| {
                Diagnostic::new(Kind::Usage, format!("secret `{path}`: {}", plain(error)))
            });
            Ok(create(
                call,
                call.check(text)?.trim_end_matches(['\n', '\r']),
            ))
        },
    );
    secret.function(
        "of(text: string) -> Secret",
        "Returns a text as a secret, such as one that was read from a larger file.",
        |call: &Call, text: ImmutableString| Ok(create(call, &text)),
    );
    secret.function(
        "command(line: string) -> Secret",
        "Runs a shell command, such as that of a password manager (`pass show db`), and returns its
         standard output. Also runs in a dry run.",
        |call: &Call, line: ImmutableString| command(call, &line),
    );
    secret.function(
        "prompt(question: string) -> Secret",
        "Asks the user, without showing what is typed. Fails without a terminal.",
        |call: &Call, question: ImmutableString| {
            let answer = call.context.events.prompt(&question, true);
            Ok(create(call, &call.check(answer)?))
        },
    );
    secret
}

/// Registers the type.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Secret>("Secret");
    for name in ["to_string", "to_debug"] {
        FuncRegistration::new(name)
            .with_comments(["/// Returns `***`."])
            .register_into_engine(engine, |_: &mut Secret| MASK);
    }
    FuncRegistration::new("reveal")
        .with_comments(["/// Returns the text itself. It is still masked in all output."])
        .register_into_engine(engine, |secret: &mut Secret| secret.0.0.to_string());
    let joined = |a: &str, b: &str| Secret::from(format!("{a}{b}").as_str());
    FuncRegistration::new("+")
        .register_into_engine(engine, move |a: &str, b: Secret| joined(a, &b.0.0));
    FuncRegistration::new("+")
        .register_into_engine(engine, move |a: Secret, b: &str| joined(&a.0.0, b));
    FuncRegistration::new("+")
        .register_into_engine(engine, move |a: Secret, b: Secret| joined(&a.0.0, &b.0.0));
    FuncRegistration::new("==").register_into_engine(engine, |a: Secret, b: Secret| a == b);
    FuncRegistration::new("!=").register_into_engine(engine, |a: Secret, b: Secret| a != b);
}

/// The text of a secret, if a value is one.
pub(super) fn text_of(value: &Dynamic) -> Option<String> {
    let secret = value.read_lock::<Secret>()?;
    Some(secret.0.0.to_string())
}

/// Creates a secret, and masks its text in all output from now on.
pub(super) fn create(call: &Call, text: &str) -> Secret {
    call.context.events.hide(text);
    Secret::from(text)
}

fn command(call: &Call, line: &str) -> Answer<Secret> {
    let mut program = Program::new(["sh", "-c", line]);
    program.folder = Some(call.context.project.root.clone());
    if let Some(mock) = call.mock() {
        let output = call.check(mock.evaluate(line))?;
        call.check(super::ssh::command::check(&output, line, None))?;
        return Ok(create(call, &output.text()));
    }
    let output = call.wait(async {
        let output = program.run(|_, _| ()).await;
        output.map_err(|error| Diagnostic::new(Kind::Failed, plain(error)))
    })?;
    call.check(super::ssh::command::check(&output, line, None))?;
    Ok(create(call, &output.text()))
}
