//! `ensemble::`: brings up and takes down the servers and containers of a manifest.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use rhai::{Array, Dynamic, ImmutableString, Map};

use super::{
    Api,
    call::{Answer, Call},
    namespace::Namespace,
    secret,
    test::mock_node,
    value::to_options,
};
use crate::{
    core::{
        diagnostic::{Diagnostic, plural},
        event::Event,
        owner::{Owner, Ownership},
        value::{Data, Fields, Invalid, Value},
    },
    ensemble::{self, Invocation, Manifest, Request, Status},
    provider::MockServers,
};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut ensemble = Namespace::new(
        api,
        "ensemble",
        "Servers and containers that a manifest describes. In a test, the manifest is loaded, so that its
         mistakes are found; `up` adds its servers to those of the test, and `down` removes them.",
    );
    ensemble.change(
        "up(manifest: string, options: map)",
        "Brings up the servers and containers of a manifest: shows the plan, asks for confirmation,
         and executes it. `prune` removes what was created for the manifest and is no longer in it;
         `replace` names servers to replace; `adopt` names servers (`web`) and containers
         (`web.shop`) to take over from other owners, or is `all`; `only` names servers and containers
         to change, with what they need, and nothing else. The flags `--batch`, `--serial`,
         `-P`, `--fail-fast` and `--max-fail` hold for the replicas of a `count`. An empty name is
         the only manifest of the project.",
        |call: &Call, manifest: ImmutableString, options: Map| {
            let request = request(call, &options)?;
            if let Some(servers) = &call.inventory.mock {
                return up_in_test(call, servers, &manifest);
            }
            let path = path(call, &manifest)?;
            call.try_wait(ensemble::up(&invocation(call), &path, &request))
        },
    );
    ensemble.function(
        "plan(manifest: string, options: map)",
        "Shows the plan that `up` would execute. The options are those of `up`.",
        |call: &Call, manifest: ImmutableString, options: Map| {
            let request = request(call, &options)?;
            if call.inventory.mock.is_some() {
                return load(call, &manifest).map(drop);
            }
            let path = path(call, &manifest)?;
            let plan = call.try_wait(ensemble::plan(&invocation(call), &path, &request))?;
            let events = &call.context.events;
            plan.show(events, true);
            if !call.is_real() && !plan.is_empty() {
                let what = format!("bring up `{}`: {}", plan.manifest, plan.summary());
                events.emit(Event::WouldDo(what));
            }
            Ok(())
        },
    );
    ensemble.change(
        "down(manifest: string)",
        "Terminates the servers of a manifest, with all data on them, and removes its containers
         from servers that it does not own.",
        |call: &Call, manifest: ImmutableString| {
            let request = request(call, &Map::new())?;
            if let Some(servers) = &call.inventory.mock {
                let manifest = load(call, &manifest)?;
                call.would(|| format!("take down `{}`", manifest.name));
                servers.remove(|node| node.owner.manifest() == Some(&manifest.id));
                return Ok(());
            }
            let path = path(call, &manifest)?;
            call.try_wait(ensemble::down(&invocation(call), &path, &request))
        },
    );
    ensemble.query(
        "status(manifest: string) -> array",
        "Returns the state of everything that a manifest describes, as maps with `resource` (`web`,
         `web (firewall)`, `web.shop`), `state`, `ip`, `image` and `plan`: what `up` would do, in one
         word. What does not answer is unknown, and an error ends the run then.",
        |call: &Call, manifest: ImmutableString| {
            let path = path(call, &manifest)?;
            let (rows, failure) = call.try_wait(ensemble::status(&invocation(call), &path))?;
            for error in failure.into_iter().flat_map(|failure| failure.0) {
                call.context.fail_at_end(error);
            }
            Ok(rows.into_iter().map(describe).collect::<Array>())
        },
    );
    ensemble.query(
        "container(manifest: string, container: string) -> map",
        "Returns what a manifest says of a container (`web.shop`), as options of `docker::run`: with
         it, a task replaces the container as `up` would, and a plan finds it up to date. Contacts
         servers only if its variables need their addresses.",
        |call: &Call, manifest: ImmutableString, container: ImmutableString| {
            let path = path(call, &manifest)?;
            let found = call.try_wait(ensemble::container(&invocation(call), &path, &container))?;
            Ok(to_map(found))
        },
    );
    ensemble
}

/// Describes a resource for scripts.
fn describe(status: Status) -> Dynamic {
    let fields = [
        ("resource", status.resource),
        ("state", status.state),
        ("ip", status.ip),
        ("image", status.image),
        ("plan", status.plan),
    ];
    let fields = fields.into_iter();
    let map: Map = fields
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    map.into()
}

/// The options of a container, as scripts see them.
fn to_map(entries: Vec<(String, Value)>) -> Map {
    let entries = entries.into_iter();
    entries
        .map(|(key, value)| (key.into(), to_dynamic(value.data, true)))
        .collect()
}

/// A value for scripts, with secrets as such. A number keeps its spelling. Of the value of a variable,
/// `whole` takes the list or map, else the text.
fn to_dynamic(data: Data, whole: bool) -> Dynamic {
    match data {
        Data::Null => Dynamic::UNIT,
        Data::Bool(b) => b.into(),
        Data::Number(text) => match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => number.into(),
            _ => text.into(),
        },
        Data::Secret(secret) => Dynamic::from(secret::Secret(secret)),
        Data::List(items) => {
            let items = items.into_iter();
            let items: Array = items.map(|item| to_dynamic(item.data, false)).collect();
            items.into()
        }
        Data::Map(entries) => {
            let entries = entries.into_iter();
            let map: Map = entries
                .map(|entry| (entry.key.into(), to_dynamic(entry.value.data, false)))
                .collect();
            map.into()
        }
        Data::Expanded { data, .. } if whole => to_dynamic(*data, false),
        Data::Expanded { text, .. }
        | Data::Text(text)
        | Data::Argument(text)
        | Data::Unknown(text) => text.into(),
    }
}

/// Loads a manifest in a test: its mistakes are found, and nothing is observed.
fn load(call: &Call, manifest: &str) -> Answer<Manifest> {
    let path = path(call, manifest)?;
    let root = &call.context.project.root;
    let loaded = ensemble::load(&path, root, &call.inventory.providers, &call.context.events);
    loaded.map_err(|failure| call.fail(failure))
}

/// Records in a test that a manifest is brought up, and adds its servers to those of the test.
fn up_in_test(call: &Call, servers: &MockServers, manifest: &str) -> Answer<()> {
    let manifest = load(call, manifest)?;
    let containers = manifest
        .servers
        .iter()
        .map(|server| server.containers.len());
    let (all, containers) = (manifest.servers.len(), containers.sum());
    call.would(|| {
        let name = &manifest.name;
        let (all, containers) = (plural(all, "server"), plural(containers, "container"));
        format!("bring up `{name}`: {all}, {containers}")
    });
    servers.declare();
    let owner = call.check(call.context.project.ensure_owner(&call.context.events))?;
    let known = servers.list().unwrap_or_default();
    let is_known = |name: &str| known.iter().any(|node| node.name == name);
    for server in manifest
        .servers
        .iter()
        .filter(|server| !is_known(&server.name))
    {
        let mut node = mock_node(call, servers, &server.name, &server.provider);
        node.owner = Ownership::Owner(Owner {
            manifest: Some(manifest.id.clone()),
            ..owner.clone()
        });
        servers.add(node);
    }
    Ok(())
}

fn invocation<'a>(call: &'a Call) -> Invocation<'a> {
    Invocation {
        world: call.inventory.as_ref(),
        project: &call.context.project,
        dry_run: !call.is_real(),
        yes: call.context.settings.yes,
    }
}

/// The path of a manifest: relative to the current folder, as a user on the command line means it,
/// or to the project's folder, as a task means it. Without a name, the project's only manifest.
fn path(call: &Call, manifest: &str) -> Answer<PathBuf> {
    if manifest.is_empty() {
        return call.check(ensemble::find_only(&call.context.project));
    }
    let relative = PathBuf::from(manifest);
    Ok(match ensemble::find(&relative) {
        Ok(found) => found,
        Err(_) => match ensemble::find(&call.context.project.root.join(manifest)) {
            Ok(found) => found,
            Err(_) => relative,
        },
    })
}

fn request(call: &Call, options: &Map) -> Answer<Request> {
    let decode = || -> Result<Request, Invalid> {
        let options = to_options(options);
        let mut fields = Fields::new(&options, "ensemble")?;
        let prune = fields.decode("prune", Value::to_bool)?.unwrap_or(false);
        let mut names = |key: &'static str| -> Result<BTreeSet<String>, Invalid> {
            let list = fields.decode(key, Value::to_list)?.unwrap_or_default();
            list.iter().map(|name| name.to_text(key)).collect()
        };
        let (replace, adopt, only) = (names("replace")?, names("adopt")?, names("only")?);
        fields.finish()?;
        Ok(Request {
            prune,
            replace,
            adopt,
            only,
            rollout: call.context.settings.rollout.clone(),
            forks: call.context.settings.named_forks,
            wait_lock: call.context.settings.wait_lock.unwrap_or_default(),
        })
    };
    call.check(decode().map_err(Diagnostic::from))
}
