//! `test::`: mock hosts and assertions for the project's own tests, which `hitc test` runs.

use std::sync::Arc;

use rhai::{Array, Dynamic, FnPtr, ImmutableString, Map};

use super::{
    Api, Host,
    call::{Answer, Call},
    message,
    namespace::Namespace,
    value::{texts, to_options, to_value},
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        owner::Ownership,
        value::{Fields, Value},
    },
    machine::{Mock, mock},
    provider::{Address, Node, NodeState},
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut test = Namespace::new(
        api,
        "test",
        "Mock hosts and assertions for tests of scripts (`hitc test`). Mock hosts record commands
         and replay answers.",
    );
    test.function(
        "host(name: string) -> Host",
        "Creates a mock host. Commands on it are recorded and answered.",
        |call: &Call, name: ImmutableString| {
            mock_of(call)?;
            Ok(host(&name))
        },
    );
    test.function(
        "hosts(names: array) -> array",
        "Creates a mock host for each name.",
        |call: &Call, names: Array| {
            mock_of(call)?;
            let hosts = texts(call, &names)?.into_iter();
            Ok(hosts
                .map(|name| Dynamic::from(host(&name)))
                .collect::<Array>())
        },
    );
    test.function(
        "answer(command: string, stdout: string)",
        "Sets the standard output of all further commands that match this glob. Commands without an
         answer write nothing and succeed.",
        |call: &Call, command: ImmutableString, stdout: ImmutableString| {
            let answer = mock::Answer {
                stdout: stdout.to_string(),
                ..mock::Answer::default()
            };
            call.check(mock_of(call)?.answer(&command, answer))
        },
    );
    test.function(
        "answer(command: string, answer: map)",
        "Sets the result of all further commands that match this glob: `#{stdout, stderr, code}`.",
        |call: &Call, command: ImmutableString, answer: Map| {
            let answer = call.check(decode(&answer))?;
            call.check(mock_of(call)?.answer(&command, answer))
        },
    );
    test.function(
        "log() -> array",
        "Returns what was done since the test began, in order: `web: systemctl restart shop` for a
         command on a host, `here: …` for one on the local machine, and the text of a dry run for
         other changes.",
        |call: &Call| {
            let log = mock_of(call)?.log();
            Ok(log.into_iter().map(Dynamic::from).collect::<Array>())
        },
    );
    test.function(
        "equal(actual, expected)",
        "Fails unless both values are equal.",
        |call: &Call, actual: Dynamic, expected: Dynamic| equal(call, &actual, &expected),
    );
    test.function(
        "check(condition: bool, text: string)",
        "Fails with this text unless the condition is true.",
        |call: &Call, condition: bool, text: ImmutableString| {
            if condition {
                return Ok(());
            }
            Err(call.fail(Diagnostic::new(Kind::Failed, text.as_str())))
        },
    );
    test.function(
        "fails(action: closure) -> string",
        "Fails unless the action throws. Returns the message of the error.",
        |call: &Call, action: FnPtr| fails(call, &action),
    );
    test
}

fn mock_of<'a>(call: &'a Call) -> Answer<&'a Arc<Mock>> {
    call.mock().ok_or_else(|| {
        let text = "the namespace `test` works only in tests";
        let help = "write the test in `tests/NAME.rhai` and run `hitc test`";
        call.fail(Diagnostic::new(Kind::Usage, text).help(help.to_owned()))
    })
}

fn host(name: &str) -> Host {
    Host::from(Node {
        provider: "test".to_owned(),
        name: name.to_owned(),
        id: name.to_owned(),
        size: String::new(),
        image: String::new(),
        // An address for documentation (RFC 5737).
        ip: Address::parse_ip("192.0.2.1"),
        internal_ip: Address::parse_ip("192.0.2.1"),
        state: NodeState::Running,
        created: None,
        owner: Ownership::Foreign,
        user: None,
        region: String::new(),
        is_protected: false,
        container: None,
    })
}

fn decode(answer: &Map) -> Result<mock::Answer, Diagnostic> {
    let answer = to_options(answer);
    let mut fields = Fields::new(&answer, "test::answer")?;
    let text = Value::to_text;
    let stdout = fields.decode("stdout", text)?.unwrap_or_default();
    let stderr = fields.decode("stderr", text)?.unwrap_or_default();
    let code = fields.decode("code", |value, what| value.to_integer(what, 0..256))?;
    fields.finish()?;
    Ok(mock::Answer {
        stdout,
        stderr,
        code: u32::try_from(code.unwrap_or(0)).unwrap_or(0),
    })
}

fn equal(call: &Call, actual: &Dynamic, expected: &Dynamic) -> Answer<()> {
    let (a, b) = (to_value(actual), to_value(expected));
    if a.to_revealed_json() == b.to_revealed_json() {
        return Ok(());
    }
    let (a, b) = (a.to_json(), b.to_json());
    let text = "values differ";
    let shown = format!("actual:   {a:#}\nexpected: {b:#}");
    Err(call.fail(Diagnostic::new(Kind::Failed, text).note(shown)))
}

fn fails(call: &Call, action: &FnPtr) -> Answer<ImmutableString> {
    match action.call_within_context::<Dynamic>(call.script, ()) {
        Ok(_) => Err(call.fail(Diagnostic::new(Kind::Failed, "the action did not throw"))),
        Err(error) => match super::failure::innermost(&error) {
            rhai::EvalAltResult::ErrorRuntime(value, _) => Ok(message(value).into()),
            rhai::EvalAltResult::ErrorTerminated(..) => Err(error),
            other => Ok(other.to_string().into()),
        },
    }
}
