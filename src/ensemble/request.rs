//! The options of `ensemble.up`: prune, replace, adopt, and the time to wait for locks.

use std::{collections::BTreeSet, time::Duration};

use super::Manifest;
use crate::core::diagnostic::{Diagnostic, Kind, did_you_mean};

/// The word that adopts everything in the manifest.
pub const ALL: &str = "all";

/// The options of a run.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Removes resources of this owner that are no longer in the manifest.
    pub prune: bool,
    /// The servers to replace, with all data on them lost.
    pub replace: BTreeSet<String>,
    /// The servers (`web`) and containers (`web.shop`) to take over from other owners, or `all`.
    pub adopt: BTreeSet<String>,
    /// How long to wait for servers that another run is changing.
    pub wait_lock: Duration,
}

impl Request {
    /// Whether a server, or a container on it, is to be taken over.
    pub fn adopts(&self, server: &str, container: Option<&str>) -> bool {
        if self.adopt.is_empty() {
            return false;
        }
        let name = match container {
            Some(container) => format!("{server}.{container}"),
            None => server.to_owned(),
        };
        self.adopt.contains(ALL) || self.adopt.contains(&name)
    }

    /// Returns errors for names that are not in the manifest.
    pub fn check(&self, manifest: &Manifest) -> Vec<Diagnostic> {
        let servers = || manifest.servers.iter().map(|server| server.name.clone());
        let containers = manifest.servers.iter().flat_map(|server| {
            let of = |container: &super::Container| format!("{}.{}", server.name, container.name);
            server.containers.iter().map(of)
        });
        let unknown = |option: &str, names: &BTreeSet<String>, known: &[String]| {
            names
                .iter()
                .filter(|name| !known.contains(name))
                .map(|name| {
                    let message = format!("{option}: `{name}` not found in the manifest");
                    let known = known.iter().map(String::as_str);
                    Diagnostic::new(Kind::Usage, message).help(did_you_mean(name, known))
                })
                .collect::<Vec<_>>()
        };
        let mut errors = Vec::new();
        if !self.replace.is_empty() {
            errors.extend(unknown(
                "replace",
                &self.replace,
                &servers().collect::<Vec<_>>(),
            ));
        }
        if !self.adopt.is_empty() {
            let known: Vec<String> = [ALL.to_owned()]
                .into_iter()
                .chain(servers())
                .chain(containers)
                .collect();
            errors.extend(unknown("adopt", &self.adopt, &known));
        }
        errors
    }
}
