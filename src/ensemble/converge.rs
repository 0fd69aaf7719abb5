//! Brings up what a manifest describes, or takes it down: observes, plans, locks, observes and
//! plans again, asks for confirmation, and executes the plan.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    path::Path,
    time::Instant,
};

use futures_util::future::join_all;

use super::{
    EngineState, Execution, Graph, Manifest, Observed, Plan, Request, World, apply, load, observe,
    operation::{Operation, ServerId},
    plan::{Made, make, replaced_without_batches},
    quote::quote,
    resource::ResourceName,
    warnings,
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::{Event, Outcome, RecapLine},
        owner::Owner,
    },
    machine::Lock,
    project::Project,
    provider::{Node, NodeState},
    provision::Difference,
    ssh::quote as quote_word,
};

/// The parts of a run that bringing a manifest up or down needs.
pub struct Invocation<'a> {
    /// The servers and engines: real or simulated.
    pub world: &'a dyn World,
    /// The project.
    pub project: &'a Project,
    /// Whether changes are only reported.
    pub dry_run: bool,
    /// Whether every question is answered with yes.
    pub yes: bool,
}

/// Whether a manifest is brought up or taken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Everything that the manifest describes exists.
    Up,
    /// Nothing of the manifest exists.
    Down,
}

/// The observed state and the plan that was made from it.
pub(super) struct Look {
    pub observed: Observed,
    pub made: Made,
}

impl Look {
    /// Adds the digest of the observed state to a plan that the user may keep. An empty plan needs
    /// none.
    fn add_digest(&mut self) {
        if !self.made.plan.is_empty() {
            self.made.plan.observed = self.observed.digest();
        }
    }
}

/// A manifest that is brought up or taken down.
pub(super) struct Converging<'a> {
    world: &'a dyn World,
    /// Whether changes are only reported.
    pub dry_run: bool,
    /// Whether every question is answered with yes.
    pub yes: bool,
    goal: Goal,
    /// The manifest whose resources are observed.
    manifest: &'a Manifest,
    /// The manifest to bring about: without servers for [`Goal::Down`].
    wanted: Cow<'a, Manifest>,
    graph: Graph,
    owner: Owner,
    request: &'a Request,
}

/// The plan that bringing up the manifest at `path` would execute.
pub async fn plan(
    invocation: &Invocation<'_>,
    path: &Path,
    request: &Request,
) -> Result<Plan, Failure> {
    let (manifest, owner) = invocation.load(path, false)?;
    let converging = Converging::new(invocation.world, Goal::Up, &manifest, owner, request)?;
    let mut look = converging.look().await?;
    look.add_digest();
    converging.advise(&look.made);
    Ok(look.made.plan)
}

/// Brings up the manifest at `path`: shows the plan, asks, and executes it.
pub async fn up(
    invocation: &Invocation<'_>,
    path: &Path,
    request: &Request,
) -> Result<(), Failure> {
    let (manifest, owner) = invocation.load(path, !invocation.dry_run)?;
    invocation.go(Goal::Up, &manifest, owner, request).await
}

/// Takes down the manifest at `path`: terminates its servers, also those that are no longer in it,
/// with all data on them, and removes its containers from other servers. Shows the plan, asks, and
/// executes it.
pub async fn down(
    invocation: &Invocation<'_>,
    path: &Path,
    request: &Request,
) -> Result<(), Failure> {
    // What is taken down need not be mended.
    let (manifest, owner) = invocation.load_quietly(path, false)?;
    let request = Request {
        prune: true,
        ..request.clone()
    };
    invocation.go(Goal::Down, &manifest, owner, &request).await
}

impl Invocation<'_> {
    /// Loads a manifest, and warns of what is probably a mistake. With `creates`, the project gets an id
    /// if it has none.
    fn load(&self, path: &Path, creates: bool) -> Result<(Manifest, Owner), Failure> {
        let (manifest, owner) = self.load_quietly(path, creates)?;
        for warning in warnings(&manifest) {
            self.world.events().warn(warning);
        }
        Ok((manifest, owner))
    }

    /// Like [`Invocation::load`], without warnings.
    pub(super) fn load_quietly(
        &self,
        path: &Path,
        creates: bool,
    ) -> Result<(Manifest, Owner), Failure> {
        let manifest = load(
            path,
            &self.project.root,
            self.world.providers(),
            self.world.events(),
        )?;
        let id = if creates {
            Some(self.project.ensure_manifest_id(self.world.events())?)
        } else {
            self.project.manifest_id()?
        };
        let owner = Owner {
            // Without an id, nothing that exists can belong to the project.
            project: id.map(|id| id.to_string()).unwrap_or_default(),
            manifest: Some(manifest.id.clone()),
        };
        Ok((manifest, owner))
    }

    async fn go(
        &self,
        goal: Goal,
        manifest: &Manifest,
        owner: Owner,
        request: &Request,
    ) -> Result<(), Failure> {
        let converging = Converging {
            dry_run: self.dry_run,
            yes: self.yes,
            ..Converging::new(self.world, goal, manifest, owner, request)?
        };
        converging.go().await
    }
}

impl<'a> Converging<'a> {
    /// Prepares to bring up or take down a manifest.
    pub fn new(
        world: &'a dyn World,
        goal: Goal,
        manifest: &'a Manifest,
        owner: Owner,
        request: &'a Request,
    ) -> Result<Self, Diagnostic> {
        let wanted = match goal {
            Goal::Up => Cow::Borrowed(manifest),
            Goal::Down => Cow::Owned(manifest.without_servers()),
        };
        let graph = Graph::of(&wanted)?;
        Ok(Converging {
            world,
            dry_run: false,
            yes: false,
            goal,
            manifest,
            wanted,
            graph,
            owner,
            request,
        })
    }

    /// Observes everything, and makes the plan if that is possible. Asks for no prices.
    pub async fn inspect(&self) -> Result<(Observed, Result<Plan, Failure>), Failure> {
        let _activity = self.world.events().start(&self.manifest.name, "observing");
        let observed = observe(self.world, self.manifest, &self.owner).await?;
        let made = make(
            &self.wanted,
            &self.graph,
            &observed,
            &self.owner,
            self.request,
        );
        Ok((observed, made.map(|made| made.plan)))
    }

    /// Observes everything and makes the plan.
    pub async fn look(&self) -> Result<Look, Failure> {
        let activity = self.world.events().start(&self.manifest.name, "observing");
        let observed = observe(self.world, self.manifest, &self.owner).await?;
        let mut made = make(
            &self.wanted,
            &self.graph,
            &observed,
            &self.owner,
            self.request,
        )?;
        quote(self.world, self.manifest, &observed, &mut made).await?;
        drop(activity);
        Ok(Look { observed, made })
    }

    /// Observes, locks, observes again, asks and applies.
    pub async fn go(&self) -> Result<(), Failure> {
        let started = Instant::now();
        let world = self.world;
        let name = &self.manifest.name;
        let mut first = self.look().await?;
        if first.made.plan.is_empty() || self.dry_run {
            self.show(&mut first);
            let plan = &first.made.plan;
            if plan.is_empty() {
                self.goal.report_nothing(world, name, started);
            } else {
                let what = format!("{} `{name}`: {}", self.goal.verb(), plan.summary());
                world.events().emit(Event::WouldDo(what));
            }
            return Ok(());
        }
        let (mut look, locks) = self.lock(first).await?;
        self.show(&mut look);
        let plan = &look.made.plan;
        if plan.is_empty() {
            self.goal.report_nothing(world, name, started);
            return Ok(());
        }
        self.ask(plan)?;
        let scope = world.cancel().scope();
        let execution = Execution::new(
            world,
            self.manifest,
            &self.owner,
            self.request,
            &look.observed,
            look.made.facts,
            locks,
        );
        let mut half_done = HalfDone {
            execution: &execution,
            command: self.command(),
            is_over: false,
        };
        let lines = apply(plan, &execution).await;
        half_done.is_over = true;
        drop(half_done);
        drop(scope);
        self.report(lines)?;
        let seconds = started.elapsed().as_secs_f64();
        let done = match self.goal {
            Goal::Up => "is up",
            Goal::Down => "is down",
        };
        world
            .events()
            .note(format!("`{name}` {done} ({seconds:.1} s)"));
        Ok(())
    }

    /// Locks all servers that the plan changes and observes them again, so that no other run can
    /// change them between the plan that the user confirms and its execution.
    async fn lock(&self, first: Look) -> Result<(Look, HashMap<ServerId, Lock>), Failure> {
        let mut locks: HashMap<ServerId, Lock> = HashMap::new();
        let mut unreachable: BTreeSet<String> = BTreeSet::new();
        let shown = first.made.plan.clone();
        let mut look = first;
        loop {
            let missing: Vec<Node> = changed_servers(&look)
                .into_iter()
                .filter(|node| !locks.contains_key(&ServerId::of(node)))
                .filter(|node| !unreachable.contains(&node.id))
                .collect();
            if missing.is_empty() {
                break;
            }
            let purpose = self.manifest.lock_purpose();
            let wait = self.request.wait_lock;
            let world = self.world;
            let taken = missing.iter().map(|node| world.lock(node, &purpose, wait));
            let mut errors = Vec::new();
            for (node, taken) in missing.iter().zip(join_all(taken).await) {
                match taken {
                    Ok(lock) => drop(locks.insert(ServerId::of(node), lock)),
                    // A server that is terminated need not answer.
                    Err(error)
                        if error.kind == Kind::Unreachable
                            && is_terminated(&look.made.plan, node) =>
                    {
                        unreachable.insert(node.id.clone());
                    }
                    Err(error) => errors.push(error),
                }
            }
            if !errors.is_empty() {
                return Err(Failure(errors));
            }
            look = self.look().await?;
            if self.yes {
                self.refuse_more(&look.made.plan, &shown)?;
            }
        }
        Ok((look, locks))
    }

    /// Fails if a plan does more than the one that was made before the servers were locked.
    fn refuse_more(&self, plan: &Plan, shown: &Plan) -> Result<(), Diagnostic> {
        let more = plan.exceeds(shown);
        if more.is_empty() {
            return Ok(());
        }
        let name = &self.manifest.name;
        let message = format!("`{name}` was changed by another run meanwhile; nothing was done");
        let error = more.into_iter().fold(
            Diagnostic::new(Kind::Failed, message)
                .help("run the command again to see the new plan".to_owned()),
            Diagnostic::note,
        );
        Err(error)
    }

    /// Tells the user of what `only` leaves out, and of replicas that are all replaced at the same time.
    fn advise(&self, made: &Made) {
        let plan = &made.plan;
        if !made.left_out.is_empty() {
            let names: Vec<String> = made.left_out.iter().map(ToString::to_string).collect();
            let events = self.world.events();
            events.note(format!("left as it is by `only`: {}", names.join(", ")));
        }
        if self.request.has_batches() {
            return;
        }
        for (name, count) in replaced_without_batches(&self.wanted, &plan.steps) {
            self.world.events().note(format!(
                "all {count} replicas of `{name}` are replaced at once; with --batch 1, one after the other"
            ));
        }
    }

    fn show(&self, look: &mut Look) {
        let events = self.world.events();
        if events.shows_data() {
            look.add_digest();
        }
        look.made.plan.show(events, false);
        self.advise(&look.made);
        // Where the plan changes something, the same is said afterwards, of what is then admitted.
        let steps = &look.made.plan.steps;
        let changed = steps.iter().filter_map(|step| step.resource.as_ref());
        let changed: BTreeSet<&str> = changed.map(ResourceName::server).collect();
        for (name, state) in &look.observed.servers {
            if let Difference::Lacks(missing) = &state.cloud_firewall
                && !changed.contains(name.as_str())
            {
                for sentence in missing {
                    events.warn(sentence);
                }
            }
        }
    }

    fn ask(&self, plan: &Plan) -> Result<(), Diagnostic> {
        let name = &self.manifest.name;
        let summary = plan.summary();
        let events = self.world.events();
        match self.goal {
            Goal::Up => events.confirm(&format!("Bring up `{name}`: {summary}?"), None),
            Goal::Down => {
                let question =
                    format!("Take down `{name}`: {summary}, with all data? Type its name:");
                events.confirm(&question, Some(name))
            }
        }
    }

    /// The command that does what is left to do.
    fn command(&self) -> String {
        let mut words = vec!["hitc".to_owned(), self.goal.task().to_owned()];
        words.push(quote_word(&self.manifest.id));
        if self.goal == Goal::Up && self.request.prune {
            words.push("prune=true".to_owned());
        }
        if !self.request.adopt.is_empty() {
            let names: Vec<&str> = self.request.adopt.iter().map(String::as_str).collect();
            words.push(format!("adopt={}", quote_word(&names.join(","))));
        }
        if !self.request.only.is_empty() {
            let names: Vec<&str> = self.request.only.iter().map(String::as_str).collect();
            words.push(format!("only={}", quote_word(&names.join(","))));
        }
        if self.goal == Goal::Up {
            words.extend(self.request.flags());
        }
        words.join(" ")
    }

    /// Shows the summary. Fails if an operation failed or was skipped by Ctrl-C.
    fn report(&self, lines: Vec<RecapLine>) -> Result<(), Failure> {
        let world = self.world;
        let failures = lines.iter().filter_map(|line| line.failure.clone());
        let mut failures: Vec<Diagnostic> = failures.collect();
        let skipped = lines.iter().filter(|line| line.outcome == Outcome::Skipped);
        let skipped: Vec<String> = skipped.map(|line| line.name.clone()).collect();
        world.events().emit(Event::Recap {
            noun: "resource",
            lines,
            counts_only: false,
        });
        if world.cancel().is_stopping() && !skipped.is_empty() {
            let (name, command) = (&self.manifest.name, self.command());
            let help = format!("`{name}` was changed in part; finish with `{command}`");
            failures.push(Diagnostic::new(Kind::Interrupted, "interrupted").help(help));
        } else if !skipped.is_empty() {
            world.events().note(format!(
                "not changed: {}; go on with `{}`",
                skipped.join(", "),
                self.command()
            ));
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(Failure(failures))
        }
    }
}

/// The execution of a plan. Dropped before its end, it was cancelled: the user learns what is half done,
/// and how to finish it.
struct HalfDone<'a> {
    execution: &'a Execution<'a>,
    command: String,
    is_over: bool,
}

impl Drop for HalfDone<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let name = &self.execution.manifest.name;
        let what = match self.execution.cut().join(", ") {
            none if none.is_empty() => format!("`{name}` was changed in part"),
            cut => format!("`{name}` is half done: {cut}"),
        };
        let events = self.execution.world.events();
        events.warn(format!("{what}; finish with `{}`", self.command));
    }
}

impl Goal {
    fn task(self) -> &'static str {
        match self {
            Goal::Up => "ensemble.up",
            Goal::Down => "ensemble.down",
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Goal::Up => "bring up",
            Goal::Down => "take down",
        }
    }

    fn report_nothing(self, world: &dyn World, name: &str, started: Instant) {
        let seconds = started.elapsed().as_secs_f64();
        world.events().note(match self {
            Goal::Up => format!("`{name}` is up to date ({seconds:.1} s)"),
            Goal::Down => format!("nothing of `{name}` exists"),
        });
    }
}

/// The existing servers that a plan changes and that can be locked: those that run.
fn changed_servers(look: &Look) -> Vec<Node> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let mut ids: BTreeSet<&str> = BTreeSet::new();
    for step in &look.made.plan.steps {
        match &step.operation {
            Operation::TerminateServer { server } => drop(ids.insert(&server.id)),
            _ => names.extend(step.resource.as_ref().map(ResourceName::server)),
        }
    }
    let observed = &look.observed;
    let states = observed.servers.values();
    let known = states
        .filter(|state| !matches!(state.engine, EngineState::Off))
        .map(|state| &state.node);
    known
        .chain(&observed.extra)
        .filter(|node| node.state == NodeState::Running)
        .filter(|node| names.contains(node.name.as_str()) || ids.contains(node.id.as_str()))
        .cloned()
        .collect()
}

fn is_terminated(plan: &Plan, node: &Node) -> bool {
    plan.steps.iter().any(|step| match &step.operation {
        Operation::TerminateServer { server } => *server == ServerId::of(node),
        _ => false,
    })
}
