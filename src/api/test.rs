//! `test::`: what a user's own tests are written with. Only `hitc test` runs them.

use std::sync::Arc;

use rhai::{Array, Dynamic, FnPtr, ImmutableString, Map};

use super::{
    Api, Host,
    call::{Answer, Call},
    message,
    namespace::Namespace,
    value::{to_options, to_value},
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
        "For tests of scripts, which `hitc test` runs: hosts that record commands and play back
         answers.",
    );
    test.function(
        "host(name: string) -> Host",
        "A host that is not there. What is run on it is recorded and answered.",
        |call: &Call, name: ImmutableString| {
            stage(call)?;
            Ok(host(&name))
        },
    );
    test.function(
        "hosts(names: array) -> array",
        "The same for several names.",
        |call: &Call, names: Array| {
            stage(call)?;
            let hosts = names
                .iter()
                .map(|name| Dynamic::from(host(&name.to_string())));
            Ok(hosts.collect::<Array>())
        },
    );
    test.function(
        "answer(command: string, stdout: string)",
        "From now on, commands that match this glob write that. What nobody thought of writes
         nothing and goes well.",
        |call: &Call, command: ImmutableString, stdout: ImmutableString| {
            let answer = mock::Answer {
                stdout: stdout.to_string(),
                ..mock::Answer::default()
            };
            call.check(stage(call)?.answer(&command, answer))
        },
    );
    test.function(
        "answer(command: string, answer: map)",
        "The same with `#{stdout, stderr, code}`.",
        |call: &Call, command: ImmutableString, answer: Map| {
            let answer = call.check(decode(&answer))?;
            call.check(stage(call)?.answer(&command, answer))
        },
    );
    test.function(
        "log() -> array",
        "What was done since the test began, in order: `web: systemctl restart shop` for a command
         on a host, `here: …` for one on this machine, and what a dry run would say of the rest.",
        |call: &Call| {
            let log = stage(call)?.log();
            Ok(log.into_iter().map(Dynamic::from).collect::<Array>())
        },
    );
    test.function(
        "equal(actual, expected)",
        "Fails unless both are the same.",
        |call: &Call, actual: Dynamic, expected: Dynamic| equal(call, &actual, &expected),
    );
    test.function(
        "check(condition: bool, text: string)",
        "Fails with this text unless the condition holds.",
        |call: &Call, condition: bool, text: ImmutableString| {
            if condition {
                return Ok(());
            }
            Err(call.fail(Diagnostic::new(Kind::Failed, text.as_str())))
        },
    );
    test.function(
        "fails(action: closure) -> string",
        "Fails unless the action throws; returns the message of what it throws.",
        |call: &Call, action: FnPtr| fails(call, &action),
    );
    test
}

fn stage<'a>(call: &'a Call) -> Answer<&'a Arc<Mock>> {
    call.mock().ok_or_else(|| {
        let text = "this is for tests";
        let help = "write it in `tests/NAME.rhai`, and run `hitc test`";
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
        // An address that is nobody's (RFC 5737).
        ip: Address::parse_ip("192.0.2.1"),
        internal_ip: Address::parse_ip("192.0.2.1"),
        state: NodeState::Running,
        created: None,
        owner: Ownership::Foreign,
        user: None,
        region: String::new(),
        is_protected: false,
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
    let (a, b) = (to_value(actual).to_json(), to_value(expected).to_json());
    if a == b {
        return Ok(());
    }
    let text = "these are not equal";
    let shown = format!("actual:   {a:#}\nexpected: {b:#}");
    Err(call.fail(Diagnostic::new(Kind::Failed, text).note(shown)))
}

fn fails(call: &Call, action: &FnPtr) -> Answer<ImmutableString> {
    match action.call_within_context::<Dynamic>(call.script, ()) {
        Ok(_) => Err(call.fail(Diagnostic::new(Kind::Failed, "nothing was thrown"))),
        Err(error) => match super::failure::innermost(&error) {
            rhai::EvalAltResult::ErrorRuntime(value, _) => Ok(message(value).into()),
            rhai::EvalAltResult::ErrorTerminated(..) => Err(error),
            other => Ok(other.to_string().into()),
        },
    }
}
