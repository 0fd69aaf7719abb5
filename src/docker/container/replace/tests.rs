//! Tests replacements with an engine in memory: failures, foreign containers, and runs that are
//! killed before or after every request.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;

use super::{Names, Replacement};
use crate::{
    core::{
        diagnostic::Diagnostic,
        owner::Owner,
        value::{Data, Value},
    },
    docker::{
        Container, Containers, Error, Image, Inputs, Port, Progress, Snapshot, Spec, State, Volume,
        container::{as_made, labels},
    },
};

/// The path at which the image of every container declares a volume.
const DATA: &str = "/data";

/// How a container's environment says that it never becomes ready.
const BROKEN: &str = "BROKEN";

/// An engine that keeps its containers in memory.
#[derive(Default)]
struct Memory(Mutex<World>);

#[derive(Clone, Default)]
struct World {
    containers: Vec<Container>,
    made: u64,
    /// Ports that the engine did not release when a container died.
    reserved: Vec<u16>,
    /// How many requests are answered before the connection breaks; and whether the last one has
    /// its effect.
    left: Option<(u64, bool)>,
}

impl World {
    fn get(&mut self, id: &str) -> Result<&mut Container, Error> {
        let found = self.containers.iter_mut().find(|one| one.id == id);
        found.ok_or_else(|| error("not found"))
    }
}

fn error(cause: &str) -> Error {
    Error::Api {
        host: "web".to_owned(),
        what: "asking".to_owned(),
        cause: cause.to_owned(),
    }
}

impl Memory {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn request<T>(&self, act: impl FnOnce(&mut World) -> Result<T, Error>) -> Result<T, Error> {
        let mut world = self.world();
        match &mut world.left {
            None => act(&mut world),
            Some((0, takes_effect)) => {
                let takes_effect = std::mem::take(takes_effect);
                if takes_effect {
                    let _answer_is_lost = act(&mut world);
                }
                Err(error("the connection is lost"))
            }
            Some((left, _)) => {
                *left -= 1;
                act(&mut world)
            }
        }
    }

    fn add(
        &self,
        name: &str,
        spec: &Spec,
        added: &BTreeMap<String, String>,
        state: State,
    ) -> String {
        let mut world = self.world();
        world.made += 1;
        let id = format!("{:064x}", world.made);
        let mut container = as_made(spec, added, "172.17.0.2");
        container.id.clone_from(&id);
        name.clone_into(&mut container.name);
        container.state = state;
        if !added.contains_key(labels::PROJECT) {
            container.labels.clone_from(added);
        }
        container.anonymous = vec![Volume {
            host: id.clone(),
            container: DATA.to_owned(),
            read_only: false,
        }];
        world.containers.push(container);
        id
    }

    /// Name, state and volume of each container.
    fn shown(&self) -> Vec<(String, State, String)> {
        let world = self.world();
        let mut shown: Vec<_> = world
            .containers
            .iter()
            .map(|one| (one.name.clone(), one.state, one.anonymous[0].host.clone()))
            .collect();
        shown.sort_by(|a, b| a.0.cmp(&b.0));
        shown
    }
}

#[async_trait]
impl Containers for Memory {
    fn host(&self) -> &'static str {
        "web"
    }

    async fn snapshot(&self) -> Result<Snapshot, Error> {
        self.request(|world| {
            Ok(Snapshot {
                containers: world.containers.clone(),
                ..Snapshot::default()
            })
        })
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, Error> {
        self.request(|world| Ok(world.get(id).ok().cloned()))
    }

    async fn find(&self, name: &str) -> Result<Option<Container>, Error> {
        self.request(|world| {
            let found = world.containers.iter().find(|one| one.name == name);
            Ok(found.cloned())
        })
    }

    async fn provide_image(&self, _: &Spec, _: &Owner, _: Progress<'_>) -> Result<(), Error> {
        Ok(())
    }

    async fn create(
        &self,
        name: &str,
        spec: &Spec,
        labels: &BTreeMap<String, String>,
        volumes: &[Volume],
    ) -> Result<String, Error> {
        self.request(|world| {
            if world.containers.iter().any(|one| one.name == name) {
                return Err(error("the name is taken"));
            }
            world.made += 1;
            let id = format!("{:064x}", world.made);
            let mut container = as_made(spec, labels, "172.17.0.2");
            container.id.clone_from(&id);
            name.clone_into(&mut container.name);
            container.state = State::Created;
            let kept = volumes.iter().find(|volume| volume.container == DATA);
            container.anonymous = vec![Volume {
                host: kept.map_or_else(|| id.clone(), |kept| kept.host.clone()),
                container: DATA.to_owned(),
                read_only: false,
            }];
            world.containers.push(container);
            Ok(id)
        })
    }

    async fn start(&self, id: &str) -> Result<(), Error> {
        self.request(|world| {
            let found = world.get(id)?;
            let (name, ports) = (found.name.clone(), found.ports().clone());
            let others = world.containers.iter();
            let others = others.filter(|one| one.id != id && one.state.holds_processes());
            let held: Vec<&Port> = others.flat_map(Container::ports).collect();
            let is_held = |port: &&Port| {
                held.iter().any(|held| held.conflicts_with(port))
                    || world.reserved.contains(&port.public)
            };
            if let Some(port) = ports.iter().find(is_held) {
                return Err(Error::PortAllocated {
                    host: "web".to_owned(),
                    name,
                    port: port.public,
                    is_by_engine: true,
                });
            }
            world.get(id)?.state = State::Running;
            let running = world.containers.iter();
            let running = running.filter(|one| one.state == State::Running);
            let ours = running.filter(|one| one.labels.contains_key(labels::NAME));
            assert!(ours.count() <= 1, "two would write to one volume");
            Ok(())
        })
    }

    async fn stop(&self, id: &str) -> Result<(), Error> {
        self.request(|world| {
            world.get(id)?.state = State::Exited;
            Ok(())
        })
    }

    async fn stop_at_once(&self, id: &str) -> Result<(), Error> {
        self.stop(id).await
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), Error> {
        self.request(|world| {
            if world.containers.iter().any(|one| one.name == name) {
                return Err(error("the name is taken"));
            }
            name.clone_into(&mut world.get(id)?.name);
            Ok(())
        })
    }

    async fn update(&self, id: &str, _: &Spec) -> Result<(), Error> {
        self.request(|world| world.get(id).map(drop))
    }

    async fn disable_restart(&self, id: &str) -> Result<(), Error> {
        self.request(|world| world.get(id).map(drop))
    }

    async fn wait_until_ready(&self, id: &str, _: &Spec) -> Result<(), Error> {
        self.request(|world| {
            let container = world.get(id)?;
            if container.options.environment().contains_key(BROKEN) {
                return Err(Error::NotReady {
                    host: "web".to_owned(),
                    name: container.name.clone(),
                    cause: "ended with status 1".to_owned(),
                    log: String::new(),
                    now: String::new(),
                });
            }
            Ok(())
        })
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        self.request(|world| {
            world.containers.retain(|one| one.id != id);
            Ok(())
        })
    }
}

fn owner() -> Owner {
    Owner {
        project: "p".to_owned(),
        manifest: Some("shop".to_owned()),
    }
}

fn spec(version: &str) -> Spec {
    Spec::new("app", Image::Named(format!("app:{version}")))
}

fn broken() -> Spec {
    let mut spec = spec("broken");
    spec.options
        .add_environment([(BROKEN.to_owned(), String::new())]);
    spec
}

fn quiet(_: String) {}

/// Does what `ensemble.up` decides to do with what it finds.
async fn up(engine: &Memory, spec: &Spec, adopt: Option<&str>) -> Result<(), Error> {
    let owner = owner();
    let replacement = Replacement {
        engine,
        spec,
        owner: &owner,
        adopt,
    };
    let names = Names::of(&spec.name);
    let is_same = |one: &Container| one.compare(spec, None).replace.is_empty();
    let current = engine.find(&spec.name).await?;
    let new = engine.find(&names.new).await?.filter(is_same);
    let old = engine.find(&names.old).await?.filter(is_same);
    match (current, new, old) {
        (Some(current), ..) if is_same(&current) => match current.state {
            State::Running => replacement.update(&current.id).await,
            _ => replacement.restart(&current.id, &quiet).await,
        },
        (Some(current), ..) => replacement.replace(&current.id, &quiet).await,
        (None, Some(new), _) => replacement.finish(&new.id, &quiet).await,
        (None, None, Some(old)) => replacement.restart(&old.id, &quiet).await,
        (None, None, None) => match engine.find(&names.old).await? {
            // An edit after a restart that was killed: the user says that it may be replaced.
            Some(old) => {
                let adopting = Replacement {
                    adopt: Some(&old.id),
                    ..replacement
                };
                adopting.replace(&old.id, &quiet).await
            }
            None => replacement.create(&quiet).await,
        },
    }
    .map(drop)
}

/// Kills a run before and after each of its requests, and lets the next one finish.
async fn kill_everywhere(
    start: impl Fn(&Memory) -> Option<String>,
    first: &Spec,
    then: &Spec,
    check: impl Fn(&Memory),
) {
    for takes_effect in [false, true] {
        for left in 0.. {
            let engine = Memory::default();
            let adopt = start(&engine);
            engine.world().left = Some((left, takes_effect));
            let _killed = up(&engine, first, adopt.as_deref()).await;
            let was_killed = engine.world().left.is_some_and(|(left, _)| left == 0);
            engine.world().left = None;
            let again = up(&engine, then, adopt.as_deref()).await;
            assert!(again.is_ok(), "{left}: {again:?} {:?}", engine.shown());
            check(&engine);
            // Nothing is left to do.
            let before = engine.shown();
            up(&engine, then, adopt.as_deref()).await.unwrap();
            assert_eq!(engine.shown(), before);
            if !was_killed {
                break;
            }
        }
    }
}

/// A container that was created by this owner, running or stopped, and its volume.
fn ours(engine: &Memory, state: State) -> String {
    let labels = labels::of(&owner(), "app");
    engine.add("app", &spec("1"), &labels, state)
}

/// Containers that look like steps of a replacement, and are not.
fn strangers(engine: &Memory) {
    for name in ["app.bak", "db", "app.olds"] {
        engine.add(name, &spec("1"), &BTreeMap::new(), State::Running);
    }
}

#[tokio::test]
async fn a_replacement_that_is_killed() {
    let start = |engine: &Memory| {
        ours(engine, State::Running);
        strangers(engine);
        None
    };
    kill_everywhere(start, &spec("2"), &spec("2"), |engine| {
        let shown = engine.shown();
        assert_eq!(shown.len(), 4, "{shown:?}");
        let volume = format!("{:064x}", 1);
        assert_eq!(shown[0], ("app".to_owned(), State::Running, volume));
        assert_eq!(engine.world().containers.last().unwrap().image, "app:2");
    })
    .await;
}

#[tokio::test]
async fn a_replacement_that_is_killed_and_taken_back() {
    let start = |engine: &Memory| {
        ours(engine, State::Running);
        None
    };
    kill_everywhere(start, &spec("2"), &spec("1"), |engine| {
        let volume = format!("{:064x}", 1);
        assert_eq!(engine.shown(), [("app".to_owned(), State::Running, volume)]);
        assert_eq!(engine.world().containers[0].image, "app:1");
    })
    .await;
}

#[tokio::test]
async fn a_failed_replacement_that_is_killed() {
    let start = |engine: &Memory| {
        ours(engine, State::Running);
        None
    };
    kill_everywhere(start, &broken(), &spec("1"), |engine| {
        let shown = engine.shown();
        let volume = format!("{:064x}", 1);
        assert_eq!(shown[0], ("app".to_owned(), State::Running, volume));
        assert!(
            shown[1..].iter().all(|one| one.0 == "app.failed"),
            "{shown:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_restart_that_is_killed() {
    for then in ["1", "2"] {
        let start = |engine: &Memory| {
            ours(engine, State::Exited);
            strangers(engine);
            None
        };
        kill_everywhere(start, &spec("1"), &spec(then), |engine| {
            let volume = format!("{:064x}", 1);
            let shown = engine.shown();
            assert_eq!(shown.len(), 4, "{shown:?}");
            assert_eq!(shown[0], ("app".to_owned(), State::Running, volume));
        })
        .await;
    }
}

#[tokio::test]
async fn an_adoption_that_is_killed() {
    let start =
        |engine: &Memory| Some(engine.add("app", &spec("1"), &BTreeMap::new(), State::Running));
    kill_everywhere(start, &spec("2"), &spec("2"), |engine| {
        let volume = format!("{:064x}", 1);
        assert_eq!(engine.shown(), [("app".to_owned(), State::Running, volume)]);
        let labels = engine.world().containers[0].labels.clone();
        assert!(labels::ownership(&labels).is(&owner()));
    })
    .await;
}

#[tokio::test]
async fn a_failure_says_what_was_done() {
    let engine = Memory::default();
    ours(&engine, State::Running);
    let failed = up(&engine, &broken(), None).await.unwrap_err();
    let Error::NotReady { now, .. } = failed else {
        panic!("{failed}");
    };
    assert_eq!(
        now,
        "it is stopped, and kept as `app.failed`; the previous container runs again"
    );
    let states: Vec<_> = engine
        .shown()
        .into_iter()
        .map(|one| (one.0, one.1))
        .collect();
    assert_eq!(
        states,
        [
            ("app".to_owned(), State::Running),
            ("app.failed".to_owned(), State::Exited)
        ]
    );
}

#[tokio::test]
async fn strangers_in_the_way() {
    let other = Owner {
        manifest: None,
        ..owner()
    };
    let legacy = BTreeMap::from([(labels::SPEC.to_owned(), "v1:0".to_owned())]);
    for (labels, whose) in [
        (BTreeMap::new(), "was not created by hitc"),
        (
            legacy,
            "was created by a version of hitc without project ids",
        ),
        (labels::of(&other, "app"), "belongs to project p"),
        // The labels of one of ours with another name: an image of it, or a renamed container.
        (
            labels::of(&owner(), "web"),
            "has the labels of container `web` and another name",
        ),
    ] {
        for name in ["app.new", "app.old", "app.failed"] {
            let engine = Memory::default();
            ours(&engine, State::Running);
            engine.add(name, &spec("1"), &labels, State::Exited);
            let before = engine.shown();
            let failed = up(&engine, &spec("2"), None).await.unwrap_err().to_string();
            let expected = format!(
                "host `web`: container `{name}` has a name that is needed to create or replace `app`; it {whose}"
            );
            assert_eq!(failed, expected);
            assert_eq!(engine.shown(), before);
        }
        let engine = Memory::default();
        engine.add("app", &spec("1"), &labels, State::Running);
        let failed = up(&engine, &spec("2"), None).await.unwrap_err().to_string();
        assert_eq!(failed, format!("host `web`: container `app` {whose}"));
    }
}

/// A container that publishes the same port by another protocol does not hold it.
#[tokio::test]
async fn the_holder_of_a_port_has_its_protocol() {
    let publishing = |port: &str| {
        let options = format!("image=app:1,ports={port}");
        let value = Value {
            data: Data::Map(Value::text(&options).to_map("x").unwrap()),
            span: None,
        };
        Spec::decode("app", &value, &Inputs::default(), "container").unwrap()
    };
    let engine = Memory::default();
    for (name, port) in [("by-udp", "53/udp"), ("by-tcp", "53")] {
        engine.add(name, &publishing(port), &BTreeMap::new(), State::Running);
    }
    let refused = up(&engine, &publishing("53"), None).await.unwrap_err();
    let Error::PortTaken { port, holder, .. } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((port, holder.as_str()), (53, "by-tcp"));
}

/// An engine that refuses a port which no container holds has to be restarted, and the error says so.
#[tokio::test]
async fn a_port_that_the_engine_did_not_release() {
    let value = Value {
        data: Data::Map(Value::text("image=app:1,ports=80").to_map("x").unwrap()),
        span: None,
    };
    let spec = Spec::decode("app", &value, &Inputs::default(), "container").unwrap();
    let engine = Memory::default();
    engine.world().reserved.push(80);
    let refused = up(&engine, &spec, None).await.unwrap_err();
    assert_eq!(refused.reserved_port(), Some(80));
    let shown = Diagnostic::from(refused);
    assert_eq!(
        shown.message,
        "host `web`: the engine still reserves port 80 for a container that no longer runs"
    );
    let help = "restart the Docker Engine there with `sudo systemctl restart docker`";
    assert_eq!(shown.help.as_deref(), Some(help));
}
