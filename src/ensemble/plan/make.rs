//! Makes a plan. Pure: no input or output.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{LeftAlone, Plan, Step, VERSION, batches, order};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        owner::Owner,
    },
    ensemble::{
        EngineState, Graph, Manifest, Observed, Request,
        graph::Need,
        manifest::{Container, Facts, Server},
        observe::{FirewallState, ServerState},
        operation::{self, Operation, ServerId},
        resource::{Cause, Decision, Draft, Known, ResourceName, View, container, decide},
    },
    provider::{Node, refuse_protected},
};

/// A plan, and the values of all resources that it does not change.
pub struct Made {
    /// The plan.
    pub plan: Plan,
    /// The values that are known before it is executed.
    pub facts: Facts,
    /// The resources that differ from the manifest and that the user did not ask to change.
    pub left_out: Vec<ResourceName>,
}

/// Makes the plan for a manifest, without the digest of the observed state. `manifest` is the
/// wanted state: an empty one takes everything down. Fails with all reasons why there can be no
/// plan.
pub fn make(
    manifest: &Manifest,
    graph: &Graph,
    observed: &Observed,
    owner: &Owner,
    request: &Request,
) -> Result<Made, Failure> {
    let mut errors = request.check(manifest);
    let mut facts = Facts::of(manifest);
    let mut decisions: HashMap<ResourceName, Decision> =
        HashMap::with_capacity(manifest.resources());
    let only = Only::of(manifest, graph, request);
    let mut left_out = Vec::new();
    for name in graph.resources() {
        let view = View {
            manifest,
            owner,
            observed,
            request,
            facts: &facts,
            decisions: &decisions,
            is_kept: only.as_ref().is_some_and(|only| only.keeps(name)),
        };
        match decide(name, &view) {
            Ok(mut decision) => {
                let is_restricted = only
                    .as_ref()
                    .is_some_and(|only| only.restrict(name, &mut decision));
                if is_restricted || view.is_kept && differs(observed, name) {
                    left_out.push(name.clone());
                }
                match &decision.known {
                    Some(Known::Server(node)) => facts.server(node),
                    Some(Known::Container(server, found)) => facts.container(server, found),
                    None => {}
                }
                decisions.insert(name.clone(), decision);
            }
            Err(_) if only.as_ref().is_some_and(|only| !only.all.contains(name)) => {
                left_out.push(name.clone());
            }
            Err(error) => errors.push(error),
        }
    }
    left_out.sort();
    let extras = Extras::find(manifest, observed, owner, request, &decisions);
    errors.extend(extras.errors);
    if !errors.is_empty() {
        return Err(Failure(errors));
    }
    let unchecked: BTreeSet<String> = decisions
        .values()
        .filter_map(|decision| decision.unchecked.clone())
        .collect();
    let mut steps = wanted(manifest, graph, &mut decisions);
    close_last(&mut steps, manifest, &mut decisions);
    let others = steps.len();
    for (resource, draft) in extras.removed {
        steps.push(step(resource, "not in the manifest", draft));
    }
    order::free_before_take(&mut steps, observed, &decisions);
    batches::order(&mut steps, manifest, request);
    order::remove_last(&mut steps, others);
    let what = |name: &str| {
        let decision = decisions.get(&ResourceName::Server(name.to_owned()));
        decision.map(|decision| (name.to_owned(), decision.what.clone()))
    };
    Ok(Made {
        plan: Plan {
            version: VERSION,
            manifest: manifest.name.clone(),
            owner: owner.clone(),
            observed: String::new(),
            steps,
            left_alone: extras.left_alone,
            unchecked: unchecked.into_iter().collect(),
            cost: Vec::new(),
            servers: manifest
                .servers
                .iter()
                .filter_map(|s| what(&s.name))
                .collect(),
        },
        facts,
        left_out,
    })
}

/// The resources that may be changed, if the user names some.
struct Only {
    named: HashSet<ResourceName>,
    /// These, with what they need.
    all: HashSet<ResourceName>,
}

impl Only {
    fn of(manifest: &Manifest, graph: &Graph, request: &Request) -> Option<Self> {
        if request.only.is_empty() {
            return None;
        }
        let mut named = HashSet::new();
        let of = |server: &Server, container: &Container| {
            ResourceName::Container(server.name.clone(), container.name.clone())
        };
        for name in &request.only {
            let servers = manifest.servers_named(name);
            for server in &servers {
                named.insert(ResourceName::Server(server.name.clone()));
                named.insert(ResourceName::Firewall(server.name.clone()));
                named.extend(server.containers.iter().map(|one| of(server, one)));
            }
            // Names of containers have no dots; addresses of servers have.
            let Some((host, short)) = name.rsplit_once('.').filter(|_| servers.is_empty()) else {
                continue;
            };
            for server in manifest.servers_named(host) {
                let containers = server.containers_named(short).into_iter();
                named.extend(containers.map(|one| of(server, one)));
            }
        }
        let all = graph.closure(named.iter().cloned().collect());
        Some(Only { named, all })
    }

    /// Whether this is a server that the user did not name, but something that it needs is on it: it stays as
    /// it is.
    fn keeps(&self, name: &ResourceName) -> bool {
        name.is_server() && !self.named.contains(name)
    }

    /// Takes away the operations of a resource that the user did not ask for. Returns whether there were
    /// some.
    fn restrict(&self, name: &ResourceName, decision: &mut Decision) -> bool {
        let before = decision.operations.len() + decision.closing.len();
        if !self.all.contains(name) {
            decision.operations.clear();
            decision.closing.clear();
        } else if !self.named.contains(name) {
            // Others may still use the ports that a needed firewall would close.
            if !decision.closing.is_empty() {
                decision.closing.clear();
                for draft in &mut decision.operations {
                    draft.changes.retain(|change| change.new.is_some());
                }
            }
        }
        decision.operations.len() + decision.closing.len() < before
    }
}

/// Whether a server has other options than those of the manifest, as far as they are known.
fn differs(observed: &Observed, name: &ResourceName) -> bool {
    let differences = observed.differences.get(name.server());
    differences.is_some_and(|changes| changes.as_ref().is_ok_and(|changes| !changes.is_empty()))
}

fn step(resource: ResourceName, what: &str, draft: Draft) -> Step {
    Step {
        resource: Some(resource),
        what: what.to_owned(),
        operation: draft.operation,
        cause: draft.cause,
        changes: draft.changes,
        after: Vec::new(),
    }
}

/// The steps for what is in the manifest, in its order, each after what its resource needs.
fn wanted(
    manifest: &Manifest,
    graph: &Graph,
    decisions: &mut HashMap<ResourceName, Decision>,
) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    // The first and the last step of each resource that changes.
    let mut spans: HashMap<ResourceName, (usize, usize)> = HashMap::new();
    let mut add = |name: ResourceName| {
        let Some(decision) = decisions.get_mut(&name) else {
            return;
        };
        let first = steps.len();
        for draft in std::mem::take(&mut decision.operations) {
            let mut step = step(name.clone(), &decision.what, draft);
            step.after
                .extend((steps.len() > first).then(|| steps.len() - 1));
            steps.push(step);
        }
        if steps.len() > first {
            spans.insert(name, (first, steps.len() - 1));
        }
    };
    for server in &manifest.servers {
        add(ResourceName::Server(server.name.clone()));
        add(ResourceName::Firewall(server.name.clone()));
        for container in &server.containers {
            add(ResourceName::Container(
                server.name.clone(),
                container.name.clone(),
            ));
        }
    }
    let mut all_servers: Option<usize> = None;
    for (name, (first, _)) in &spans {
        let mut after: Vec<usize> = Vec::new();
        for need in graph.needs(name) {
            match need {
                Need::Resource(needed) => after.extend(spans.get(needed).map(|(_, last)| last)),
                Need::AllServers => {
                    let barrier = *all_servers.get_or_insert_with(|| {
                        let servers = spans.iter().filter(|(name, _)| name.is_server());
                        let mut after: Vec<usize> = servers.map(|(_, (_, last))| *last).collect();
                        after.sort_unstable();
                        steps.push(Step::barrier(after));
                        steps.len() - 1
                    });
                    after.push(barrier);
                }
            }
        }
        after.sort_unstable();
        after.dedup();
        steps[*first].after.extend(after);
    }
    steps
}

/// Adds the steps that take away what others may need until then: each after everything that no other step
/// waits for.
fn close_last(
    steps: &mut Vec<Step>,
    manifest: &Manifest,
    decisions: &mut HashMap<ResourceName, Decision>,
) {
    let mut closing = Vec::new();
    for server in &manifest.servers {
        let name = ResourceName::Firewall(server.name.clone());
        let Some(decision) = decisions.get_mut(&name) else {
            continue;
        };
        for draft in std::mem::take(&mut decision.closing) {
            closing.push(step(name.clone(), &decision.what, draft));
        }
    }
    if closing.is_empty() {
        return;
    }
    let needed: HashSet<usize> = steps.iter().flat_map(|step| step.after.clone()).collect();
    let last: Vec<usize> = (0..steps.len()).filter(|at| !needed.contains(at)).collect();
    let after = match last.as_slice() {
        [] | [_] => last,
        _ => {
            steps.push(Step::barrier(last));
            vec![steps.len() - 1]
        }
    };
    for mut step in closing {
        step.after.clone_from(&after);
        steps.push(step);
    }
}

/// Existing resources that the manifest does not describe.
#[derive(Default)]
struct Extras {
    /// Resources that are removed.
    removed: Vec<(ResourceName, Draft)>,
    /// Resources that are left unchanged.
    left_alone: Vec<LeftAlone>,
    errors: Vec<Diagnostic>,
}

impl Extras {
    fn find(
        manifest: &Manifest,
        observed: &Observed,
        owner: &Owner,
        request: &Request,
        decisions: &HashMap<ResourceName, Decision>,
    ) -> Self {
        let mut extras = Extras::default();
        for (name, state) in &observed.servers {
            if manifest.server(name).is_none() && state.node.owner.is(owner) {
                extras.server(&state.node, request);
                continue;
            }
            let decided = decisions.get(&ResourceName::Server(name.clone()));
            let is_lost = decided.is_some_and(|decided| {
                let mut kinds = decided
                    .operations
                    .iter()
                    .map(|draft| draft.operation.kind());
                kinds.any(|kind| kind == operation::Kind::TerminateServer)
            });
            // Everything on a server that is replaced goes with it.
            if !is_lost {
                extras.containers(manifest, name, state, owner, request);
            }
        }
        for node in &observed.extra {
            extras.server(node, request);
        }
        extras
            .left_alone
            .sort_by(|a, b| a.resource.cmp(&b.resource));
        extras
    }

    fn server(&mut self, node: &Node, request: &Request) {
        let resource = ResourceName::Server(node.name.clone());
        if !request.prune {
            self.left_alone.push(LeftAlone {
                resource,
                owner: node.owner.clone(),
                prunable: true,
            });
            return;
        }
        if let Err(error) = refuse_protected([node]) {
            self.errors.push(error.into());
        }
        let operation = Operation::TerminateServer {
            server: ServerId::of(node),
        };
        let draft = Draft::new(operation, Cause::NotInManifest);
        self.removed.push((resource, draft));
    }

    fn containers(
        &mut self,
        manifest: &Manifest,
        server: &str,
        state: &ServerState,
        owner: &Owner,
        request: &Request,
    ) {
        if request.prune && manifest.server(server).is_none() {
            self.errors.extend(unseen(server, state));
        }
        // A server that stays although it is not in the manifest any more.
        if manifest.server(server).is_none()
            && let FirewallState::Installed(installed) = &state.firewall
            && installed.owner.is(owner)
        {
            let resource = ResourceName::Firewall(server.to_owned());
            if request.prune {
                let draft = Draft::new(Operation::ClearFirewall, Cause::NotInManifest);
                self.removed.push((resource, draft));
            } else {
                self.left_alone.push(LeftAlone {
                    resource,
                    owner: installed.owner.clone(),
                    prunable: true,
                });
            }
        }
        for found in state.engine.containers() {
            let is_wanted = |name: &str| manifest.container(server, name).is_some();
            if is_wanted(&found.name) || container::step_of(owner, found).is_some_and(is_wanted) {
                continue;
            }
            let resource = ResourceName::Container(server.to_owned(), found.name.clone());
            let ownership = found.ownership();
            let prunable = ownership.is(owner);
            if prunable && request.prune {
                let id = found.id.clone();
                let operation = Operation::RemoveContainer { id };
                let draft = Draft::new(operation, Cause::NotInManifest);
                self.removed.push((resource, draft));
            } else {
                self.left_alone.push(LeftAlone {
                    resource,
                    owner: ownership,
                    prunable,
                });
            }
        }
    }
}

/// Why the containers of a server are not known.
fn unseen(server: &str, state: &ServerState) -> Option<Diagnostic> {
    match &state.engine {
        EngineState::Unknown(error) => Some(error.clone()),
        EngineState::Off => {
            let message = format!(
                "server `{server}` is {}: its containers are unknown",
                state.node.state
            );
            Some(
                Diagnostic::new(Kind::Failed, message)
                    .help(format!("start it with `hitc run -H {server} reboot`")),
            )
        }
        EngineState::Missing | EngineState::Running(_) => None,
    }
}
