//! `provider::`: servers, wherever they come from.

use std::sync::Arc;

use futures_util::future::join_all;
use rhai::{Array, Dynamic, ImmutableString, Map};

use super::{
    Api, Host,
    call::{Answer, Call},
    namespace::Namespace,
    value::{text_map, to_options},
};
use crate::{
    diagnostic::{Diagnostic, Failure, Kind, plural},
    provider::{self, Create, MOST, NAME_RULE, Node, Provider, is_name, numbered, role},
    session::Session,
    value::{Data, Fields, Invalid, Value},
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut provider = Namespace::new(api, "provider", "Servers, wherever they come from.");
    provider.function(
        "nodes() -> array",
        "All servers, as maps with `provider`, `name`, `role`, `id`, `size`, `image`, `ip`,
         `internal_ip`, `state` and `created`.",
        |call: &Call| {
            let session = &call.session;
            let nodes = call.wait(async { Ok::<_, Diagnostic>(session.nodes().await) })?;
            Ok(nodes.iter().map(describe).collect::<Array>())
        },
    );
    provider.function(
        "uncache()",
        "Forgets what providers said a moment ago about the servers there are.",
        |call: &Call| {
            call.session.recent.flush();
            Ok(())
        },
    );
    provider.function(
        "create(options: map) -> array",
        "Creates `count` servers named `name`, `name-1`, … and waits until they answer. The other
         options are the provider's. Returns the hosts.",
        |call: &Call, options: Map| create(call, &options),
    );
    provider.function(
        "terminate(hosts: array)",
        "Ends servers for good, with everything on them, all at once.",
        |call: &Call, hosts: Array| {
            let hosts: Option<Vec<Host>> = hosts.into_iter().map(Dynamic::try_cast).collect();
            let hosts = hosts.ok_or_else(|| {
                let text = "provider::terminate: not all of these are hosts";
                call.fail(Diagnostic::new(Kind::Usage, text))
            })?;
            let names: Vec<&str> = hosts.iter().map(|host| host.0.name.as_str()).collect();
            if call.would(|| format!("terminate {}", names.join(", "))) {
                return Ok(());
            }
            let end = async |host: &Host| {
                let terminate = async |p: &dyn Provider, node: &Node| p.terminate(node).await;
                let ended = act(&call.session, &host.0, "terminate", terminate).await;
                ended.map_err(Diagnostic::from)
            };
            let results = call.try_wait(async { Ok(join_all(hosts.iter().map(end)).await) })?;
            let failures: Vec<Diagnostic> = results.into_iter().filter_map(Result::err).collect();
            if failures.is_empty() {
                Ok(())
            } else {
                Err(call.fail(Failure(failures)))
            }
        },
    );
    provider.function(
        "reboot(host: Host)",
        "Starts a server again and waits until it answers.",
        |call: &Call, host: Host| {
            let session = &call.session;
            let reboot = async {
                let start = async |p: &dyn Provider, node: &Node| p.reboot(node).await;
                act(session, &host.0, "reboot", start).await?;
                wait_for(session, host.0.provider, &host.0.name).await
            };
            call.change(|| format!("reboot server {}", host.0.name), reboot)
                .map(drop)
        },
    );
    provider.function(
        "rename(host: Host, name: string)",
        "Gives a server another name.",
        |call: &Call, host: Host, name: ImmutableString| {
            call.check(check_name(&name))?;
            let rename = async |p: &dyn Provider, node: &Node| p.rename(node, &name).await;
            let session = &call.session;
            let renaming = async {
                let others = session.providers.of(&host.0)?.list().await?;
                if others.iter().any(|node| node.name == name.as_str()) {
                    let message = format!("there is a server `{name}` already");
                    return Err(Diagnostic::new(Kind::Usage, message));
                }
                Ok(act(session, &host.0, "rename", rename).await?)
            };
            let what = || format!("rename server {} to {name}", host.0.name);
            call.change(what, renaming).map(drop)
        },
    );
    provider.function(
        "set_up(name: string)",
        "Makes this machine ready for a provider; for `local` that is Docker and a base image.",
        |call: &Call, name: ImmutableString| {
            let session = &call.session;
            call.change(|| format!("set up provider {name}"), async {
                let activity = session.events.start(name.as_str(), "setting up");
                session.providers.get(&name)?.set_up(&activity).await?;
                activity.done("ready");
                Ok::<_, provider::Error>(())
            })
            .map(drop)
        },
    );
    provider
}

fn describe(node: &Node) -> Dynamic {
    let mut map = text_map([
        ("provider", node.provider.to_owned()),
        ("name", node.name.clone()),
        ("role", role(&node.name).to_owned()),
        ("id", node.id.clone()),
        ("size", node.size.clone()),
        ("image", node.image.clone()),
        ("ip", node.ip.clone()),
        ("internal_ip", node.internal_ip.clone()),
        ("state", node.state.to_string()),
    ]);
    let created = node.created.map_or(Dynamic::UNIT, |created| {
        let zoned = created.to_zoned(jiff::tz::TimeZone::system());
        zoned.strftime("%Y-%m-%d %H:%M:%S%:z").to_string().into()
    });
    map.insert("created".into(), created);
    Dynamic::from_map(map)
}

fn check_name(name: &str) -> Result<(), Diagnostic> {
    if is_name(name) {
        return Ok(());
    }
    let message = format!("name: `{name}` is no name for a server");
    Err(Diagnostic::new(Kind::Usage, message).help(NAME_RULE.to_owned()))
}

struct Request {
    provider: Arc<dyn Provider>,
    names: Vec<String>,
    options: Value,
}

fn decode(session: &Session, options: &Map) -> Result<Request, Diagnostic> {
    let invalid = |error: Invalid| Diagnostic::from(error);
    let mut fields = Fields::new(&to_options(options), "create").map_err(invalid)?;
    let text = |value: &Value, what: &str| value.to_text(what);
    let provider = fields.decode("provider", text).map_err(invalid)?;
    let provider = provider.unwrap_or_else(|| session.settings.provider.clone());
    let provider = session.providers.get(&provider)?.clone();
    let name = fields.require("name").map_err(|mut error| {
        let example = || "write `hitc run create name=web`".to_owned();
        error.help.get_or_insert_with(example);
        Diagnostic::from(error)
    })?;
    let name = name.to_text("name").map_err(invalid)?;
    check_name(&name)?;
    let count = fields
        .decode("count", |value, what| value.to_integer(what, 1..MOST + 1))
        .map_err(invalid)?
        .unwrap_or(1);
    let options = Value {
        data: Data::Map(fields.rest()),
        span: None,
    };
    provider.validate(&options).map_err(invalid)?;
    Ok(Request {
        provider,
        names: numbered(&name, count),
        options,
    })
}

fn create(call: &Call, options: &Map) -> Answer<Array> {
    let session = &call.session;
    let request = call.check(decode(session, options))?;
    let what = || {
        let count = plural(request.names.len(), "server");
        format!("create {count}: {}", request.names.join(", "))
    };
    if call.would(what) {
        return Ok(Array::new());
    }
    call.try_wait(create_all(session, &request))
}

/// Creates those that are not there: a run that failed for some is finished by the next one. One
/// that fails does not stop the others.
async fn create_all(session: &Session, request: &Request) -> Result<Array, Failure> {
    let there = request.provider.list().await.map_err(Diagnostic::from)?;
    // One that was left half made is finished.
    let is_there = |name: &&String| {
        let made = |node: &&Node| node.state != provider::NodeState::Creating;
        there.iter().filter(made).any(|node| node.name == **name)
    };
    let (old, new): (Vec<&String>, Vec<&String>) = request.names.iter().partition(is_there);
    for (index, name) in old.iter().enumerate() {
        let message = format!("there is a server `{name}` already");
        if new.is_empty() && index == 0 {
            return Err(Diagnostic::new(Kind::Usage, message)
                .help("choose another name, or terminate it first".to_owned())
                .into());
        }
        session.events.note(message);
    }
    session.recent.flush();
    let one = async |name: &String| {
        let activity = session.events.start(name.as_str(), "creating");
        let started = std::time::Instant::now();
        let create = Create {
            name: name.clone(),
            options: request.options.clone(),
            tags: Vec::new(),
        };
        let node = request.provider.create(&create, &activity).await?;
        activity.update("waiting for SSH");
        session.wait_for(&node).await?;
        activity.done(format!(
            "ready after {:.1} s",
            started.elapsed().as_secs_f64()
        ));
        Ok::<_, Diagnostic>(Dynamic::from(Host::from(node)))
    };
    let (mut hosts, mut failures) = (Array::new(), Vec::new());
    for (name, created) in new.iter().zip(join_all(new.iter().copied().map(one)).await) {
        match created {
            Ok(host) => hosts.push(host),
            Err(error) => failures.push(error.of_host(name)),
        }
    }
    if failures.is_empty() {
        Ok(hosts)
    } else {
        Err(Failure(failures))
    }
}

/// Waits until a server has an address and answers on SSH.
async fn wait_for(session: &Session, provider: &'static str, name: &str) -> Result<(), Diagnostic> {
    let nodes = session.providers.get(provider)?.list().await?;
    let node = nodes
        .iter()
        .find(|node| node.name == name)
        .ok_or_else(|| Diagnostic::new(Kind::Failed, format!("server `{name}` is gone")))?;
    session.wait_for(node).await?;
    Ok(())
}

/// Lets a server's provider do something to it, and forgets what was known of it.
async fn act(
    session: &Session,
    node: &Node,
    what: &str,
    act: impl AsyncFnOnce(&dyn Provider, &Node) -> Result<(), provider::Error>,
) -> Result<(), provider::Error> {
    let activity = session.events.start(node.name.as_str(), what);
    act(session.providers.of(node)?.as_ref(), node).await?;
    session.forget(node);
    activity.done(format!("{what}: done"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(check_name("web-1").is_ok());
        for bad in ["", "-a", "a-", "a b", "a.b", "ä", &"x".repeat(51)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
