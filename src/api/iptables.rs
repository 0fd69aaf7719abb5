//! `iptables::`: the packet filter of servers.

use std::sync::Arc;

use rhai::{Array, Dynamic};

use super::{Api, Host, call::Call, namespace::Namespace, value::text_map};
use crate::iptables::rules;

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut iptables = Namespace::new(api, "iptables", "The packet filter of servers.");
    iptables.function(
        "rules(host: Host) -> array",
        "Returns all rules and policies, as maps with `family`, `table`, `chain`, `matches` and
         `target`.",
        |call: &Call, host: Host| {
            let rules = call.wait(async {
                let connection = call.inventory.connect(&host.0).await?;
                rules(&connection).await
            })?;
            let describe = |rule: crate::iptables::Rule| {
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
    iptables
}
