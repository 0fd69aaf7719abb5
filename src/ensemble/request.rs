//! The options of `ensemble.up`: prune, replace, adopt, batches, and the time to wait for locks.

use std::{collections::BTreeSet, time::Duration};

use super::Manifest;
use crate::{
    core::diagnostic::{Diagnostic, Kind, did_you_mean},
    fleet::{Portion, Rollout},
};

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
    /// The servers (`web`) and containers (`web.shop`) to change, with what they need; all if empty.
    pub only: BTreeSet<String>,
    /// The batches in which the replicas of a `count` are changed, and the failures after which no
    /// further one begins.
    pub rollout: Rollout,
    /// How many replicas of a `count` are changed at the same time, at most. None for no limit.
    pub forks: Option<usize>,
    /// How long to wait for servers that another run is changing.
    pub wait_lock: Duration,
}

impl Request {
    /// Whether replicas are changed in batches.
    pub fn has_batches(&self) -> bool {
        self.forks.is_some() || !self.rollout.batches.is_empty()
    }

    /// The sizes of the batches of `some` of `all` replicas.
    pub fn batches(&self, some: usize, all: usize) -> Vec<usize> {
        let most = self.forks.unwrap_or(usize::MAX).max(1);
        let split = |size: usize| {
            let whole = std::iter::repeat_n(most, size / most);
            whole.chain(Some(size % most).filter(|rest| *rest > 0))
        };
        let sizes = self.rollout.sizes_of(some, all).into_iter();
        sizes.flat_map(split).collect()
    }

    /// The flags of the command line that ask for the batches, in the order of the help.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        match self.forks {
            Some(1) => flags.push("--serial".to_owned()),
            Some(forks) => flags.push(format!("-P {forks}")),
            None => {}
        }
        if !self.rollout.batches.is_empty() {
            let sizes: Vec<String> = self
                .rollout
                .batches
                .iter()
                .map(Portion::to_string)
                .collect();
            flags.push(format!("--batch {}", sizes.join(",")));
        }
        if self.rollout.fail_fast {
            flags.push("--fail-fast".to_owned());
        }
        if let Some(most) = self.rollout.max_fail {
            flags.push(format!("--max-fail {most}"));
        }
        flags
    }

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
        if !self.only.is_empty() {
            let known: Vec<String> = servers().chain(containers.clone()).collect();
            errors.extend(unknown("only", &self.only, &known));
            // Both remove what `only` does not name.
            for (other, is_set) in [("prune", self.prune), ("replace", !self.replace.is_empty())] {
                if is_set {
                    let message = format!("`only` and `{other}` cannot be used together");
                    errors.push(Diagnostic::new(Kind::Usage, message));
                }
            }
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
