//! A simulated world: providers, servers and engines in memory, with failures and interruptions at
//! any operation.
//!
//! It drives the real observing, deciding, locking and applying. `against_the_real_engine.rs` compares
//! the simulated engine with a real one.

mod engine;
mod provider;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;

use self::{
    engine::SimulatedEngine,
    provider::{SimulatedProvider, failed},
};
use super::super::World;
use crate::{
    core::{
        cancel::Cancel,
        diagnostic::{Diagnostic, Kind},
        event::{Event, Events, Interface},
        owner::{Owner, Ownership},
    },
    docker::{Container, Containers},
    inventory::{Access, NodePoll, Providers},
    iptables::{Backend, Firewall, Installed},
    machine::{Lock, Machine, MockMachine},
    mock::Answer,
    provider::{Node, Unmanaged},
};

/// Everything that exists.
#[derive(Clone, Default)]
pub struct State {
    /// All servers, of whatever owner, by name and id.
    pub servers: BTreeMap<(String, String), Server>,
    /// The ids of servers that do not answer.
    pub unreachable: Vec<String>,
    /// The digests that registries have, by the names of images. An image without one is at a registry
    /// that does not answer.
    pub published: BTreeMap<String, String>,
    /// How often something was changed: the source of ids and addresses.
    pub changes: u64,
}

/// A server.
#[derive(Clone)]
pub struct Server {
    pub node: Node,
    /// None without Docker.
    pub engine: Option<Engine>,
    pub firewall: Option<Installed>,
}

/// A Docker Engine.
#[derive(Clone, Default)]
pub struct Engine {
    pub containers: Vec<Container>,
    pub images: BTreeMap<String, String>,
    /// The digests that registries have for images, by their ids.
    pub digests: BTreeMap<String, BTreeSet<String>>,
    /// Anonymous volumes, with what was written to them.
    pub volumes: BTreeMap<String, String>,
}

impl State {
    pub fn server(&mut self, name: &str) -> &mut Server {
        let mut found = self.servers.range_mut((name.to_owned(), String::new())..);
        let (_, server) = found
            .next()
            .filter(|((found, _), _)| found == name)
            .unwrap();
        server
    }

    pub fn engine(&mut self, name: &str) -> &mut Engine {
        self.server(name).engine.as_mut().unwrap()
    }

    pub fn container(&mut self, server: &str, name: &str) -> &mut Container {
        let engine = self.engine(server);
        engine
            .containers
            .iter_mut()
            .find(|container| container.name == name)
            .unwrap()
    }

    /// Adds a server.
    pub fn add(&mut self, server: Server) {
        let key = (server.node.name.clone(), server.node.id.clone());
        self.servers.insert(key, server);
    }

    fn find(&mut self, name: &str, id: &str) -> Option<&mut Server> {
        self.servers.get_mut(&(name.to_owned(), id.to_owned()))
    }

    fn id(&self, length: usize) -> String {
        format!("{:0>length$x}", self.changes + 1)
    }

    fn ip(&self, network: u8) -> Ipv4Addr {
        let [.., a, b, c] = (self.changes + 1).to_be_bytes();
        Ipv4Addr::new(network, a, b, c)
    }
}

/// What is common to the world's parts.
struct Shared {
    state: State,
    /// Which run holds the lock of a server.
    locked: BTreeMap<String, u32>,
    /// The state after each change, if it is kept.
    history: Option<Vec<State>>,
    /// The changes that fail: after so many more.
    fail_in: Option<u64>,
    /// The run is killed after so many more changes.
    kill_in: Option<u64>,
    /// A random number generator: how often a task gives way to others.
    random: fastrand::Rng,
    gives_way: bool,
    latency: Duration,
}

/// A handle on the world.
#[derive(Clone)]
pub struct Simulated {
    shared: Arc<Mutex<Shared>>,
    providers: Arc<Providers>,
    poll: Arc<NodePoll>,
    events: Events,
    cancel: Cancel,
    /// Stands in for all servers, where only the check of a new one runs a command.
    machine: Arc<MockMachine>,
    /// Tells concurrent runs apart.
    run: u32,
}

impl Simulated {
    pub fn new(state: State) -> Self {
        let shared = Arc::new(Mutex::new(Shared {
            state,
            locked: BTreeMap::new(),
            history: None,
            fail_in: None,
            kill_in: None,
            random: fastrand::Rng::with_seed(1),
            gives_way: false,
            latency: Duration::ZERO,
        }));
        let providers = Providers::new(vec![
            Arc::new(SimulatedProvider {
                shared: shared.clone(),
            }),
            Arc::new(Unmanaged::new("/nowhere".into())),
        ]);
        let machine = MockMachine::default();
        let ran = Answer {
            stdout: "hitc-ran\n".to_owned(),
            ..Answer::default()
        };
        machine.mock.answer("echo hitc-ran*", ran).unwrap();
        Simulated {
            machine: Arc::new(machine),
            shared,
            providers: Arc::new(providers),
            poll: Arc::default(),
            events: Events::new(Arc::new(Consenting)),
            cancel: Cancel::default(),
            run: 1,
        }
    }

    /// The same world for another run at the same time.
    pub fn for_another_run(&self) -> Self {
        Simulated {
            run: self.run + 1,
            poll: Arc::default(),
            ..self.clone()
        }
    }

    /// Keeps the state after each change.
    pub fn recording(self) -> Self {
        self.shared.lock().unwrap().history = Some(Vec::new());
        self
    }

    /// Lets tasks give way to each other at random.
    pub fn interleaved(self, seed: u64) -> Self {
        let mut shared = self.shared.lock().unwrap();
        shared.random = fastrand::Rng::with_seed(seed);
        shared.gives_way = true;
        drop(shared);
        self
    }

    /// Lets every change take this long.
    pub fn with_latency(self, latency: Duration) -> Self {
        self.shared.lock().unwrap().latency = latency;
        self
    }

    /// Lets the change after `changes` others fail.
    pub fn failing_in(self, changes: u64) -> Self {
        self.shared.lock().unwrap().fail_in = Some(changes);
        self
    }

    /// Runs something that is killed after so many changes. None if it was killed.
    pub async fn killed_after<T>(&self, changes: u64, run: impl Future<Output = T>) -> Option<T> {
        self.shared.lock().unwrap().kill_in = Some(changes);
        let killed = poll_fn(|_| match self.shared.lock().unwrap().kill_in {
            Some(0) => Poll::Ready(()),
            _ => Poll::Pending,
        });
        let ended = tokio::select! {
            biased;
            () = killed => None,
            ended = run => Some(ended),
        };
        self.shared.lock().unwrap().kill_in = None;
        ended
    }

    /// A copy of everything that exists.
    pub fn state(&self) -> State {
        self.shared.lock().unwrap().state.clone()
    }

    /// Changes something from outside.
    pub fn happen<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.shared.lock().unwrap().state)
    }

    /// The states after each change, in their order.
    pub fn history(&self) -> Vec<State> {
        self.shared
            .lock()
            .unwrap()
            .history
            .take()
            .unwrap_or_default()
    }
}

/// Gives way, waits, fails if it is time to, and changes something.
async fn change<T>(
    shared: &Mutex<Shared>,
    what: &str,
    change: impl FnOnce(&mut State) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let (ways, latency) = {
        let mut shared = shared.lock().unwrap();
        let ways = if shared.gives_way {
            shared.random.u8(0..4)
        } else {
            0
        };
        (ways, shared.latency)
    };
    for _ in 0..ways {
        tokio::task::yield_now().await;
    }
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    // A run that was killed does nothing more; this gives the rest of it a chance to be dropped.
    poll_fn(|context| {
        if shared.lock().unwrap().kill_in == Some(0) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
    let mut shared = shared.lock().unwrap();
    if let Some(left) = &mut shared.fail_in {
        if *left == 0 {
            shared.fail_in = None;
            return Err(Refusal::Other(format!("{what}: a simulated failure")));
        }
        *left -= 1;
    }
    let changed = change(&mut shared.state)?;
    shared.state.changes += 1;
    if let Some(left) = &mut shared.kill_in {
        *left -= 1;
    }
    if shared.history.is_some() {
        let after = shared.state.clone();
        shared.history.get_or_insert_default().push(after);
    }
    Ok(changed)
}

/// Why something in the world could not be done.
enum Refusal {
    NameTaken(String, Ownership),
    PortAllocated(u16),
    NoImage(String),
    NoContainer(String),
    Other(String),
}

/// Says yes to every question.
pub struct Consenting;

impl Interface for Consenting {
    fn show(&self, _: Event) {}

    fn confirm(&self, _: &str, _: Option<&str>) -> Result<bool, Diagnostic> {
        Ok(true)
    }

    fn prompt(&self, question: &str, _: bool) -> Result<String, Diagnostic> {
        panic!("{question}")
    }
}

#[async_trait]
impl Access for Simulated {
    fn events(&self) -> &Events {
        &self.events
    }

    fn poll(&self) -> &NodePoll {
        &self.poll
    }

    fn flush(&self) {}

    async fn machine(&self, _: &Node) -> Result<Arc<dyn Machine>, Diagnostic> {
        Ok(self.machine.clone())
    }

    async fn reconnect(&self, node: &Node) -> Result<Arc<dyn Machine>, Diagnostic> {
        self.machine(node).await
    }

    async fn wait_until_reachable(&self, node: &Node) -> Result<Arc<dyn Machine>, Diagnostic> {
        self.machine(node).await
    }

    fn forget(&self, _: &Node) {}
}

#[async_trait]
impl World for Simulated {
    fn providers(&self) -> &Providers {
        &self.providers
    }

    fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    async fn lock(&self, node: &Node, _: &str, _: Duration) -> Result<Lock, Diagnostic> {
        tokio::task::yield_now().await;
        let mut shared = self.shared.lock().unwrap();
        if shared.locked.contains_key(&node.id) {
            let message = format!("host `{}`: another run is changing it", node.name);
            return Err(Diagnostic::new(Kind::Failed, message));
        }
        shared.locked.insert(node.id.clone(), self.run);
        let (lose, lost) = watch::channel(false);
        let guard = Held {
            shared: self.shared.clone(),
            id: node.id.clone(),
            _lose: lose,
        };
        Ok(Lock::held_by(guard, lost))
    }

    async fn engine(&self, node: &Node) -> Result<Option<Arc<dyn Containers>>, Diagnostic> {
        let mut shared = self.shared.lock().unwrap();
        let is_cut_off = shared.state.unreachable.contains(&node.id);
        let Some(server) = shared
            .state
            .find(&node.name, &node.id)
            .filter(|_| !is_cut_off)
        else {
            let message = format!("host `{}`: connection refused", node.name);
            return Err(Diagnostic::new(Kind::Unreachable, message));
        };
        Ok(server.engine.is_some().then(|| {
            Arc::new(SimulatedEngine {
                shared: self.shared.clone(),
                host: node.name.clone(),
                server: node.id.clone(),
                run: self.run,
            }) as Arc<dyn Containers>
        }))
    }

    async fn keep_open(&self, _: &Node) -> Result<bool, Diagnostic> {
        Ok(false)
    }

    async fn published_digest(&self, image: &str) -> Result<Option<String>, Diagnostic> {
        let shared = self.shared.lock().unwrap();
        let digest = shared.state.published.get(image).cloned();
        let error = || Diagnostic::new(Kind::Failed, "registry `docker.io`: timed out");
        digest.map(Some).ok_or_else(error)
    }

    async fn firewall(&self, node: &Node) -> Result<Option<Installed>, Diagnostic> {
        let mut shared = self.shared.lock().unwrap();
        if shared.state.unreachable.contains(&node.id) {
            let message = format!("host `{}`: connection refused", node.name);
            return Err(Diagnostic::new(Kind::Unreachable, message));
        }
        let server = shared.state.find(&node.name, &node.id);
        Ok(server.and_then(|server| server.firewall.clone()))
    }

    async fn set_firewall(
        &self,
        node: &Node,
        firewall: Option<&Firewall>,
        owner: &Owner,
    ) -> Result<(), Diagnostic> {
        let set = change(&self.shared, "changing the firewall", |state| {
            let server = state
                .find(&node.name, &node.id)
                .ok_or(Refusal::Other("gone".to_owned()))?;
            server.firewall = firewall.map(|rules| Installed {
                backend: Backend::Nft,
                owner: Ownership::Owner(owner.clone()),
                rules: Ok(rules.clone()),
                ssh: BTreeSet::from([22]),
                dropped: 0,
            });
            Ok(())
        });
        set.await.map_err(|refusal| failed(refusal).into())
    }

    async fn set_up_docker(&self, node: &Node, _: Option<&str>) -> Result<(), Diagnostic> {
        let set_up = change(&self.shared, "setting up Docker", |state| {
            let server = state
                .find(&node.name, &node.id)
                .ok_or(Refusal::Other("gone".to_owned()))?;
            server.engine = Some(Engine::default());
            Ok(())
        });
        set_up.await.map_err(|refusal| failed(refusal).into())
    }
}

/// The lock of a server, until it is dropped.
struct Held {
    shared: Arc<Mutex<Shared>>,
    id: String,
    _lose: watch::Sender<bool>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.lock().unwrap().locked.remove(&self.id);
    }
}
