//! A simulated world: providers, servers and engines in memory, with failures and interruptions at
//! any operation.
//!
//! It drives the real observing, deciding, locking and applying. `against_the_real_engine.rs` compares
//! the simulated engine with a real one.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;

use super::super::World;
use crate::{
    core::{
        cancel::Cancel,
        diagnostic::{Diagnostic, Kind},
        event::{Activity, Event, Events, Interface},
        owner::{Owner, Ownership},
        value::{Fields, Invalid, Value},
    },
    docker::{
        self, Container, Containers, Progress, Snapshot, Spec, State as Condition, Volume, as_made,
    },
    inventory::{Access, NodePoll, Providers},
    machine::{Lock, Machine, MockMachine},
    provider::{
        Address, Cost, Create, Error, Local, Node, NodeState, Provider, ServerChange, Unmanaged,
        look_again, refuse_protected,
    },
    ssh::Login,
};

/// The name of the simulated provider: its options are those of the local one.
pub const PROVIDER: &str = "local";

/// A size that is sold out.
pub const SOLD_OUT: &str = "64x999g";

/// Everything that exists.
#[derive(Clone, Default)]
pub struct State {
    /// All servers, of whatever owner, by name and id.
    pub servers: BTreeMap<(String, String), Server>,
    /// The ids of servers that do not answer.
    pub unreachable: Vec<String>,
    /// How often something was changed: the source of ids and addresses.
    pub changes: u64,
}

/// A server.
#[derive(Clone)]
pub struct Server {
    pub node: Node,
    /// None without Docker.
    pub engine: Option<Engine>,
}

/// A Docker Engine.
#[derive(Clone, Default)]
pub struct Engine {
    pub containers: Vec<Container>,
    pub images: BTreeMap<String, String>,
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
        Simulated {
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

    fn hide(&self, _: &str) {}
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
        Ok(Arc::new(MockMachine::default()))
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

    async fn set_up_docker(&self, node: &Node) -> Result<(), Diagnostic> {
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

/// The simulated cloud.
struct SimulatedProvider {
    shared: Arc<Mutex<Shared>>,
}

impl SimulatedProvider {
    async fn change<T>(
        &self,
        what: &str,
        node: &Node,
        act: impl FnOnce(&mut Server) -> T,
    ) -> Result<T, Error> {
        let changed = change(&self.shared, what, |state| {
            let server = state
                .find(&node.name, &node.id)
                .ok_or(Refusal::Other("gone".to_owned()))?;
            Ok(act(server))
        });
        changed.await.map_err(failed)
    }
}

fn failed(refusal: Refusal) -> Error {
    let cause = match refusal {
        Refusal::Other(cause) => cause,
        _ => "refused".to_owned(),
    };
    Error::Failed {
        provider: PROVIDER.to_owned(),
        what: "changing a server".to_owned(),
        cause,
    }
}

/// The size and the image of these options, and whether the server is protected.
fn decode(options: &Value) -> Result<(String, String, bool), Invalid> {
    let mut fields = Fields::new(options, "server")?;
    let size = fields.decode("size", Value::to_text)?;
    let image = fields.decode("image", Value::to_text)?;
    let protect = fields.decode("protect", Value::to_bool)?;
    fields.finish()?;
    Ok((
        size.unwrap_or("unlimited".to_owned()),
        image.unwrap_or("debian-13".to_owned()),
        protect.unwrap_or(false),
    ))
}

/// The real provider, for what it decides without asking anything.
fn real() -> Local {
    Local::new("X-", "/nowhere".into())
}

#[async_trait]
impl Provider for SimulatedProvider {
    fn name(&self) -> &str {
        PROVIDER
    }

    fn validate(&self, options: &Value) -> Result<(), Invalid> {
        real().validate(options)
    }

    async fn quote(&self, _: &str, options: &Value) -> Result<Cost, Error> {
        let (size, ..) =
            decode(options).map_err(|error| failed(Refusal::Other(error.to_string())))?;
        if size == SOLD_OUT {
            return Err(failed(Refusal::Other(format!("size `{size}` is sold out"))));
        }
        Ok(Cost::Free)
    }

    async fn list(&self) -> Result<Vec<Node>, Error> {
        // Yields as a network request does: concurrent callers then share one listing.
        tokio::task::yield_now().await;
        let shared = self.shared.lock().unwrap();
        let servers = shared.state.servers.values();
        Ok(servers.map(|server| server.node.clone()).collect())
    }

    async fn create(&self, create: &Create, _: &Activity) -> Result<Node, Error> {
        let (size, image, protect) = decode(&create.options).unwrap();
        let made = change(&self.shared, "creating", |state| {
            let from = (create.name.clone(), String::new());
            let same = state.servers.range_mut(from..).map(|(_, server)| server);
            let mut same = same.take_while(|server| server.node.name == create.name);
            if let Some(found) = same.find(|server| server.node.owner.is(&create.owner)) {
                let before = found.node.clone();
                if before.state == NodeState::Creating {
                    found.node.state = NodeState::Unfinished;
                }
                return Ok(before);
            }
            let ip = |network| Some(Address::Ip(IpAddr::V4(state.ip(network))));
            let node = Node {
                provider: PROVIDER.to_owned(),
                name: create.name.clone(),
                id: state.id(8),
                size,
                image,
                region: String::new(),
                ip: ip(192),
                internal_ip: ip(10),
                state: NodeState::Creating,
                created: None,
                owner: Ownership::Owner(create.owner.clone()),
                user: None,
                is_protected: protect,
            };
            // Listed as running, but not settled yet.
            state.add(Server {
                node: Node {
                    state: NodeState::Unfinished,
                    ..node.clone()
                },
                engine: Some(Engine::default()),
            });
            Ok(node)
        });
        made.await.map_err(failed)
    }

    async fn settle(&self, node: &Node, is_ready: bool) -> Result<(), Error> {
        let state = if is_ready {
            NodeState::Running
        } else {
            NodeState::Failed
        };
        self.change("settling", node, |server| server.node.state = state)
            .await
    }

    async fn find(&self, node: &Node) -> Result<Option<Node>, Error> {
        let mut shared = self.shared.lock().unwrap();
        let found = shared.state.find(&node.name, &node.id);
        Ok(found.map(|server| server.node.clone()))
    }

    async fn terminate(&self, node: &Node) -> Result<(), Error> {
        if self.find(node).await?.is_none() {
            return Ok(());
        }
        refuse_protected([&look_again(self, node).await?])?;
        let gone = change(&self.shared, "terminating", |state| {
            let key = (node.name.clone(), node.id.clone());
            state.servers.remove(&key);
            Ok(())
        });
        gone.await.map_err(failed)
    }

    async fn reboot(&self, node: &Node) -> Result<(), Error> {
        panic!("`{}` is rebooted", node.name)
    }

    async fn start(&self, node: &Node) -> Result<(), Error> {
        look_again(self, node).await?;
        let mut next = self.shared.lock().unwrap().state.ip(172);
        self.change("starting", node, |server| {
            if server.node.state == NodeState::Running {
                return;
            }
            server.node.state = NodeState::Running;
            let containers = server.engine.iter_mut().flat_map(|e| &mut e.containers);
            for container in containers.filter(|c| c.options.restarts_with_server()) {
                if container.state == Condition::Exited {
                    container.state = Condition::Running;
                    container.ip = Some(IpAddr::V4(next));
                    next = Ipv4Addr::from_bits(next.to_bits() + (1 << 16));
                }
            }
        })
        .await
    }

    async fn rename(&self, _: &Node, _: &str) -> Result<(), Error> {
        Err(failed(Refusal::Other("unsupported".to_owned())))
    }

    async fn adopt(&self, node: &Node, owner: &Owner) -> Result<(), Error> {
        look_again(self, node).await?;
        let adopt = |server: &mut Server| server.node.owner = Ownership::Owner(owner.clone());
        self.change("adopting", node, adopt).await
    }

    fn changes(&self, node: &Node, options: &Value) -> Result<Vec<ServerChange>, Invalid> {
        real().changes(node, options)
    }

    async fn resize(&self, node: &Node, options: &Value) -> Result<(), Error> {
        look_again(self, node).await?;
        let (size, ..) = decode(options).unwrap();
        // The address of a server that was stopped may be another one.
        let ip = self.shared.lock().unwrap().state.ip(192);
        self.change("resizing", node, |server| {
            server.node.size = size;
            server.node.ip = Some(Address::Ip(IpAddr::V4(ip)));
        })
        .await
    }

    async fn login(&self, _: &Node) -> Result<Login, Error> {
        Ok(Login::default())
    }

    async fn set_up(&self, _: &Activity) -> Result<(), Error> {
        Ok(())
    }
}

/// The engine of one simulated server.
struct SimulatedEngine {
    shared: Arc<Mutex<Shared>>,
    host: String,
    server: String,
    run: u32,
}

impl SimulatedEngine {
    fn error(&self, what: &str, refusal: Refusal) -> docker::Error {
        let host = self.host.clone();
        match refusal {
            Refusal::NameTaken(name, owner) => docker::Error::NameTaken { host, name, owner },
            Refusal::PortAllocated(port) => docker::Error::PortAllocated {
                host,
                port,
                name: what.to_owned(),
            },
            Refusal::NoImage(image) => docker::Error::NoImage {
                host,
                image,
                cause: "not found".to_owned(),
            },
            Refusal::NoContainer(name) => docker::Error::NoContainer { host, name },
            Refusal::Other(cause) => docker::Error::Api {
                host,
                what: what.to_owned(),
                cause,
            },
        }
    }

    async fn change<T>(
        &self,
        what: &str,
        act: impl FnOnce(&mut Engine, &State) -> Result<T, Refusal>,
    ) -> Result<T, docker::Error> {
        let holder = self
            .shared
            .lock()
            .unwrap()
            .locked
            .get(&self.server)
            .copied();
        assert_eq!(
            holder,
            Some(self.run),
            "{what} on `{}` without its lock",
            self.host
        );
        let changed = change(&self.shared, what, |state| {
            let before = State {
                changes: state.changes,
                ..State::default()
            };
            let server = state.find(&self.host, &self.server);
            let engine = server.and_then(|server| server.engine.as_mut());
            act(
                engine.ok_or(Refusal::Other("no engine".to_owned()))?,
                &before,
            )
        });
        changed.await.map_err(|refusal| self.error(what, refusal))
    }

    fn look<T>(&self, look: impl FnOnce(&Engine) -> T) -> Result<T, docker::Error> {
        let mut shared = self.shared.lock().unwrap();
        let server = shared.state.find(&self.host, &self.server);
        let engine = server.and_then(|server| server.engine.as_ref());
        engine
            .map(look)
            .ok_or_else(|| self.error("looking", Refusal::Other("no engine".to_owned())))
    }
}

impl Engine {
    fn find(&mut self, id: &str) -> Result<&mut Container, Refusal> {
        let found = self
            .containers
            .iter_mut()
            .find(|container| container.id == id);
        found.ok_or(Refusal::NoContainer(id.to_owned()))
    }

    fn refuse_name(&self, name: &str) -> Result<(), Refusal> {
        match self
            .containers
            .iter()
            .find(|container| container.name == name)
        {
            Some(taken) => Err(Refusal::NameTaken(name.to_owned(), taken.ownership())),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Containers for SimulatedEngine {
    fn host(&self) -> &str {
        &self.host
    }

    async fn snapshot(&self) -> Result<Snapshot, docker::Error> {
        self.look(|engine| {
            let mut containers = engine.containers.clone();
            containers.sort_by(|a, b| a.name.cmp(&b.name));
            Snapshot {
                containers,
                images: engine.images.clone(),
            }
        })
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, docker::Error> {
        self.look(|engine| engine.containers.iter().find(|c| c.id == id).cloned())
    }

    async fn find(&self, name: &str) -> Result<Option<Container>, docker::Error> {
        self.look(|engine| engine.containers.iter().find(|c| c.name == name).cloned())
    }

    async fn provide_image(&self, spec: &Spec, _: Progress<'_>) -> Result<(), docker::Error> {
        let image = spec.image.name().to_owned();
        if self.look(|engine| engine.images.contains_key(&image))? {
            return Ok(());
        }
        self.change("pulling", |engine, _| {
            if image.starts_with("missing") {
                return Err(Refusal::NoImage(image));
            }
            engine
                .images
                .insert(image.clone(), format!("sha256:{image}"));
            Ok(())
        })
        .await
    }

    async fn create(
        &self,
        name: &str,
        spec: &Spec,
        labels: &BTreeMap<String, String>,
        volumes: &[Volume],
    ) -> Result<String, docker::Error> {
        self.change("creating", |engine, state| {
            engine.refuse_name(name)?;
            let image = spec.image.name();
            let image_id = engine
                .images
                .get(image)
                .ok_or(Refusal::NoImage(image.to_owned()))?;
            let id = state.id(64);
            let mut made = as_made(spec, labels, "");
            made.id.clone_from(&id);
            name.clone_into(&mut made.name);
            made.image_id.clone_from(image_id);
            made.state = Condition::Created;
            made.ip = None;
            made.anonymous = volumes.to_vec();
            // An image that declares a volume.
            if image.starts_with("data") && volumes.is_empty() {
                let volume = state.id(64);
                engine.volumes.insert(volume.clone(), volume.clone());
                made.anonymous.push(Volume {
                    host: volume,
                    container: "/data".to_owned(),
                    read_only: false,
                });
            }
            engine.containers.push(made);
            Ok(id)
        })
        .await
    }

    async fn start(&self, id: &str) -> Result<(), docker::Error> {
        self.change("starting", |engine, state| {
            let others = engine.containers.iter();
            let held: BTreeSet<_> = others
                .filter(|other| other.id != id && other.state.holds_processes())
                .flat_map(Container::ports)
                .map(|port| (port.public, port.protocol))
                .collect();
            let found = engine.find(id)?;
            for port in found.ports().clone() {
                if held.contains(&(port.public, port.protocol)) {
                    return Err(Refusal::PortAllocated(port.public));
                }
            }
            if found.state != Condition::Running {
                found.state = Condition::Running;
                found.ip = Some(IpAddr::V4(state.ip(172)));
            }
            Ok(())
        })
        .await
    }

    async fn stop(&self, id: &str) -> Result<(), docker::Error> {
        self.change("stopping", |engine, _| {
            let found = engine.find(id)?;
            if found.state.holds_processes() {
                found.state = Condition::Exited;
                found.ip = None;
            }
            Ok(())
        })
        .await
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), docker::Error> {
        self.change("renaming", |engine, _| {
            engine.refuse_name(name)?;
            name.clone_into(&mut engine.find(id)?.name);
            Ok(())
        })
        .await
    }

    async fn update(&self, id: &str, spec: &Spec) -> Result<(), docker::Error> {
        self.change("changing", |engine, _| {
            let wanted = as_made(spec, &BTreeMap::new(), "");
            let found = engine.find(id)?;
            found.options.update(&wanted.options);
            Ok(())
        })
        .await
    }

    async fn disable_restart(&self, id: &str) -> Result<(), docker::Error> {
        self.change("changing", |engine, _| {
            engine.find(id)?.options.set_text("restart", "no");
            Ok(())
        })
        .await
    }

    async fn wait_until_ready(&self, id: &str, spec: &Spec) -> Result<(), docker::Error> {
        tokio::task::yield_now().await;
        let found = self.inspect(id).await?;
        if found.is_some_and(|found| found.image.starts_with("broken")) {
            return Err(docker::Error::NotReady {
                host: self.host.clone(),
                name: spec.name.clone(),
                cause: "ended with status 1".to_owned(),
                log: String::new(),
                now: String::new(),
            });
        }
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), docker::Error> {
        self.change("removing", |engine, _| {
            let Some(at) = engine.containers.iter().position(|c| c.id == id) else {
                return Ok(());
            };
            let removed = engine.containers.remove(at);
            for volume in removed.anonymous {
                let used = engine.containers.iter().flat_map(|c| &c.anonymous);
                if !used.into_iter().any(|other| other.host == volume.host) {
                    engine.volumes.remove(&volume.host);
                }
            }
            Ok(())
        })
        .await
    }
}
