//! `provider::`: servers and volumes of all providers.

mod costs;
mod images;
mod prices;
mod volumes;

use std::sync::Arc;

use costs::costs;
use futures_util::future::join_all;
use prices::prices;
use rhai::{Array, Dynamic, FnPtr, ImmutableString, Map};

use super::{
    Api, Host,
    call::{Answer, Call},
    namespace::Namespace,
    test::mock_node,
    value::{from_json, texts, to_options},
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind, plural},
        value::Fields,
    },
    inventory::{Inventory, Resolved},
    project::ProjectId,
    provider::{self, Finding, Node, NodeState, Provider, refuse_protected},
    provision::{Order, Quote, check_name, reboot, wait_for},
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut provider = Namespace::new(api, "provider", "Servers and volumes of all providers.");
    provider.function(
        "nodes() -> array",
        "Returns the servers of this project, as maps with `provider`, `name`, `role`, `id`,
         `size`, `image`, `region`, `ip`, `internal_ip`, `state`, `created`, `owner`, `manifest`
         and `protected`.",
        nodes,
    );
    provider.function(
        "all_nodes() -> array",
        "Returns the servers of all owners, as `nodes` does. `own` says whether a server belongs to
         this project. The names of unmanaged servers are resolved: `ip` is the address, and `state` is
         `unresolvable` if there is none.",
        all_nodes,
    );
    provider.change(
        "adopt(hosts: array)",
        "Makes this project the owner of servers, instead of their current owners.",
        |call: &Call, hosts: Array| adopt(call, &hosts),
    );
    provider.query(
        "prices(options: map) -> array",
        "Returns the price lists of all configured providers that have one, or of the one that the
         option `provider` names, as maps `#{provider, currency, includes, columns, rows}`. The other
         options are those of the provider. In a row, `cost` is the hourly price and `month` the
         monthly one. `includes` lists what the prices include besides the server.",
        |call: &Call, options: Map| prices(call, &options),
    );
    provider.query(
        "costs() -> array",
        "Returns what this project's servers cost at present, as maps with `provider`, `name`,
         `role`, `size`, `state`, `known` (false if the provider does not report the cost),
         `currency` (empty if it costs nothing), `hour`, `month`, `parts` (maps with `what`, `hour`
         and `month`), `tax` (that the prices include, in words) and `unknown` (what they do not
         include, because the provider does not report its price). An EC2 instance that is stopped
         costs its disks and its Elastic IP address.",
        |call: &Call| costs(call),
    );
    provider.query(
        "check(name: string) -> array",
        "Finds out what the account of a provider may do, and its limits, without changing anything.
         Returns maps with `what`, `result` (`ok`, `missing` or `unknown`) and `detail`.",
        |call: &Call, name: ImmutableString| check(call, &name),
    );
    for_scripts(&mut provider);
    provider.function(
        "uncache()",
        "Clears the cached server list.",
        |call: &Call| {
            call.inventory.cache.flush();
            Ok(())
        },
    );
    provider.change(
        "create(options: map) -> array",
        "Creates `count` servers named `name`, `name-1`, … and waits until they are ready. The
         other options are those of the provider. Returns the hosts.",
        |call: &Call, options: Map| create(call, &options),
    );
    provider.change(
        "terminate(hosts: array)",
        "Terminates servers, all at the same time. All data on them is lost.",
        |call: &Call, hosts: Array| terminate(call, &hosts),
    );
    provider.change(
        "reboot(host: Host)",
        "Reboots a server, or starts a stopped one, and waits until it answers on SSH.",
        |call: &Call, host: Host| {
            let rebooting = async {
                let provider = call.inventory.providers.of(&host.0)?;
                reboot(call.inventory.as_ref(), provider.as_ref(), &host.0).await
            };
            let rebooted = call.change(|| format!("reboot server {}", host.0.name), rebooting);
            if let Some(servers) = &call.inventory.mock {
                servers.change(&host.0, |node| node.state = NodeState::Running);
            }
            rebooted.map(drop)
        },
    );
    provider.change(
        "resize(host: Host, options: map)",
        "Resizes a server to the size in the options, and waits until it answers on SSH. It may be
         stopped meanwhile. A server that has this size and is stopped is started.",
        |call: &Call, host: Host, options: Map| resize(call, &host, &options),
    );
    provider.change(
        "rename(host: Host, name: string)",
        "Renames a server.",
        |call: &Call, host: Host, name: ImmutableString| rename(call, &host, &name),
    );
    images_and_console(&mut provider);
    provider.change(
        "set_up(name: string)",
        "Prepares the local machine for a provider. For `local`, installs Docker and creates a base
         image.",
        |call: &Call, name: ImmutableString| set_up(call, &name),
    );
    volumes::add(&mut provider);
    provider
}

/// Functions for scripts that are providers.
fn for_scripts(provider: &mut Namespace) {
    provider.function(
        "names() -> array",
        "Returns the names of all providers: those that hitc has, and those of the project.",
        |call: &Call| {
            let names = call.inventory.providers.names().into_iter();
            Ok(names.map(Dynamic::from).collect::<Array>())
        },
    );
    provider.function(
        "refuse(message: string, help: string)",
        "Throws a usage error, for scripts that are providers.",
        |call: &Call, message: ImmutableString, help: ImmutableString| -> Answer<()> {
            let help = Some(help.to_string()).filter(|help| !help.is_empty());
            Err(call.fail(Diagnostic::new(Kind::Usage, message.as_str()).help(help)))
        },
    );
    provider.function(
        "missing(what: string, name: string, known: array)",
        "Throws the usage error that `what` of this name was not found, with a suggestion from the
         known names. For scripts that are providers.",
        |call: &Call, what: ImmutableString, name: ImmutableString, known: Array| -> Answer<()> {
            let known = texts(call, &known)?;
            let known = known.iter().map(String::as_str);
            let error = provider::Error::missing(&what, &name, known, None);
            Err(call.fail(Diagnostic::from(error)))
        },
    );
    provider.function(
        "once(key: string, action: closure) -> ?",
        "Returns what the action returns, and the same for the same key until hitc ends. Calls at the
         same time wait for the first one. For scripts that are providers, which create servers at the
         same time.",
        |call: &Call, key: ImmutableString, action: FnPtr| once(call, &key, &action),
    );
}

fn once(call: &Call, key: &str, action: &FnPtr) -> Answer<Dynamic> {
    let made = call
        .api
        .once(key, || action.call_within_context(call.script, ()));
    made.unwrap_or_else(|| {
        let text = format!("provider::once: the action for `{key}` asks for its own result");
        Err(call.fail(Diagnostic::new(Kind::Usage, text)))
    })
}

fn images_and_console(provider: &mut Namespace) {
    provider.query(
        "images() -> array",
        "Returns the images that this project made of servers, of all providers, as maps with
         `provider`, `name`, `id`, `server` (of which it was made), `size` (GiB), `region`, `created`,
         `state` (`creating`, `usable` or `failed`) and `owner`.",
        |call: &Call| images::images(call),
    );
    provider.query(
        "image(provider: string, name: string) -> map",
        "Returns the project's image of this name or id, as `images` does. An empty provider stands
         for all. Fails if it does not exist, or belongs to another project.",
        |call: &Call, provider: ImmutableString, name: ImmutableString| {
            images::find(call, &provider, &name)
        },
    );
    provider.change(
        "create_image(host: Host, name: string) -> map",
        "Makes an image of a server, and waits until it is usable. EC2 reboots the server for that.
         Finishes what an interrupted run began; an image of that name that is usable is an error.
         Returns the image.",
        |call: &Call, host: Host, name: ImmutableString| images::create_image(call, &host, &name),
    );
    provider.change(
        "delete_image(name: string)",
        "Deletes the project's image of this name or id.",
        |call: &Call, name: ImmutableString| images::delete_image(call, None, &name),
    );
    provider.change(
        "delete_image(provider: string, name: string)",
        "Deletes the project's image of this name or id at a provider.",
        |call: &Call, provider: ImmutableString, name: ImmutableString| {
            images::delete_image(call, Some(&provider), &name)
        },
    );
    provider.change(
        "terminate(hosts: array, image: string)",
        "Makes an image of a server, and terminates the server when the image is usable. All data on
         the server is lost but what is in the image. `hosts` has one host.",
        |call: &Call, hosts: Array, image: ImmutableString| {
            terminate_with_image(call, &hosts, &image)
        },
    );
    provider.query(
        "console(host: Host) -> string",
        "Returns the last output of a server on its console, 1 MiB at most, with control characters
         escaped.",
        |call: &Call, host: Host| images::console(call, &host),
    );
}

fn set_up(call: &Call, name: &str) -> Answer<()> {
    let done = call.change(|| format!("set up provider {name}"), async {
        let activity = call.context.events.start(name, "setting up");
        let provider = call.inventory.providers.get(name)?;
        provider.set_up(&activity).await?;
        activity.done("ready");
        Ok::<_, provider::Error>(())
    });
    done.map(drop)
}

fn check(call: &Call, name: &str) -> Answer<Array> {
    let checked = async {
        let provider = call.inventory.providers.get(name)?;
        Ok::<_, Diagnostic>(provider.check_account().await?)
    };
    let findings = call.wait(checked)?;
    let describe = |finding: &Finding| {
        let mut map = Map::new();
        map.insert("what".into(), finding.what.clone().into());
        map.insert("result".into(), finding.verdict.word().into());
        map.insert("detail".into(), finding.detail.clone().into());
        Dynamic::from_map(map)
    };
    Ok(findings.iter().map(describe).collect())
}

fn nodes(call: &Call) -> Answer<Array> {
    call.check(call.inventory.check_mock())?;
    let nodes = call.wait(async { Ok::<_, Diagnostic>(call.inventory.nodes().await) })?;
    let project = call.check(call.context.project.id())?;
    let project = project.as_ref().map(ProjectId::as_str);
    let own = nodes.iter().filter(|node| node.is_of_project(project));
    Ok(own.map(|node| describe(node, project).into()).collect())
}

fn all_nodes(call: &Call) -> Answer<Array> {
    call.check(call.inventory.check_mock())?;
    let listed = async {
        let nodes = call.inventory.nodes().await;
        let resolved = join_all(nodes.iter().map(|node| call.inventory.resolve(node))).await;
        Ok::<_, Diagnostic>((nodes, resolved))
    };
    let (nodes, resolved) = call.wait(listed)?;
    let project = call.check(call.context.project.id())?;
    let project = project.as_ref().map(ProjectId::as_str);
    let describe = |(node, resolved): (&Node, Resolved)| {
        let mut map = describe(node, project);
        let (ip, state) = match resolved {
            Resolved::Nothing => return map.into(),
            Resolved::To(ip) => (ip.to_string(), node.state.to_string()),
            Resolved::Failed => (String::new(), "unresolvable".to_owned()),
        };
        map.insert("ip".into(), ip.clone().into());
        map.insert("internal_ip".into(), ip.into());
        map.insert("state".into(), state.into());
        map.into()
    };
    Ok(nodes.iter().zip(resolved).map(describe).collect())
}

fn adopt(call: &Call, hosts: &[Dynamic]) -> Answer<()> {
    let hosts = call.hosts(hosts)?;
    if call.would(|| format!("adopt {}", names(&hosts))) {
        return Ok(());
    }
    let owner = call.check(call.context.project.ensure_owner(&call.context.events))?;
    let adopt = async |p: &dyn Provider, node: &Node| p.adopt(node, &owner).await;
    act_on_all(call, &hosts, "adopt", &adopt)
}

fn create(call: &Call, options: &Map) -> Answer<Array> {
    let inventory = call.inventory.as_ref();
    let default_provider = &call.context.settings.provider;
    let order = Order::decode(&to_options(options), &inventory.providers, default_provider);
    let order = call.check(order)?;
    let events = &call.context.events;
    let quote = {
        let project = call.check(call.context.project.id())?;
        let project = project.as_ref().map(ProjectId::as_str);
        call.try_wait(order.quote(project, |text| events.note(text)))?
    };
    let Quote { names, cost, .. } = &quote;
    let (count, list) = (plural(names.len(), "server"), names.join(", "));
    let what = || {
        let cost = cost.as_ref().map(|cost| format!(" ({cost})"));
        format!("create {count}: {list}{}", cost.unwrap_or_default())
    };
    if call.would(what) {
        let servers = call.inventory.mock.as_ref();
        return Ok(servers.map_or_else(Array::new, |servers| {
            let hosts = names.iter().map(|name| {
                let node = mock_node(call, servers, name, order.provider.name());
                servers.add(node.clone());
                Dynamic::from(Host::from(node))
            });
            hosts.collect()
        }));
    }
    if let Some(cost) = cost {
        let place = order.provider.name();
        let question = format!("{count} at {place}: {cost}. Create {list}?");
        call.check(events.confirm(&question, None))?;
    }
    let owner = call.check(call.context.project.ensure_owner(events))?;
    let nodes = call.try_wait(order.create(inventory, &quote, &owner))?;
    Ok(nodes
        .into_iter()
        .map(Host::from)
        .map(Dynamic::from)
        .collect())
}

fn terminate(call: &Call, hosts: &[Dynamic]) -> Answer<()> {
    let hosts = call.hosts(hosts)?;
    let nodes = hosts.iter().map(|host| host.0.as_ref());
    call.check(refuse_protected(nodes).map_err(Diagnostic::from))?;
    if call.would(|| format!("terminate {}", names(&hosts))) {
        forget(call, &hosts);
        return Ok(());
    }
    let terminate = async |p: &dyn Provider, node: &Node| p.terminate(node).await;
    act_on_all(call, &hosts, "terminate", &terminate)
}

/// Makes an image of a server, and terminates the server when the image is usable.
fn terminate_with_image(call: &Call, hosts: &[Dynamic], name: &str) -> Answer<()> {
    let hosts = call.hosts(hosts)?;
    let [host] = hosts.as_slice() else {
        let text = format!(
            "terminate: an image is made of one server, and {} are selected",
            hosts.len()
        );
        return Err(call.fail(Diagnostic::new(Kind::Usage, text)));
    };
    let node = &host.0;
    call.check(refuse_protected([node.as_ref()]))?;
    let unfinished = images::check(call, node, name)?;
    if let Some(old) = &unfinished {
        // It lacks what the server wrote since then.
        let created = old.created.map(|at| format!(", begun at {at}"));
        let text = format!(
            "image `{name}` ({}) is unfinished{}; nothing was terminated",
            old.id,
            created.unwrap_or_default()
        );
        let help = format!(
            "choose another name, finish it with `hitc run -H {0} image.create {name}`, or delete it \
             with `hitc run image.delete {name}`",
            node.name
        );
        return Err(call.fail(Diagnostic::new(Kind::Usage, text).help(help)));
    }
    let what = || format!("make image {name} of {0}, then terminate {0}", node.name);
    if call.would(what) {
        forget(call, &hosts);
        return Ok(());
    }
    images::make(call, node, name, unfinished)?;
    let terminate = async |p: &dyn Provider, node: &Node| p.terminate(node).await;
    act_on_all(call, &hosts, "terminate", &terminate)
}

fn names(hosts: &[Host]) -> String {
    let names: Vec<&str> = hosts.iter().map(|host| host.0.name.as_str()).collect();
    names.join(", ")
}

/// Describes a server for scripts. A field without a value is an empty text.
fn describe(node: &Node, project: Option<&str>) -> Map {
    let json = serde_json::to_value(node).unwrap_or_default();
    let mut map: Map = from_json(&json).try_cast().unwrap_or_default();
    let created = node.created.map_or(Dynamic::UNIT, |created| {
        let zoned = created.to_zoned(jiff::tz::TimeZone::system());
        zoned.strftime("%Y-%m-%d %H:%M:%S%:z").to_string().into()
    });
    let manifest = node.owner.manifest().map(str::to_owned);
    let protected = map.remove("is_protected").unwrap_or_default();
    map.extend([
        ("role".into(), node.role().to_owned().into()),
        ("ip".into(), node.ip_text().into()),
        ("internal_ip".into(), node.internal_ip_text().into()),
        ("created".into(), created),
        (
            "manifest".into(),
            manifest.map_or(Dynamic::UNIT, Into::into),
        ),
        ("owner".into(), node.owner.to_string().into()),
        ("own".into(), node.is_of_project(project).into()),
        ("protected".into(), protected),
    ]);
    map
}

fn rename(call: &Call, host: &Host, name: &str) -> Answer<()> {
    call.check(check_name(name))?;
    let rename = async |p: &dyn Provider, node: &Node| p.rename(node, name).await;
    let renaming = async {
        let others = call.inventory.providers.of(&host.0)?.list().await?;
        if others.iter().any(|node| node.name == name) {
            let message = format!("server `{name}` already exists");
            return Err(Diagnostic::new(Kind::Usage, message));
        }
        Ok(act(&call.inventory, &host.0, "rename", rename).await?)
    };
    let what = || format!("rename server {} to {name}", host.0.name);
    let renamed = call.change(what, renaming).map(drop);
    if let Some(servers) = &call.inventory.mock {
        servers.change(&host.0, |node| name.clone_into(&mut node.name));
    }
    renamed
}

fn resize(call: &Call, host: &Host, options: &Map) -> Answer<()> {
    let node = &host.0;
    let options = to_options(options);
    let check = || {
        let size = Fields::new(&options, "resize")?.require("size")?;
        let size = size.to_text("size")?;
        call.inventory.providers.of(node)?.validate(&options)?;
        Ok::<_, Diagnostic>(size)
    };
    let size = call.check(check())?;
    let has_size = size == node.size;
    if has_size && !node.state.is_off() {
        call.context
            .events
            .note(format!("{}: already has this size", node.name));
        return Ok(());
    }
    // A resize that was interrupted leaves the server stopped.
    let what = if has_size { "start" } else { "resize" };
    let resize = async {
        let resize = async |p: &dyn Provider, node: &Node| {
            if has_size {
                p.start(node).await
            } else {
                p.resize(node, &options).await
            }
        };
        act(&call.inventory, node, what, resize).await?;
        wait_for(
            call.inventory.as_ref(),
            call.inventory.providers.of(node)?.as_ref(),
            node,
        )
        .await
        .map(drop)
    };
    let resized = call.change(|| format!("{what} server {}", node.name), resize);
    if let Some(servers) = &call.inventory.mock {
        servers.change(node, |node| {
            node.size = size;
            node.state = NodeState::Running;
        });
    }
    resized.map(drop)
}

/// Removes servers from those of a test.
fn forget(call: &Call, hosts: &[Host]) {
    if let Some(servers) = &call.inventory.mock {
        servers.remove(|node| hosts.iter().any(|host| host.0.key() == node.key()));
    }
}

/// Executes `action` on several servers at the same time. A failure does not stop the others; all
/// failures are returned.
fn act_on_all(
    call: &Call,
    hosts: &[Host],
    what: &str,
    action: &impl AsyncFn(&dyn Provider, &Node) -> Result<(), provider::Error>,
) -> Answer<()> {
    let one = async |host: &Host| {
        let result = act(&call.inventory, &host.0, what, action).await;
        result.map_err(Diagnostic::from)
    };
    let results = call.try_wait(async { Ok(join_all(hosts.iter().map(one)).await) })?;
    let failures: Vec<Diagnostic> = results.into_iter().filter_map(Result::err).collect();
    if failures.is_empty() {
        Ok(())
    } else {
        Err(call.fail(Failure(failures)))
    }
}

/// Executes `action` on a server by its provider, shows `what` is being done, and removes the server
/// from the caches.
async fn act(
    inventory: &Inventory,
    node: &Node,
    what: &str,
    action: impl AsyncFnOnce(&dyn Provider, &Node) -> Result<(), provider::Error>,
) -> Result<(), provider::Error> {
    let activity = inventory.context.events.start(node.name.as_str(), what);
    action(inventory.providers.of(node)?.as_ref(), node).await?;
    inventory.forget(node);
    activity.done(format!("{what}: done"));
    Ok(())
}
