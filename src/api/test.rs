//! `test::`: mocks and assertions for the project's own tests, which `hitc test` runs.

use std::sync::Arc;

use rhai::{Array, Dynamic, FnPtr, ImmutableString, Map};

use super::{
    Api, Host,
    call::{Answer, Call},
    message,
    namespace::Namespace,
    value::{text_map, texts, to_options, to_value},
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        environment,
        owner::Ownership,
        value::{Data, Fields, Invalid, Value},
    },
    http::{Reply, Sent},
    mock::{self, Mock, Pattern},
    provider::{Address, MOCK, MockServers, Node, NodeState},
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut test = Namespace::new(
        api,
        "test",
        "Mocks and assertions for tests of scripts (`hitc test`). A test contacts and changes nothing:
         what changes something is recorded (`log`), and what asks for something is answered by the test.
         Without an answer, the test fails, and the error says what to write. Patterns are globs; of
         several that match, the last one counts. A list of answers is given one after the other, and the
         last one is repeated.",
    );
    add_hosts(&mut test);
    add_answers(&mut test);
    add_records(&mut test);
    add_assertions(&mut test);
    test
}

fn add_hosts(test: &mut Namespace) {
    test.function(
        "host(name: string) -> Host",
        "Creates a mock host, a server of this project. Commands on it are recorded and answered.",
        |call: &Call, name: ImmutableString| add_host(call, &name, &Map::new()),
    );
    test.function(
        "host(name: string, options: map) -> Host",
        "Creates a mock host with options: `provider`, `id`, `size`, `image`, `region`, `ip`,
         `internal_ip`, `state` (`running`, `stopped`, …), `\"protected\"`, `manifest`, and `own` (false for
         a server of another owner).",
        |call: &Call, name: ImmutableString, options: Map| add_host(call, &name, &options),
    );
    test.function(
        "hosts(names: array) -> array",
        "Creates a mock host for each name, or for each map with `name` and the options of `host`. All
         mock hosts are the servers of the test: `provider::nodes`, `ssh::host` and the `@role` of tasks
         find them; `provider::create` adds to them, and `provider::terminate` removes from them. An empty
         list says that there are no servers.",
        |call: &Call, hosts: Array| {
            mock_of(call)?;
            if let Some(servers) = &call.inventory.mock {
                servers.declare();
            }
            let add = |host: Dynamic| -> Answer<Dynamic> {
                let host = match host.try_cast_result::<Map>() {
                    Ok(mut options) => {
                        let name = options.remove("name").unwrap_or_default().to_string();
                        if name.is_empty() {
                            let text = "test::hosts: missing `name`";
                            return Err(call.fail(Diagnostic::new(Kind::Usage, text)));
                        }
                        add_host(call, &name, &options)?
                    }
                    Err(name) => {
                        let names = texts(call, &[name])?;
                        add_host(call, &names.concat(), &Map::new())?
                    }
                };
                Ok(Dynamic::from(host))
            };
            hosts.into_iter().map(add).collect::<Answer<Array>>()
        },
    );
}

fn add_answers(test: &mut Namespace) {
    test.function(
        "answer(command: string, stdout: string)",
        "Sets the standard output of all further commands that match this pattern: on hosts, and on the
         local machine. Commands without an answer write nothing and succeed; that of `secret::command`
         needs one.",
        |call: &Call, command: ImmutableString, stdout: ImmutableString| {
            answer(call, &command, vec![stdout.into()])
        },
    );
    test.function(
        "answer(command: string, answer: map)",
        "Sets the result of all further commands that match this pattern: `#{stdout, stderr, code}`.",
        |call: &Call, command: ImmutableString, result: Map| {
            answer(call, &command, vec![result.into()])
        },
    );
    test.function(
        "answer(command: string, answers: array)",
        "Sets the results of the next commands that match this pattern, texts or maps.",
        |call: &Call, command: ImmutableString, results: Array| answer(call, &command, results),
    );
    test.function(
        "http(method: string, url: string, response: any)",
        "Sets the response to all further requests whose method and URL match: the text of its body, a map
         `#{status, headers, body}`, in which a body that is a map or a list is sent as JSON, or a list of
         responses. `#{error: \"connection refused\"}` stands for no response. Retries take no time.",
        |call: &Call, method: ImmutableString, url: ImmutableString, response: Dynamic| {
            let mock = mock_of(call)?;
            let line = format!("{} {url}", method.to_uppercase());
            let pattern = call.check(Pattern::parse(&line))?;
            let replies = list_of(response).into_iter().map(|one| reply(&one));
            mock.answer_requests(pattern, call.check(replies.collect::<Result<_, _>>())?);
            Ok(())
        },
    );
    test.function(
        "prompt(question: string, answer: any)",
        "Sets the answer to all further questions that match: those of `ui::prompt`, `ui::confirm` and
         `secret::prompt`, and the `@confirm` of tasks. A text, or a list of them: `yes` or `no` for a
         yes/no question, the word if one must be typed.",
        |call: &Call, question: ImmutableString, answer: Dynamic| {
            let mock = mock_of(call)?;
            let pattern = call.check(Pattern::parse(&question))?;
            let answers = texts(call, &list_of(answer))?;
            mock.questions.add(pattern, answers);
            Ok(())
        },
    );
    test.function(
        "env(name: string, value: string)",
        "Sets an environment variable for `env::get`, `secret::env` and manifests. In a test, no other
         variables are set, also not those in `.env`.",
        |call: &Call, name: ImmutableString, value: ImmutableString| {
            mock_of(call)?;
            environment::set(&name, &value);
            Ok(())
        },
    );
    test.function(
        "file(path: string, content: string)",
        "Creates a file on the local machine, in memory, for all functions of `fs::`, `secret::file`,
         `template` and `upload`. `~/` is the home folder.",
        |call: &Call, path: ImmutableString, content: ImmutableString| {
            let mock = mock_of(call)?;
            let project = &call.context.project;
            let file = match path.strip_prefix("~/") {
                Some(rest) => project.home.join(rest),
                None => project.root.join(path.as_str()),
            };
            mock.files.write(&file, content.as_bytes().to_vec(), None);
            Ok(())
        },
    );
    test.function(
        "mock(function: string, result: any)",
        "Sets the result of all further calls of a function, such as `\"docker::ps\"`: a value, or a closure
         that gets the arguments of the call, and may throw. What a function changes is recorded
         nevertheless.",
        |call: &Call, function: ImmutableString, result: Dynamic| {
            mock_of(call)?;
            call.check(call.api.functions.mock(&function, result))
        },
    );
}

fn add_records(test: &mut Namespace) {
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
        "requests() -> array",
        "Returns the HTTP requests that were sent since the test began, in order, as maps with `method`,
         `url`, `headers` and `body`.",
        |call: &Call| {
            let requests = mock_of(call)?.requests();
            let describe = |sent: Sent| {
                let headers = sent.headers.into_iter();
                let headers: Map = headers
                    .map(|(name, value)| (name.into(), value.into()))
                    .collect();
                let mut map = text_map([
                    ("method", sent.method),
                    ("url", sent.url),
                    ("body", sent.body),
                ]);
                map.insert("headers".into(), headers.into());
                Dynamic::from_map(map)
            };
            Ok(requests.into_iter().map(describe).collect::<Array>())
        },
    );
    test.function(
        "calls(function: string) -> array",
        "Returns the calls of a function since the test began, in order, such as those of
         `\"docker::run\"`: a list of the arguments of each.",
        |call: &Call, function: ImmutableString| {
            mock_of(call)?;
            let calls = call.check(call.api.functions.calls(&function))?;
            Ok(calls.into_iter().map(Dynamic::from).collect::<Array>())
        },
    );
}

fn add_assertions(test: &mut Namespace) {
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
}

fn mock_of<'a>(call: &'a Call) -> Answer<&'a Arc<Mock>> {
    call.mock().ok_or_else(|| {
        let text = "the namespace `test` works only in tests";
        let help = "write the test in `tests/NAME.rhai` and run `hitc test`";
        call.fail(Diagnostic::new(Kind::Usage, text).help(help.to_owned()))
    })
}

/// Creates a server of a test.
pub(super) fn mock_node(call: &Call, servers: &MockServers, name: &str, provider: &str) -> Node {
    let ip = Address::parse_ip(&address(servers.list().map_or(0, |nodes| nodes.len())));
    let owner = call.context.project.ensure_owner(&call.context.events);
    Node {
        provider: provider.to_owned(),
        name: name.to_owned(),
        id: name.to_owned(),
        size: String::new(),
        image: String::new(),
        ip: ip.clone(),
        internal_ip: ip,
        state: NodeState::Running,
        created: None,
        owner: owner.map_or(Ownership::Foreign, Ownership::Owner),
        user: None,
        region: String::new(),
        is_protected: false,
        container: None,
    }
}

/// An address for documentation (RFC 5737), or for tests of networks (RFC 2544) if there are many.
fn address(index: usize) -> String {
    match index {
        0..254 => format!("192.0.2.{}", index + 1),
        _ => format!("198.18.{}.{}", index / 256 % 256, index % 256),
    }
}

/// Adds a server to those of the test.
fn add_host(call: &Call, name: &str, options: &Map) -> Answer<Host> {
    mock_of(call)?;
    let none = MockServers::default();
    let servers = call.inventory.mock.as_deref().unwrap_or(&none);
    let mut node = mock_node(call, servers, name, MOCK);
    call.check(set_options(&mut node, options))?;
    servers.add(node.clone());
    Ok(Host::from(node))
}

fn set_options(node: &mut Node, options: &Map) -> Result<(), Diagnostic> {
    let options = to_options(options);
    let mut fields = Fields::new(&options, "test::host")?;
    let text = Value::to_text;
    let ip = |value: &Value, what: &str| {
        let text = value.to_text(what)?;
        let ip = Address::parse_ip(&text);
        ip.ok_or_else(|| Invalid::new(value, format!("{what}: invalid address `{text}`")))
    };
    let state = |value: &Value, what: &str| {
        let text = value.to_text(what)?;
        serde_json::from_value::<NodeState>(text.clone().into())
            .map_err(|_| Invalid::new(value, format!("{what}: invalid state `{text}`")))
    };
    let set = |old: &mut String, new: Option<String>| {
        if let Some(new) = new {
            *old = new;
        }
    };
    set(&mut node.provider, fields.decode("provider", text)?);
    set(&mut node.id, fields.decode("id", text)?);
    set(&mut node.size, fields.decode("size", text)?);
    set(&mut node.image, fields.decode("image", text)?);
    set(&mut node.region, fields.decode("region", text)?);
    node.ip = fields.decode("ip", ip)?.or(node.ip.take());
    let internal_ip = fields.decode("internal_ip", ip)?;
    node.internal_ip = internal_ip.or(node.internal_ip.take());
    node.state = fields.decode("state", state)?.unwrap_or(node.state);
    let protected = fields.decode("protected", Value::to_bool)?;
    node.is_protected = protected.unwrap_or(false);
    let manifest = fields.decode("manifest", text)?;
    if let (Some(manifest), Ownership::Owner(owner)) = (manifest, &mut node.owner) {
        owner.manifest = Some(manifest);
    }
    if fields.decode("own", Value::to_bool)? == Some(false) {
        node.owner = Ownership::Foreign;
    }
    fields.finish()?;
    Ok(())
}

/// The items of a list, or the only item.
fn list_of(value: Dynamic) -> Array {
    match value.try_cast_result::<Array>() {
        Ok(items) => items,
        Err(one) => vec![one],
    }
}

fn answer(call: &Call, command: &str, answers: Array) -> Answer<()> {
    let mock = mock_of(call)?;
    let pattern = call.check(Pattern::parse(command))?;
    let decode = |answer: Dynamic| match answer.try_cast_result::<Map>() {
        Ok(map) => decode(&map),
        Err(text) => Ok(mock::Answer {
            stdout: text.to_string(),
            ..mock::Answer::default()
        }),
    };
    let answers = answers.into_iter().map(decode);
    mock.commands
        .add(pattern, call.check(answers.collect::<Result<_, _>>())?);
    Ok(())
}

/// Decodes a response: the text of its body, or a map.
fn reply(response: &Dynamic) -> Result<Reply, Diagnostic> {
    let Some(map) = response.read_lock::<Map>() else {
        return Ok(Reply::Response {
            status: 200,
            headers: Vec::new(),
            body: response.to_string(),
        });
    };
    let options = to_options(&map);
    let mut fields = Fields::new(&options, "test::http")?;
    let error = fields.decode("error", Value::to_text)?;
    let status = fields.decode("status", |value, what| value.to_integer(what, 100..600))?;
    let headers = fields.decode("headers", Value::to_map)?.unwrap_or_default();
    let body = fields.take("body");
    fields.finish()?;
    if let Some(cause) = error {
        return Ok(Reply::NoConnection(cause));
    }
    let headers = headers.into_iter().map(|header| {
        let value = header.value.to_text(&header.key)?;
        Ok::<_, Invalid>((header.key, value))
    });
    let body = match body {
        None => String::new(),
        Some(body) if matches!(body.data, Data::Map(_) | Data::List(_)) => {
            body.to_revealed_json().to_string()
        }
        Some(body) => body.to_text_or_secret("body")?,
    };
    Ok(Reply::Response {
        status: u16::try_from(status.unwrap_or(200)).unwrap_or(200),
        headers: headers.collect::<Result<_, _>>()?,
        body,
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
