//! Orders the changes of replicas: in batches (`--batch`, `--serial`, `-P`), each after the one before.
//!
//! Replicas are the copies that a `count` makes: of a container, on one server or on the copies of a
//! server, and of a server that is replaced or resized. A batch waits for the replicas of the one before,
//! and for what depends on these: with a database and a website on each server, one server after the
//! other has both replaced.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::Step;
use crate::ensemble::{
    Manifest, Request,
    manifest::{Server, Tree},
    operation::{Kind, Operation},
    resource::ResourceName,
};

/// The copies that a `count` makes.
#[derive(Default)]
struct Replicas {
    /// Their number in the manifest.
    count: usize,
    /// Those that the plan changes, in the order in which they are changed.
    changed: Vec<ResourceName>,
    /// How many of these may serve now.
    serving: usize,
}

/// The steps of a plan by resource.
fn by_resource(steps: &[Step]) -> HashMap<&ResourceName, Vec<usize>> {
    let mut found: HashMap<&ResourceName, Vec<usize>> = HashMap::new();
    for (at, step) in steps.iter().enumerate() {
        if let Some(resource) = &step.resource {
            found.entry(resource).or_default().push(at);
        }
    }
    found
}

impl Replicas {
    /// The replicas of all counts of a manifest that the steps change. The first are those that do not
    /// serve now: a new version that fails with them takes nothing away. All counts follow one order of
    /// the servers, so that one server after the other is done.
    fn of(manifest: &Manifest, steps: &[Step]) -> Vec<Self> {
        let by_resource = by_resource(steps);
        let has = |name: &ResourceName, kinds: &[Kind]| {
            let mut own = by_resource.get(name).into_iter().flatten();
            own.any(|at| kinds.contains(&steps[*at].operation.kind()))
        };
        let mut all: Vec<Replicas> = Vec::new();
        let mut index: HashMap<*const Tree, usize> = HashMap::new();
        let mut group = |tree: &Arc<Tree>| {
            *index.entry(Arc::as_ptr(tree)).or_insert_with(|| {
                all.push(Replicas::default());
                all.len() - 1
            })
        };
        let mut found: Vec<(usize, ResourceName, bool)> = Vec::new();
        let is_off = |server: &&Server| {
            let name = ResourceName::Server(server.name.clone());
            let takes_down = has(&name, &[Kind::TerminateServer]);
            !takes_down && has(&name, &[Kind::CreateServer, Kind::StartServer])
        };
        let (off, on): (Vec<&Server>, Vec<&Server>) = manifest.servers.iter().partition(is_off);
        for server in off.into_iter().chain(on) {
            let name = ResourceName::Server(server.name.clone());
            // What does not stop a server needs no batches.
            let serves = has(&name, &[Kind::TerminateServer, Kind::ResizeServer]);
            found.push((group(&server.options), name, serves));
            let own = server.containers.iter().map(|container| {
                let name = ResourceName::Container(server.name.clone(), container.name.clone());
                let is_new = has(&name, &[Kind::CreateContainer, Kind::StartContainer]);
                (group(&container.body), name, !is_new)
            });
            let (serving, new): (Vec<_>, Vec<_>) = own.partition(|(_, _, serves)| *serves);
            found.extend(new.into_iter().chain(serving));
        }
        for (at, name, serves) in found {
            let replicas = &mut all[at];
            replicas.count += 1;
            if by_resource.contains_key(&name) && (serves || !name.is_server()) {
                replicas.changed.push(name);
                replicas.serving += usize::from(serves);
            }
        }
        all
    }
}

/// The first name and the number of replicas that are all replaced at the same time.
pub fn replaced_without_batches(manifest: &Manifest, steps: &[Step]) -> Vec<(ResourceName, usize)> {
    let replaced: HashSet<&ResourceName> = steps
        .iter()
        .filter(|step| step.operation.kind() == Kind::ReplaceContainer)
        .filter_map(|step| step.resource.as_ref())
        .collect();
    let all = Replicas::of(manifest, steps).into_iter();
    let all = all.filter(|replicas| {
        let mut changed = replicas.changed.iter();
        replicas.count > 1
            && replicas.changed.len() == replicas.count
            && changed.all(|name| replaced.contains(name))
    });
    all.filter_map(|replicas| Some((replicas.changed.first()?.clone(), replicas.count)))
        .collect()
}

/// Makes each batch of replicas wait for the one before, if the user asks for batches. Where none of the
/// replicas serves now, all are created at once.
pub fn order(steps: &mut Vec<Step>, manifest: &Manifest, request: &Request) {
    if !request.has_batches() || steps.is_empty() {
        return;
    }
    let groups = Replicas::of(manifest, steps);
    let own: HashMap<ResourceName, Vec<usize>> = by_resource(steps)
        .into_iter()
        .map(|(name, own)| (name.clone(), own))
        .collect();
    let mut dependents = Dependents::of(steps);
    for replicas in groups {
        let sizes = request.batches(replicas.changed.len(), replicas.count);
        if replicas.serving == 0 || sizes.len() < 2 {
            continue;
        }
        let may_fail = request.rollout.tolerated(replicas.count);
        chain(steps, &mut dependents, &own, &replicas, &sizes, may_fail);
    }
}

/// Chains the batches of one count, from the last one to the first.
fn chain(
    steps: &mut Vec<Step>,
    dependents: &mut Dependents,
    own: &HashMap<ResourceName, Vec<usize>>,
    replicas: &Replicas,
    sizes: &[usize],
    may_fail: usize,
) {
    let mut end = replicas.changed.len();
    // The steps of the batches that are chained, and everything that waits for them.
    let mut later = HashSet::new();
    // The steps of the batch that waits for the one before, and the step that ends it.
    let mut next: Option<(Vec<usize>, Option<usize>)> = None;
    for (index, size) in sizes.iter().enumerate().rev() {
        let names = &replicas.changed[end - size..end];
        end -= size;
        let batch: Vec<usize> = names
            .iter()
            .filter_map(|name| own.get(name))
            .flatten()
            .copied()
            .collect();
        // What waits for a later batch cannot be waited for.
        let mut after = dependents.beyond(&batch, &later);
        later.extend(&after);
        let mut ends_with = None;
        if let Some((waiting, its_end)) = next {
            after.retain(|at| steps[*at].resource.is_some());
            after.sort_unstable();
            let operation = Operation::Batch {
                number: index + 1,
                of: sizes.len(),
                replicas: names.to_vec(),
                may_fail,
            };
            let at = steps.len();
            dependents.add(at, &after);
            steps.push(Step::order(operation, after));
            for waiting in waiting.into_iter().chain(its_end) {
                steps[waiting].after.push(at);
                dependents.add(waiting, &[at]);
            }
            later.insert(at);
            ends_with = Some(at);
        }
        next = Some((batch, ends_with));
    }
}

/// For each step, those that wait for it.
struct Dependents(Vec<Vec<usize>>);

impl Dependents {
    fn of(steps: &[Step]) -> Self {
        let mut dependents = Dependents(vec![Vec::new(); steps.len()]);
        for (at, step) in steps.iter().enumerate() {
            dependents.add(at, &step.after);
        }
        dependents
    }

    /// Adds that the step `at` waits for others.
    fn add(&mut self, at: usize, after: &[usize]) {
        if self.0.len() <= at {
            self.0.resize_with(at + 1, Vec::new);
        }
        for before in after {
            self.0[*before].push(at);
        }
    }

    /// The steps and everything that waits for them, without what is known.
    fn beyond(&self, from: &[usize], known: &HashSet<usize>) -> Vec<usize> {
        let mut found = HashSet::new();
        let mut stack = from.to_vec();
        while let Some(at) = stack.pop() {
            if !known.contains(&at) && found.insert(at) {
                stack.extend(&self.0[at]);
            }
        }
        found.into_iter().collect()
    }
}
