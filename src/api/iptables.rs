//! `iptables::`: the firewall and the packet filter of servers.

use std::{future::Future, net::IpAddr, sync::Arc};

use rhai::{Array, Dynamic, ImmutableString, Map};

use super::{
    Api, Host,
    call::{Answer, Call},
    docker::project_owner,
    namespace::Namespace,
    value::{text_map, to_options, to_value},
};
use crate::{
    core::{
        change::Change,
        diagnostic::{Diagnostic, Kind},
        value::{Fields, Value},
    },
    inventory::Access,
    iptables::{self, Firewall, Installed, Ports, Source},
    machine::Server,
    provider::Node,
    provision::keep_open,
};

/// What the options of all changes are.
const ADOPT: &str = "adopt";

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut iptables = Namespace::new(
        api,
        "iptables",
        "The firewall of servers. It closes every port that no rule opens, those of containers, too.
         Only packets that come from outside of the server are filtered.",
    );
    add_readers(&mut iptables);
    add_changes(&mut iptables);
    iptables
}

fn add_readers(iptables: &mut Namespace) {
    iptables.query(
        "rules(host: Host) -> array",
        "Returns all rules and policies of the packet filter, also those of other programs, as maps with `family`,
         `table`, `chain`, `matches` and `target`.",
        |call: &Call, host: Host| {
            let rules = call.wait(async {
                let machine = machine(call, &host.0).await?;
                iptables::rules(&machine).await
            })?;
            let describe = |rule: iptables::Rule| {
                Dynamic::from_map(text_map([
                    ("family", rule.family.to_string()),
                    ("table", rule.table),
                    ("chain", rule.chain),
                    ("matches", rule.matches),
                    ("target", rule.target),
                ]))
            };
            Ok(rules.into_iter().map(describe).collect::<Array>())
        },
    );
    iptables.query(
        "show(host: Host) -> map",
        "Returns the firewall of a server: `backend` (`nft` or `iptables`), `rules` (maps with `port`,
         `protocol` and `from`), `ssh` (the ports that stay open for SSH), `dropped` (the number of packets)
         and `owner`. If other programs changed it, `rules` is empty and `changed` says why. Without a
         firewall, `backend` is `none`.",
        |call: &Call, host: Host| {
            let installed = call.wait(async {
                let machine = machine(call, &host.0).await?;
                iptables::observe(&machine).await
            })?;
            Ok(describe(installed.as_ref()))
        },
    );
    iptables.query(
        "listeners(host: Host) -> array",
        "Returns the ports that programs of a server listen to, as maps with `port`, `protocol`, `address`
         (empty for all) and `program`.",
        |call: &Call, host: Host| {
            let listeners = call.wait(async {
                let machine = machine(call, &host.0).await?;
                iptables::listeners(&machine).await
            })?;
            let describe = |found: iptables::Listener| {
                let address = found.address.map(|address| address.to_string());
                let mut map = text_map([
                    ("protocol", found.protocol.to_string()),
                    ("address", address.unwrap_or_default()),
                    ("program", found.program),
                ]);
                map.insert("port".into(), i64::from(found.port).into());
                Dynamic::from_map(map)
            };
            Ok(listeners.into_iter().map(describe).collect::<Array>())
        },
    );
    iptables.query(
        "check(host: Host) -> array",
        "Tries from this machine which ports of TCP answer, and returns maps with `port`, `expected`, `found`
         (`open`, `refused` or `closed`), `ok` and `reason`.",
        |call: &Call, host: Host| {
            let probes = call.wait(async { check(call, &host).await })?;
            let describe = |probe: iptables::Probe| {
                let mut map = text_map([
                    ("expected", probe.expected.word().to_owned()),
                    ("found", probe.found.word().to_owned()),
                    ("reason", probe.reason.clone()),
                ]);
                map.insert("port".into(), i64::from(probe.port).into());
                map.insert("ok".into(), probe.is_right().into());
                Dynamic::from_map(map)
            };
            Ok(probes.into_iter().map(describe).collect::<Array>())
        },
    );
}

/// The machine of a server. A container has no packet filter of its own: an error.
async fn machine(call: &Call<'_>, node: &Node) -> Result<Server, Diagnostic> {
    Ok(Server(call.inventory.connect(node).await?))
}

/// Changes the firewall of a server while no other run changes the server, and no other call and no
/// manifest in this run its firewall.
async fn locked<T>(
    call: &Call<'_>,
    node: &Node,
    change: impl Future<Output = Result<T, Diagnostic>>,
) -> Result<T, Diagnostic> {
    let purpose = "its firewall is being changed";
    let wait = call.inventory.wait_in_task();
    let _turn = call.inventory.turn(node, wait).await?;
    let lock = call.inventory.lock(node, purpose, wait).await?;
    lock.hold_for_call(&node.name, change).await
}

async fn check(call: &Call<'_>, host: &Host) -> Result<Vec<iptables::Probe>, Diagnostic> {
    let machine = machine(call, &host.0).await?;
    let (installed, listeners, connection) = tokio::try_join!(
        iptables::observe(&machine),
        iptables::listeners(&machine),
        iptables::connection(&machine)
    )?;
    let address: IpAddr = host.0.ip_text().parse().map_err(|_| {
        let message = format!("host `{}`: its address is not known", host.0.name);
        Diagnostic::new(Kind::Failed, message)
    })?;
    let from = connection.map(|(from, _)| from);
    Ok(iptables::probe(address, from, installed.as_ref(), &listeners).await)
}

fn add_changes(iptables: &mut Namespace) {
    iptables.change(
        "apply(host: Host, rules: map, options: map) -> array",
        "Closes every port of a server but those that `rules` opens, as a `firewall` in a manifest:
         `#{ \"80\": \"*\", \"5432\": [\"10.0.0.0/8\"] }`. SSH stays open unless a rule names its port. The
         server takes the rules back if it cannot be reached with them. Returns the changed rules, as maps
         with `port`, `old` and `new`. With `adopt: true`, also in the place of another project's firewall.",
        |call: &Call, host: Host, rules: Map, options: Map| {
            let wanted = call.check(Firewall::decode(&to_options(&rules), "firewall"))?;
            change(call, &host, &options, "apply", move |_| Ok(wanted))
        },
    );
    iptables.change(
        "open(host: Host, port: string, from: any, options: map) -> array",
        "Opens a port to a source, or to several: an address, a network, or `*` for everywhere. Returns the
         changed rules. The option is `adopt`.",
        |call: &Call, host: Host, port: ImmutableString, from: Dynamic, options: Map| {
            let (ports, sources) = parse(call, &port, &from)?;
            change(call, &host, &options, "open", move |installed| {
                let mut rules = current(installed)?;
                for ports in ports {
                    for source in &sources {
                        rules.add(ports, *source);
                    }
                }
                Ok(rules)
            })
        },
    );
    iptables.change(
        "close(host: Host, port: string, from: any, options: map) -> array",
        "Closes a port to a source that a rule names, or to several; `()` is every source of its rules.
         Returns the changed rules. The option is `adopt`.",
        |call: &Call, host: Host, port: ImmutableString, from: Dynamic, options: Map| {
            let is_all = from.is_unit();
            let (ports, sources) = parse(call, &port, &from)?;
            change(call, &host, &options, "close", move |installed| {
                close(current(installed)?, &ports, (!is_all).then_some(&sources))
            })
        },
    );
    iptables.change(
        "clear(host: Host, options: map) -> bool",
        "Removes the firewall that hitc loaded, without a trace: all ports are open. Returns whether there
         was one. The option is `adopt`.",
        |call: &Call, host: Host, options: Map| {
            let adopt = adopt(call, "clear", &options)?;
            let name = host.0.name.clone();
            let removed = call.change(
                || format!("remove the firewall of {name}"),
                locked(call, &host.0, async {
                    let machine = machine(call, &host.0).await?;
                    let owner = project_owner(call)?;
                    let removed = iptables::remove(&machine, &owner, adopt).await?;
                    keep_open(&call.inventory, &host.0).await?;
                    Ok(removed)
                }),
            )?;
            Ok(removed.unwrap_or(false))
        },
    );
}

/// The firewall that a server has.
fn current(installed: Option<&Installed>) -> Result<Firewall, Diagnostic> {
    let help = "load one with iptables.apply";
    match installed {
        None => Err(Diagnostic::new(
            Kind::Failed,
            "the server has no firewall of hitc: every port is open",
        )
        .help(help.to_owned())),
        Some(found) => found.rules.clone().map_err(|cause| {
            let message = format!("the firewall is not as hitc loaded it: {cause}");
            Diagnostic::new(Kind::Failed, message).help(help.to_owned())
        }),
    }
}

/// Closes ports to sources, or to all of their sources.
fn close(
    mut rules: Firewall,
    ports: &[Ports],
    sources: Option<&Vec<Source>>,
) -> Result<Firewall, Diagnostic> {
    for ports in ports {
        let all = || rules.sources(*ports).copied().collect();
        for source in sources.cloned().unwrap_or_else(all) {
            if !rules.remove(*ports, &source) {
                let message = format!("no rule opens {ports} to {source}");
                return Err(Diagnostic::new(Kind::Failed, message)
                    .help("`hitc run iptables.show` lists the rules".to_owned()));
            }
        }
    }
    Ok(rules)
}

fn parse(call: &Call, port: &str, from: &Dynamic) -> Answer<(Vec<Ports>, Vec<Source>)> {
    let rule = Value::map([(port, to_value(from))]);
    let rules = call.check(Firewall::decode(&rule, "firewall"))?;
    let ports =
        call.check(Ports::parse(port).map_err(|cause| Diagnostic::new(Kind::Usage, cause)))?;
    let sources = ports
        .first()
        .map(|first| rules.sources(*first).copied().collect());
    Ok((ports, sources.unwrap_or_default()))
}

fn change(
    call: &Call,
    host: &Host,
    options: &Map,
    verb: &str,
    edit: impl FnOnce(Option<&Installed>) -> Result<Firewall, Diagnostic>,
) -> Answer<Array> {
    let adopt = adopt(call, verb, options)?;
    let node = &host.0;
    let changed = call.change(|| format!("change the firewall of {}", node.name), async {
        let context = &call.context;
        let activity = context.events.start(&node.name, "changing the firewall");
        let machine = machine(call, node).await?;
        let owner = crate::core::owner::Owner {
            project: context.project.ensure_id(&context.events)?.to_string(),
            manifest: None,
        };
        let changes = locked(call, node, async {
            let reconnect = || call.inventory.reconnect(node);
            let changes = iptables::change(&machine, &owner, adopt, edit, reconnect).await?;
            keep_open(&call.inventory, node).await?;
            Ok(changes)
        })
        .await?;
        activity.done(match changes.len() {
            0 => "firewall: no change".to_owned(),
            _ => "firewall changed".to_owned(),
        });
        Ok::<_, Diagnostic>(changes)
    })?;
    let describe = |change: Change| {
        let text = |side: Option<String>| side.unwrap_or_default();
        Dynamic::from_map(text_map([
            ("port", change.field),
            ("old", text(change.old)),
            ("new", text(change.new)),
        ]))
    };
    Ok(changed
        .unwrap_or_default()
        .into_iter()
        .map(describe)
        .collect())
}

fn adopt(call: &Call, verb: &str, options: &Map) -> Answer<bool> {
    let options = to_options(options);
    let decode = || {
        let what = format!("iptables.{verb}");
        let mut fields = Fields::new(&options, &what)?;
        let adopt = fields.decode(ADOPT, Value::to_bool)?.unwrap_or(false);
        fields.finish().map(|()| adopt)
    };
    call.check(decode())
}

fn describe(installed: Option<&Installed>) -> Map {
    let Some(installed) = installed else {
        return text_map([("backend", "none".to_owned())]);
    };
    let mut map = text_map([
        ("backend", installed.backend.to_string()),
        ("owner", installed.owner.to_string()),
    ]);
    let rules = match &installed.rules {
        Ok(rules) => rules
            .rules()
            .map(|(ports, source)| {
                let words = ports.to_string();
                let (port, protocol) = words.split_once('/').unwrap_or((&words, ""));
                Dynamic::from_map(text_map([
                    ("port", port.to_owned()),
                    ("protocol", protocol.to_owned()),
                    ("from", source.to_string()),
                ]))
            })
            .collect(),
        Err(cause) => {
            map.insert("changed".into(), cause.clone().into());
            Array::new()
        }
    };
    map.insert("rules".into(), rules.into());
    let open = installed
        .rules
        .as_ref()
        .map(|rules| rules.with_ssh(&installed.ssh));
    let is_open = |port: &&u16| {
        let ports = Ports::tcp(**port);
        open.as_ref().is_ok_and(|open| {
            open.sources(ports)
                .any(|source| *source == Source::Everywhere)
        })
    };
    let ssh: Array = installed
        .ssh
        .iter()
        .filter(is_open)
        .map(|port| i64::from(*port).into())
        .collect();
    map.insert("ssh".into(), ssh.into());
    let dropped = i64::try_from(installed.dropped).unwrap_or(i64::MAX);
    map.insert("dropped".into(), dropped.into());
    map
}
