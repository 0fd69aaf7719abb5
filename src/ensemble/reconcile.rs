//! The difference between a manifest and what is there. Pure: it is given what was seen, and can
//! touch nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, EngineState, Graph, Manifest, Observed, Plan, Server, ServerState, Step, Thing,
    manifest::{Container, Facts, Variable},
    plan::Extra,
};
use crate::{
    core::{
        change::Change,
        diagnostic::{Diagnostic, Failure, Kind, did_you_mean},
        value::{Invalid, Value},
    },
    docker::{self, Inputs, Spec, State, labels},
    provider::{Node, NodeState, ServerChange},
};

/// What differs between a server and its options; its provider knows.
pub type Differences<'a> = &'a (dyn Fn(&Node, &Value) -> Result<Vec<ServerChange>, Invalid> + Sync);

/// What the user wants beside what the manifest says.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Remove what is ours and not in the manifest.
    pub prune: bool,
    /// Servers that are made anew, with all that is on them lost.
    pub replace: BTreeSet<String>,
}

/// Terminations of the names of containers that an interrupted replacement leaves behind.
const LEFTOVERS: [&str; 2] = [".new", ".old"];

/// Works out what has to happen. Fails if something cannot be known or may not be done; all
/// reasons are given.
pub fn reconcile(
    manifest: &Manifest,
    graph: &Graph,
    observed: &Observed,
    request: &Request,
    differences: Differences<'_>,
) -> Result<Plan, Failure> {
    let mut planner = Planner {
        manifest,
        observed,
        request,
        differences,
        facts: Facts::of(manifest),
        steps: BTreeMap::new(),
        errors: request.check(manifest),
    };
    for thing in graph.things() {
        let (action, what) = match thing {
            Thing::Server(name) => planner.server(name),
            Thing::Container(server, name) => planner.container(server, name),
        };
        planner.steps.insert(thing.clone(), (action, what));
    }
    if !planner.errors.is_empty() {
        return Err(Failure(planner.errors));
    }
    Ok(Plan {
        manifest: manifest.name.clone(),
        steps: planner.ordered(graph),
        extra: planner.extra(),
        prune: request.prune,
    })
}

impl Request {
    fn check(&self, manifest: &Manifest) -> Vec<Diagnostic> {
        let unknown = self
            .replace
            .iter()
            .filter(|name| manifest.server(name).is_none());
        unknown
            .map(|name| {
                let message = format!("replace: server `{name}` not found in the manifest");
                let known = manifest.servers.iter().map(|server| server.name.as_str());
                Diagnostic::new(Kind::Usage, message).help(did_you_mean(name, known))
            })
            .collect()
    }
}

struct Planner<'a> {
    manifest: &'a Manifest,
    observed: &'a Observed,
    request: &'a Request,
    differences: Differences<'a>,
    facts: Facts,
    steps: BTreeMap<Thing, (Action, String)>,
    errors: Vec<Diagnostic>,
}

impl Planner<'_> {
    fn server(&mut self, name: &str) -> (Action, String) {
        let Some(server) = self.manifest.server(name) else {
            return (Action::None, String::new());
        };
        let what = format!("server, {}", server.provider);
        let state = self.observed.servers.get(name);
        let options = server.options.resolve(&|v| self.facts.value(name, v));
        let action = match (options, state) {
            (Err(variables), Some(_)) => unknown(&variables),
            (Err(_), None) => Action::Create,
            (Ok(options), state) => {
                let decided = decide_server(
                    &self.manifest.id,
                    server,
                    &options,
                    state,
                    self.request,
                    self.differences,
                );
                match decided {
                    Ok(action) => action,
                    Err(error) => {
                        let source = &self.manifest.source;
                        self.errors.push(match &server.span {
                            Some(span) if error.kind == Kind::Usage => {
                                error.at(source, span.clone())
                            }
                            _ => error,
                        });
                        Action::None
                    }
                }
            }
        };
        // What stays is known now; what is made, or started, may get another address.
        if let (Action::None | Action::Update(_), Some(state)) = (&action, state) {
            self.facts.server(&state.node);
        }
        (action, what)
    }

    fn container(&mut self, server: &str, name: &str) -> (Action, String) {
        let Some(container) = self.manifest.container(server, name) else {
            return (Action::None, String::new());
        };
        let resolved = container.body.resolve(&|v| self.facts.value(server, v));
        let spec = match resolved {
            Ok(body) => match decode(self.manifest, container, &body) {
                Ok(spec) => Ok(spec),
                Err(error) => {
                    self.errors.push(error);
                    return (Action::None, String::new());
                }
            },
            Err(variables) => Err(variables),
        };
        let what = match &spec {
            Ok(spec) => format!("container, {}", spec.image.name()),
            Err(_) => "container".to_owned(),
        };
        let on_server = self.steps.get(&Thing::Server(server.to_owned()));
        let action = match on_server.map(|(action, _)| action) {
            Some(Action::Create | Action::Finish | Action::Replace(_)) => Action::Create,
            Some(Action::Start) => Action::Unknown(vec!["its server is started first".to_owned()]),
            _ => {
                let off = EngineState::Missing;
                let state = self.observed.servers.get(server);
                let engine = state.map_or(&off, |state| &state.engine);
                match (&spec, engine.container(name)) {
                    (Ok(spec), _) => decide_container(&self.manifest.id, spec, engine),
                    (Err(variables), Some(_)) => unknown(variables),
                    (Err(_), None) => Action::Create,
                }
            }
        };
        let state = self.observed.servers.get(server);
        let found = state.and_then(|state| state.engine.container(name));
        if let (Action::None | Action::Update(_), Some(found)) = (&action, found) {
            self.facts.container(server, found);
        }
        (action, what)
    }

    /// The steps as the manifest orders its things.
    fn ordered(&mut self, graph: &Graph) -> Vec<Step> {
        let mut things = Vec::new();
        for server in &self.manifest.servers {
            things.push(Thing::Server(server.name.clone()));
            things.extend(
                server
                    .containers
                    .iter()
                    .map(|container| Thing::Container(server.name.clone(), container.name.clone())),
            );
        }
        let step = |thing: Thing| {
            let (action, what) = self.steps.get(&thing)?.clone();
            let own = Thing::Server(thing.server().to_owned());
            let changes = |needed: &&Thing| {
                let step = self.steps.get(needed);
                **needed != own && step.is_some_and(|(action, _)| *action != Action::None)
            };
            let mut waits_for: Vec<Thing> = graph.needs(&thing).filter(changes).cloned().collect();
            waits_for.sort();
            Some(Step {
                thing,
                what,
                action,
                waits_for,
            })
        };
        things.into_iter().filter_map(step).collect()
    }

    /// What is there and not in the manifest.
    fn extra(&self) -> Vec<Extra> {
        let mut extra = Vec::new();
        for (server, state) in &self.observed.servers {
            let step = self.steps.get(&Thing::Server(server.clone()));
            if let Some((Action::Replace(_), _)) = step {
                // All of it goes with the server.
                continue;
            }
            for container in state.engine.containers() {
                let name = LEFTOVERS
                    .iter()
                    .find_map(|ending| container.name.strip_suffix(ending))
                    .unwrap_or(&container.name);
                if self.manifest.container(server, name).is_none() {
                    let owner = container.labels.get(labels::MANIFEST);
                    extra.push(Extra {
                        thing: Thing::Container(server.clone(), container.name.clone()),
                        ours: owner == Some(&self.manifest.id),
                    });
                }
            }
        }
        extra.extend(self.observed.extra.iter().map(|node| Extra {
            thing: Thing::Server(node.name.clone()),
            ours: true,
        }));
        extra.sort_by(|a, b| a.thing.cmp(&b.thing));
        extra
    }
}

/// The spec of a container whose variables are known. An error points into the manifest.
pub(super) fn decode(
    manifest: &Manifest,
    container: &Container,
    body: &Value,
) -> Result<Spec, Diagnostic> {
    let what = format!("container `{}`", container.name);
    let inputs = Inputs::load(&manifest.folder, [body]);
    let mut spec = Spec::decode(&container.name, body, &inputs, &what).map_err(|error| {
        let span = error.span.clone().or(container.span.clone());
        match span {
            Some(span) => Diagnostic::from(error).at(&manifest.source, span),
            None => error.into(),
        }
    })?;
    let confidential = container.body.fields_with(Variable::is_confidential);
    spec.masked.extend(confidential);
    Ok(spec)
}

/// What has to happen to a server whose options are known. `manifest` is the manifest's id.
pub(super) fn decide_server(
    manifest: &str,
    server: &Server,
    options: &Value,
    state: Option<&ServerState>,
    request: &Request,
    differences: Differences<'_>,
) -> Result<Action, Diagnostic> {
    let Some(ServerState { node, engine }) = state else {
        return Ok(Action::Create);
    };
    if let Some(owner) = node.owner.manifest().filter(|owner| *owner != manifest) {
        let message = format!(
            "server `{}` was made for another manifest: `{owner}`",
            server.name
        );
        return Err(Diagnostic::new(Kind::Usage, message)
            .help("give one of the two another name".to_owned()));
    }
    let changes = differences(node, options)?;
    if request.replace.contains(&server.name) {
        let changes = changes.into_iter().map(|change| change.change);
        return Ok(Action::Replace(changes.collect()));
    }
    match node.state {
        NodeState::Creating | NodeState::Unfinished | NodeState::Failed => {
            return Ok(Action::Finish);
        }
        NodeState::Stopped => return Ok(Action::Start),
        NodeState::Running => {}
    }
    if let EngineState::Unreachable(error) = engine {
        return Err(error.clone());
    }
    if let Some(fixed) = changes.iter().find(|change| !change.in_place) {
        let Change { field, old, new } = &fixed.change;
        let text = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        let message = format!(
            "server `{}`: `{field}` cannot be changed from {} to {}",
            server.name,
            text(old),
            text(new)
        );
        let help = format!(
            "leave it as it is, or make the server anew with replace={}: everything on it is lost",
            server.name
        );
        return Err(Diagnostic::new(Kind::Usage, message).help(help));
    }
    let mut changes: Vec<Change> = changes.into_iter().map(|change| change.change).collect();
    if matches!(engine, EngineState::Missing) && !server.containers.is_empty() {
        changes.push(Change {
            field: "docker".to_owned(),
            old: None,
            new: Some("set up".to_owned()),
        });
    }
    Ok(if changes.is_empty() {
        Action::None
    } else {
        Action::Update(changes)
    })
}

/// What has to happen to a container whose spec is known, on a server with this engine. `manifest`
/// is the manifest's id.
pub(super) fn decide_container(manifest: &str, spec: &Spec, engine: &EngineState) -> Action {
    let image_id = engine.image_id(spec.image.name());
    let [new, old] = LEFTOVERS.map(|ending| engine.container(&format!("{}{ending}", spec.name)));
    let found = match (engine.container(&spec.name), new, old) {
        (Some(found), _, _) => found,
        // An earlier run did not see it ready.
        (None, Some(new), _) if new.compare(spec, image_id).replace.is_empty() => {
            return Action::Finish;
        }
        // What an earlier run replaces comes back first.
        (None, _, Some(old)) => old,
        (None, _, None) => return Action::Create,
    };
    let mut comparison = found.compare(spec, image_id);
    if !comparison.replace.is_empty() {
        let owner = found.labels.get(labels::MANIFEST);
        if owner.is_none_or(|owner| owner != manifest) {
            let owner = owner.map_or("somebody else", String::as_str);
            let change = Change {
                field: "made for".to_owned(),
                old: Some(owner.to_owned()),
                new: Some(manifest.to_owned()),
            };
            comparison.replace.insert(0, change);
        }
        comparison.replace.append(&mut comparison.in_place);
        return Action::Replace(comparison.replace);
    }
    if found.state != State::Running || found.name != spec.name {
        return Action::Start;
    }
    let mut changes = comparison.in_place;
    changes.extend(leftovers(&spec.name, engine).map(|leftover| Change {
        field: "left by an interrupted replacement".to_owned(),
        old: Some(leftover.name.clone()),
        new: None,
    }));
    if changes.is_empty() {
        Action::None
    } else {
        Action::Update(changes)
    }
}

/// The containers that an interrupted replacement of a container left behind.
pub(super) fn leftovers<'a>(
    name: &'a str,
    engine: &'a EngineState,
) -> impl Iterator<Item = &'a docker::Container> {
    let endings = LEFTOVERS.iter();
    endings.filter_map(move |ending| engine.container(&format!("{name}{ending}")))
}

fn unknown(variables: &[Variable]) -> Action {
    Action::Unknown(variables.iter().map(ToString::to_string).collect())
}
