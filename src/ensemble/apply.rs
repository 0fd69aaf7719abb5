//! Making a plan true: everything whose dependencies are met, at once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{
    Action, Graph, Manifest, Observed, Plan, Request, ServerState, Thing,
    manifest::{Facts, Variable},
    reconcile::{Differences, decide_container, decide_server, decode},
    server_step::ServerStep,
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        event::{Activity, Outcome, RecapLine},
        owner::Owner,
        value::Value,
    },
    docker::{self, Containers, Engine, Replacement, Spec, StepNames},
    inventory::Inventory,
    machine::Lock,
    provider::{Node, refuse_protected},
};

/// What is applied, and with what.
pub(super) struct Apply<'a> {
    pub inventory: &'a Inventory,
    pub manifest: &'a Manifest,
    pub graph: &'a Graph,
    pub observed: &'a Observed,
    pub plan: &'a Plan,
    pub request: &'a Request,
    pub differences: Differences<'a>,
}

/// What has been reached so far.
struct World<'a> {
    apply: &'a Apply<'a>,
    facts: Mutex<Facts>,
    servers: Mutex<HashMap<String, ServerState>>,
    locks: Mutex<Vec<Lock>>,
}

/// How a thing ended. Nothing was done if nothing is said.
type Ended = Result<Option<String>, Diagnostic>;

impl Apply<'_> {
    /// Makes everything so. What fails stops only what needs it.
    pub async fn run(&self) -> Vec<RecapLine> {
        let world = World {
            apply: self,
            facts: Mutex::new(Facts::of(self.manifest)),
            servers: Mutex::default(),
            locks: Mutex::default(),
        };
        let mut waiting: Vec<&Thing> = self.graph.things().collect();
        let mut ended: BTreeMap<Thing, RecapLine> = BTreeMap::new();
        let mut running = FuturesUnordered::new();
        loop {
            let stopping = self.inventory.context.cancel.is_stopping();
            waiting.retain(|thing| {
                let needs: Vec<&Thing> = self.graph.needs(thing).collect();
                let stopped =
                    |needed: &&&Thing| ended.get(needed).is_some_and(|line| !line.is_ok());
                if stopping || needs.iter().any(|needed| stopped(&needed)) {
                    ended.insert((*thing).clone(), skipped(thing));
                    return false;
                }
                if needs.iter().all(|needed| ended.contains_key(needed)) {
                    running.push(world.reach(thing));
                    return false;
                }
                true
            });
            // The things are in an order in which each comes after what it needs: when nothing
            // runs, nothing waits.
            let Some((thing, line)) = running.next().await else {
                break;
            };
            ended.insert(thing.clone(), line);
        }
        let mut lines = self.in_order(&mut ended);
        if lines.iter().all(RecapLine::is_ok) {
            lines.extend(world.prune().await);
        }
        lines
    }

    /// The lines as the plan orders its steps, without those about which there is nothing to say.
    fn in_order(&self, ended: &mut BTreeMap<Thing, RecapLine>) -> Vec<RecapLine> {
        self.plan
            .steps
            .iter()
            .filter_map(|step| {
                let line = ended.remove(&step.thing)?;
                let silent = step.action == Action::None && line.outcome == Outcome::Ok;
                (!silent).then_some(line)
            })
            .collect()
    }

    /// Whether anything happens to a server or on it.
    fn touches(&self, server: &str) -> bool {
        let steps = self.plan.steps.iter();
        steps
            .filter(|step| step.thing.server() == server)
            .any(|step| step.action != Action::None)
            || self
                .plan
                .pruned()
                .any(|extra| extra.thing.server() == server)
    }
}

fn skipped(thing: &Thing) -> RecapLine {
    RecapLine {
        name: thing.to_string(),
        outcome: Outcome::Skipped,
        seconds: 0.0,
        failure: None,
    }
}

impl<'a> World<'a> {
    async fn reach(&self, thing: &'a Thing) -> (&'a Thing, RecapLine) {
        let started = Instant::now();
        let ended = match thing {
            Thing::Server(name) => self.server(name).await,
            Thing::Container(server, name) => self.container(server, name).await,
        };
        let (outcome, failure) = match ended {
            Ok(Some(_)) => (Outcome::Changed, None),
            Ok(None) => (Outcome::Ok, None),
            Err(error) if error.kind == Kind::Unreachable => (Outcome::Unreachable, Some(error)),
            Err(error) => (Outcome::Failed, Some(error)),
        };
        let line = RecapLine {
            name: thing.to_string(),
            outcome,
            seconds: started.elapsed().as_secs_f64(),
            failure,
        };
        (thing, line)
    }

    async fn server(&self, name: &str) -> Ended {
        let Apply {
            inventory,
            manifest,
            observed,
            ..
        } = self.apply;
        let state = observed.servers.get(name);
        if let Some(state) = state.filter(|_| !self.apply.touches(name)) {
            self.facts().server(&state.node);
            self.servers().insert(name.to_owned(), state.clone());
            return Ok(None);
        }
        let server = manifest.server(name).ok_or_else(|| gone(name))?;
        let options = self.resolve(name, |facts| {
            server
                .options
                .resolve(&|variable| facts.value(name, variable))
        })?;
        let request = self.apply.request;
        let id = &manifest.id;
        let action = decide_server(id, server, &options, state, request, self.apply.differences)?;
        let activity = inventory.context.events.start(name, "looking");
        let provider = inventory.providers.get(&server.provider)?;
        let change = ServerStep {
            apply: self.apply,
            name,
            provider: provider.as_ref(),
            options: &options,
            activity: &activity,
        };
        let (node, lock) = change.make(&action, state.map(|state| &state.node)).await?;
        let containers = !server.containers.is_empty();
        let (engine, lock) = change.prepare(&node, lock, containers).await?;
        self.keep(lock);
        self.facts().server(&node);
        self.servers()
            .insert(name.to_owned(), ServerState { node, engine });
        let done = describe(&action);
        if let Some(done) = &done {
            activity.done(done.as_str());
        }
        Ok(done)
    }

    async fn container(&self, server: &str, name: &str) -> Ended {
        let Apply {
            inventory,
            manifest,
            ..
        } = self.apply;
        let container = manifest.container(server, name).ok_or_else(|| gone(name))?;
        let body = self.resolve(server, |facts| {
            container
                .body
                .resolve(&|variable| facts.value(server, variable))
        })?;
        let spec = decode(manifest, container, &body)?;
        let state = self.server_state(server)?;
        let action = decide_container(&manifest.id, &spec, &state.engine);
        if action == Action::None {
            if let Some(found) = state.engine.container(name) {
                self.facts().container(server, found);
            }
            return Ok(None);
        }
        let engine = inventory.engine(&state.node).await?;
        let activity = inventory
            .context
            .events
            .start(format!("{server}.{name}"), "looking");
        self.change_container(&engine, &spec, &action, &activity)
            .await?;
        let found = engine.find(name).await?.ok_or_else(|| gone(name))?;
        self.facts().container(server, &found);
        let done = describe(&action);
        if let Some(done) = &done {
            activity.done(done.as_str());
        }
        Ok(done)
    }

    async fn change_container(
        &self,
        engine: &Engine,
        spec: &Spec,
        action: &Action,
        activity: &Activity,
    ) -> Result<(), docker::Error> {
        let progress = |text| activity.update(text);
        let Apply {
            inventory,
            manifest,
            ..
        } = self.apply;
        let owner = Owner {
            project: inventory.context.project.root.display().to_string(),
            manifest: Some(manifest.id.clone()),
        };
        let replacement = Replacement {
            engine,
            spec,
            owner: &owner,
            adopt: None,
        };
        let names = StepNames::of(&spec.name);
        match action {
            Action::None | Action::Unknown(_) => {}
            Action::Create | Action::Replace(_) => {
                engine.provide_image(spec, &progress).await?;
                activity.update(match action {
                    Action::Create => "creating",
                    _ => "replacing",
                });
                replacement.create_or_replace(&progress).await?;
            }
            Action::Finish => {
                if let Some(new) = engine.find(&names.new).await? {
                    replacement.finish(&new.id, &progress).await?;
                }
            }
            Action::Start => {
                activity.update("starting");
                let found = match engine.find(&spec.name).await? {
                    Some(found) => Some(found),
                    None => engine.find(&names.old).await?,
                };
                if let Some(found) = found {
                    replacement.restart(&found.id, &progress).await?;
                }
            }
            Action::Update(_) => {
                activity.update("changing");
                if let Some(found) = engine.find(&spec.name).await? {
                    replacement.update(&found.id).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes what is ours and not in the manifest, if that was asked for.
    async fn prune(&self) -> Vec<RecapLine> {
        let mut lines = Vec::new();
        for extra in self.apply.plan.pruned() {
            if self.apply.inventory.context.cancel.is_stopping() {
                lines.push(skipped(&extra.thing));
                continue;
            }
            let started = Instant::now();
            let activity = self
                .apply
                .inventory
                .context
                .events
                .start(extra.thing.to_string(), "removing");
            let removed = self.remove(&extra.thing).await;
            let outcome = match &removed {
                Ok(()) => Outcome::Changed,
                Err(_) => Outcome::Failed,
            };
            if removed.is_ok() {
                activity.done("removed");
            }
            lines.push(RecapLine {
                name: extra.thing.to_string(),
                outcome,
                seconds: started.elapsed().as_secs_f64(),
                failure: removed.err(),
            });
        }
        lines
    }

    async fn remove(&self, thing: &Thing) -> Result<(), Diagnostic> {
        let Apply {
            inventory,
            observed,
            ..
        } = self.apply;
        match thing {
            Thing::Server(name) => {
                let node = observed.extra.iter().find(|node| node.name == *name);
                let node = node.ok_or_else(|| gone(name))?;
                end_server(inventory, &self.apply.manifest.name, node).await
            }
            Thing::Container(server, name) => {
                let state = self.server_state(server)?;
                let engine = inventory.engine(&state.node).await?;
                if let Some(found) = engine.find(name).await? {
                    engine.remove(&found.id).await?;
                }
                Ok(())
            }
        }
    }

    /// What variables stand for must be known by now: everything they wait for is there.
    fn resolve(
        &self,
        thing: &str,
        resolve: impl FnOnce(&Facts) -> Result<Value, Vec<Variable>>,
    ) -> Result<Value, Diagnostic> {
        let facts = self.facts();
        resolve(&facts).map_err(|variables| {
            let names: Vec<String> = variables.iter().map(ToString::to_string).collect();
            let message = format!("`{thing}`: {} is not known", names.join(", "));
            Diagnostic::new(Kind::Failed, message)
        })
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<String, ServerState>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a lock until everything is done.
    fn keep(&self, lock: Lock) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.push(lock);
    }

    /// What a server is since its turn.
    fn server_state(&self, name: &str) -> Result<ServerState, Diagnostic> {
        self.servers().get(name).cloned().ok_or_else(|| gone(name))
    }
}

/// Ends a server for good. One that runs is locked first, unless it does not answer.
pub(super) async fn end_server(
    inventory: &Inventory,
    manifest: &str,
    node: &Node,
) -> Result<(), Diagnostic> {
    refuse_protected([node])?;
    let _lock = match inventory.connect(node).await {
        Ok(connection) => Some(Lock::take(&connection, manifest).await?),
        Err(_) => None,
    };
    inventory.providers.of(node)?.terminate(node).await?;
    inventory.forget(node);
    Ok(())
}

/// What is said of a thing that was changed.
fn describe(action: &Action) -> Option<String> {
    let word = match action {
        Action::None | Action::Unknown(_) => return None,
        Action::Create | Action::Finish => "created",
        Action::Start => "started",
        Action::Update(_) => "changed",
        Action::Replace(_) => "replaced",
    };
    Some(word.to_owned())
}

pub(super) fn gone(name: &str) -> Diagnostic {
    Diagnostic::new(Kind::Failed, format!("`{name}` is gone"))
        .help("somebody else changes the same servers; run it again".to_owned())
}
