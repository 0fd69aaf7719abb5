//! A plan as a tree of lines, with one line that sums it up.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Plan, Step};
use crate::{
    core::{
        diagnostic::plural,
        event::{Mark, PlanLine},
    },
    ensemble::{
        operation::{Kind, Operation},
        resource::{Cause, ResourceName},
    },
};

/// What the operations do with a resource, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Create,
    Finish,
    Start,
    Adopt,
    Change,
    Replace,
    Remove,
    MayChange,
}

impl Action {
    /// All actions, in the order in which they are counted.
    const ALL: [Action; 8] = [
        Action::Create,
        Action::Finish,
        Action::Start,
        Action::Adopt,
        Action::Change,
        Action::Replace,
        Action::Remove,
        Action::MayChange,
    ];

    /// The action of the operations on one resource.
    fn of(steps: &[&Step]) -> Option<Self> {
        let has = |kind: Kind| steps.iter().any(|step| step.operation.kind() == kind);
        let creates = steps.iter().find_map(|step| match &step.operation {
            Operation::CreateServer { unfinished, .. } => Some(unfinished.is_some()),
            _ => None,
        });
        Some(match creates {
            Some(_) if has(Kind::TerminateServer) => Action::Replace,
            Some(true) => Action::Finish,
            Some(false) => Action::Create,
            None if has(Kind::CreateContainer) => Action::Create,
            None if has(Kind::FinishContainer) => Action::Finish,
            None if has(Kind::ApplyFirewall) && has(Kind::Deferred) => Action::MayChange,
            None if has(Kind::ApplyFirewall) => {
                let is_new = steps.iter().any(|step| step.cause == Cause::Missing);
                if is_new {
                    Action::Create
                } else {
                    Action::Change
                }
            }
            None if has(Kind::ClearFirewall) => {
                let is_certain = steps.iter().all(|step| step.cause != Cause::Unknown);
                if is_certain {
                    Action::Remove
                } else {
                    Action::MayChange
                }
            }
            None if has(Kind::ReplaceContainer) => Action::Replace,
            None if has(Kind::RemoveContainer) || has(Kind::TerminateServer) => Action::Remove,
            None if has(Kind::ResizeServer)
                || has(Kind::KeepCloudFirewall)
                || has(Kind::SetUpDocker)
                || has(Kind::UpdateContainer) =>
            {
                Action::Change
            }
            None if has(Kind::StartServer) || has(Kind::StartContainer) => Action::Start,
            None if has(Kind::Deferred) => Action::MayChange,
            None if has(Kind::AdoptServer) => Action::Adopt,
            None => return None,
        })
    }

    fn mark(self) -> Mark {
        match self {
            Action::Create | Action::Finish => Mark::Add,
            Action::Start | Action::Adopt | Action::Change | Action::MayChange => Mark::Change,
            Action::Replace => Mark::Replace,
            Action::Remove => Mark::Remove,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Finish => "finish",
            Action::Start => "start",
            Action::Adopt => "adopt",
            Action::Change => "change",
            Action::Replace => "replace",
            Action::Remove => "remove",
            Action::MayChange => "may change",
        }
    }

    /// The action after a number: `2 servers to create`.
    fn counted(self) -> String {
        match self {
            Action::MayChange => "may change".to_owned(),
            other => format!("to {}", other.word()),
        }
    }
}

impl Plan {
    /// What is done with each resource, in one word.
    pub fn actions(&self) -> HashMap<&ResourceName, &'static str> {
        let steps = self.by_resource().into_iter();
        let action = |(name, steps): (_, Vec<&Step>)| Some((name, Action::of(&steps)?.word()));
        steps.filter_map(action).collect()
    }

    /// The operations by resource.
    fn by_resource(&self) -> HashMap<&ResourceName, Vec<&Step>> {
        let mut steps: HashMap<&ResourceName, Vec<&Step>> = HashMap::new();
        for step in &self.steps {
            if let Some(resource) = &step.resource {
                steps.entry(resource).or_default().push(step);
            }
        }
        steps
    }

    /// The summary line: `2 servers to create, 1 container to replace`.
    pub fn summary(&self) -> String {
        let mut counts: HashMap<(&'static str, &'static str), usize> = HashMap::new();
        for (resource, steps) in self.by_resource() {
            if let Some(action) = Action::of(&steps) {
                *counts.entry((action.word(), noun(resource))).or_default() += 1;
            }
        }
        let mut parts = Vec::new();
        for action in Action::ALL {
            for noun in ["server", "firewall", "container"] {
                if let Some(count) = counts.get(&(action.word(), noun)) {
                    parts.push(format!("{} {}", plural(*count, noun), action.counted()));
                }
            }
        }
        if parts.is_empty() {
            return "no changes".to_owned();
        }
        parts.extend(self.cost.iter().cloned());
        parts.join(", ")
    }

    /// The tree: each server with its containers and what happens to them, what is left alone, and
    /// the summary.
    pub fn lines(&self) -> Vec<PlanLine> {
        let by_resource = self.by_resource();
        let batches = self.batches();
        let mut lines = Vec::new();
        let mut rest: Vec<&ResourceName> = Vec::new();
        let mut on_server: HashMap<&str, Vec<&ResourceName>> = HashMap::new();
        let known: HashSet<&str> = self.servers.iter().map(|(name, _)| name.as_str()).collect();
        for step in &self.steps {
            let Some(resource) = &step.resource else {
                continue;
            };
            let is_extra = step.cause == Cause::NotInManifest
                && !matches!(resource, ResourceName::Firewall(_));
            let list = if known.contains(resource.server()) && !is_extra {
                on_server.entry(resource.server()).or_default()
            } else {
                &mut rest
            };
            if list.last() != Some(&resource) && !list.contains(&resource) {
                list.push(resource);
            }
        }
        for (server, what) in &self.servers {
            let Some(resources) = on_server.get(server.as_str()) else {
                continue;
            };
            if !resources.iter().any(|resource| resource.is_server()) {
                lines.push(line(Mark::None, 0, format!("  {server}  stays ({what})")));
            }
            for resource in resources {
                let batch = batches.get(resource).map(String::as_str);
                self.resource(resource, &by_resource[resource], batch, &mut lines);
            }
        }
        for resource in rest {
            // A plan that takes everything down is made of an empty manifest.
            let text = if self.servers.is_empty() {
                format!("{resource}  removed")
            } else {
                format!("{resource}  not in the manifest: removed")
            };
            lines.push(line(Mark::Remove, 0, text));
        }
        if !self.left_alone.is_empty() {
            lines.push(line(
                Mark::None,
                0,
                "not in the manifest, and left alone:".to_owned(),
            ));
            for extra in &self.left_alone {
                let whose = if extra.prunable {
                    ", of this manifest: prune=true removes it".to_owned()
                } else {
                    format!(", {}", extra.owner)
                };
                lines.push(line(Mark::None, 1, format!("{}{whose}", extra.resource)));
            }
        }
        if !self.unchecked.is_empty() {
            let text = "unknown, and left as it is:".to_owned();
            lines.push(line(Mark::None, 0, text));
            let unchecked = self.unchecked.iter().cloned();
            lines.extend(unchecked.map(|text| line(Mark::None, 1, text)));
        }
        lines.push(line(Mark::None, 0, self.summary()));
        lines
    }

    /// The batch of each replica, as a line: `batch 2 of 3, after web.shop`.
    fn batches(&self) -> HashMap<&ResourceName, String> {
        let mut batches = HashMap::new();
        for step in &self.steps {
            if let Operation::Batch {
                number,
                of,
                replicas,
                ..
            } = &step.operation
            {
                for name in replicas {
                    let own = || format!("batch {number} of {of}");
                    batches.entry(name).or_insert_with(own);
                }
            }
        }
        // The last batch has no step that ends it.
        for step in &self.steps {
            let Some(resource) = &step.resource else {
                continue;
            };
            for at in &step.after {
                let Operation::Batch {
                    number,
                    of,
                    replicas,
                    ..
                } = &self.steps[*at].operation
                else {
                    continue;
                };
                // Not those that wait for this batch by other ways.
                let before = &self.steps[*at].after;
                let before = before
                    .iter()
                    .filter_map(|at| self.steps[*at].resource.as_ref());
                let before: HashSet<&ResourceName> = before.collect();
                let mut names = replicas.iter().filter(|name| before.contains(name));
                let shown: Vec<String> = names.by_ref().take(3).map(ToString::to_string).collect();
                let mut text = format!("batch {} of {of}", number + 1);
                if !shown.is_empty() {
                    text.push_str(&format!(", after {}", shown.join(", ")));
                }
                match names.count() {
                    0 => {}
                    more => text.push_str(&format!(" and {more} more")),
                }
                batches.insert(resource, text);
            }
        }
        batches
    }

    fn resource(
        &self,
        name: &ResourceName,
        steps: &[&Step],
        batch: Option<&str>,
        lines: &mut Vec<PlanLine>,
    ) {
        let Some(action) = Action::of(steps) else {
            return;
        };
        let (depth, short) = match name {
            ResourceName::Server(server) => (0, server.as_str()),
            ResourceName::Firewall(_) => (1, "firewall"),
            ResourceName::Container(_, container) => (1, container.as_str()),
        };
        let what = &steps[0].what;
        let text = format!("{short}  {} ({what})", action.word());
        lines.push(line(action.mark(), depth, text));
        let detail = |text: String| line(Mark::None, depth + 2, text);
        lines.extend(batch.map(|text| detail(text.to_owned())));
        // What opens ports first closes others in a step of its own, after everything that may use them.
        let is_closing = |at: usize| at > 0 && steps[at].operation.kind() == Kind::ApplyFirewall;
        // A container that is in the way is stopped for another one, whose needs are not its own.
        let is_stop = |at: usize| steps[at].operation.kind() == Kind::StopContainer;
        let (closing, others): (Vec<usize>, Vec<usize>) = (0..steps.len())
            .filter(|at| !is_stop(*at))
            .partition(|at| is_closing(*at));
        for (words, own) in [("after", others), ("closes ports only after", closing)] {
            let after: BTreeSet<String> = own
                .iter()
                .flat_map(|at| self.waits_for(name, steps[*at]))
                .collect();
            if !after.is_empty() {
                let after: Vec<String> = after.into_iter().collect();
                lines.push(detail(format!("{words} {}", after.join(", "))));
            }
        }
        for step in steps {
            if let Cause::InTheWay(what) = &step.cause {
                lines.push(detail(format!(
                    "stopped first: another container takes its {what}"
                )));
            }
            for change in &step.changes {
                let text = |side: &Option<String>| match side {
                    Some(text) => text.clone(),
                    None => "nothing".to_owned(),
                };
                let (old, new) = (text(&change.old), text(&change.new));
                lines.push(detail(format!("{}: {old} → {new}", change.field)));
            }
            if let Operation::Deferred { on, .. } = &step.operation {
                lines.push(detail(format!("known later: {}", on.join(", "))));
            }
        }
    }

    /// What a step of a resource waits for, without what the resource is on, which goes without saying.
    fn waits_for(&self, name: &ResourceName, step: &Step) -> Vec<String> {
        let mut found = Vec::new();
        let mut left = step.after.clone();
        while let Some(at) = left.pop() {
            let before = &self.steps[at];
            let Some(other) = &before.resource else {
                // A barrier stands for those before it. Batches have a line of their own.
                if before.operation.kind() == Kind::Barrier {
                    left.extend(&before.after);
                }
                continue;
            };
            let is_container = matches!(other, ResourceName::Container(..));
            if other == name || !is_container && other.server() == name.server() {
                continue;
            }
            found.push(match before.operation.kind() {
                Kind::StopContainer => format!("{other} is stopped"),
                _ => other.to_string(),
            });
        }
        found
    }
}

/// The kind of a resource, for people.
fn noun(resource: &ResourceName) -> &'static str {
    match resource {
        ResourceName::Server(_) => "server",
        ResourceName::Firewall(_) => "firewall",
        ResourceName::Container(..) => "container",
    }
}

fn line(mark: Mark, depth: usize, text: String) -> PlanLine {
    PlanLine { mark, depth, text }
}
