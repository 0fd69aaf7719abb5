//! Compares the simulated engine with the Docker Engine of this machine: the same calls in the same
//! order must have the same results.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::Path,
    sync::Arc,
};

use super::{
    bring_up, load,
    world::{Simulated, State},
};
use crate::{
    core::{event::Events, owner::Owner, value::Value},
    docker::{self, Container, Containers, Image, Inputs, Pull, Spec},
    ensemble::{Request, World, tests::world::Consenting},
    provider::{Local, Provider},
};

/// What the tests' containers have in common: their names begin with it.
const PREFIX: &str = "hitc-compared";

/// An image that declares a volume, and one whose program ends at once. The simulated engine knows
/// such images by the beginnings of their names.
const DATA_IMAGE: &str = "data-hitc-compared:1";
const BROKEN_IMAGE: &str = "broken-hitc-compared:1";

const DATA_DOCKERFILE: &str = r#"
FROM hitc/debian:13 AS tools
FROM scratch
COPY --from=tools /usr/bin/busybox /bin/busybox
VOLUME /data
CMD ["/bin/busybox", "sleep", "600"]
"#;

const BROKEN_DOCKERFILE: &str = r#"
FROM hitc/debian:13 AS tools
FROM scratch
COPY --from=tools /usr/bin/busybox /bin/busybox
CMD ["/bin/busybox", "false"]
"#;

/// The calls of one engine and their results.
struct Recorder<'a> {
    engine: &'a dyn Containers,
    /// The build folders of the images.
    folders: &'a Path,
    /// A port that is free on this machine.
    port: u16,
    /// Full ids, by the names that the transcript uses instead of them.
    ids: BTreeMap<String, String>,
    lines: Vec<String>,
    /// The anonymous volumes of the containers.
    volumes: BTreeSet<String>,
}

impl Recorder<'_> {
    fn spec(&self, image: &str, options: &[(&str, &str)]) -> Spec {
        let pairs = [("image", image)];
        let pairs = pairs.iter().chain(options);
        let value = Value::map(pairs.map(|(key, value)| (*key, Value::text(*value))));
        let mut spec = Spec::decode(PREFIX, &value, &Inputs::default(), "container").unwrap();
        let (folder, ..) = image.split_once('-').unwrap();
        if self.folders.join(folder).exists() {
            spec.image = Image::Built {
                folder: self.folders.join(folder),
                name: image.to_owned(),
            };
        } else {
            spec.pull = Pull::Never;
        }
        spec
    }

    fn id(&self, name: &str) -> &str {
        &self.ids[name]
    }

    /// Adds a line: the call, and its result or the kind of its error.
    fn note<T>(&mut self, call: &str, result: Result<T, docker::Error>) -> Option<T> {
        let outcome = match &result {
            Ok(_) => "done".to_owned(),
            Err(docker::Error::NameTaken { name, owner, .. }) => {
                format!("the name {name} is taken: {owner}")
            }
            Err(docker::Error::NoImage { image, .. }) => format!("there is no image {image}"),
            Err(docker::Error::NoContainer { .. }) => "there is no such container".to_owned(),
            Err(docker::Error::PortAllocated { port, .. }) => {
                format!(
                    "port {} is allocated",
                    i32::from(*port) - i32::from(self.port)
                )
            }
            Err(docker::Error::NotReady { .. }) => "not ready".to_owned(),
            Err(error) => panic!("{call}: {error}"),
        };
        self.lines.push(format!("{call}: {outcome}"));
        result.ok()
    }

    async fn create(&mut self, id: &str, name: &str, spec: &Spec, volumes_of: Option<&str>) {
        let name = format!("{PREFIX}-{name}");
        let volumes = match volumes_of {
            Some(other) => {
                self.engine
                    .inspect(self.id(other))
                    .await
                    .unwrap()
                    .unwrap()
                    .anonymous
            }
            None => Vec::new(),
        };
        let labels = BTreeMap::from([("compared".to_owned(), "yes".to_owned())]);
        let created = self.engine.create(&name, spec, &labels, &volumes).await;
        if let Some(created) = self.note(&format!("create {id} as {name}"), created) {
            self.ids.insert(id.to_owned(), created);
        }
    }

    async fn start(&mut self, id: &str) {
        let result = self.engine.start(self.id(id)).await;
        self.note(&format!("start {id}"), result);
    }

    async fn stop(&mut self, id: &str) {
        let result = self.engine.stop(self.id(id)).await;
        self.note(&format!("stop {id}"), result);
    }

    async fn rename(&mut self, id: &str, name: &str) {
        let name = format!("{PREFIX}-{name}");
        let result = self.engine.rename(self.id(id), &name).await;
        self.note(&format!("rename {id} to {name}"), result);
    }

    async fn update(&mut self, id: &str, spec: &Spec) {
        let result = self.engine.update(self.id(id), spec).await;
        self.note(&format!("update {id}"), result);
    }

    async fn disable_restart(&mut self, id: &str) {
        let result = self.engine.disable_restart(self.id(id)).await;
        self.note(&format!("disable the restart of {id}"), result);
    }

    async fn wait(&mut self, id: &str, spec: &Spec) {
        let result = self.engine.wait_until_ready(self.id(id), spec).await;
        self.note(&format!("wait for {id}"), result);
    }

    async fn remove(&mut self, id: &str) {
        let result = self.engine.remove(self.id(id)).await;
        self.note(&format!("remove {id}"), result);
    }

    /// Adds everything that the ensemble reads of the containers, compared with a spec.
    async fn look(&mut self, spec: &Spec) {
        let snapshot = self.engine.snapshot().await.unwrap();
        let image_id = snapshot.images.get(spec.image.name());
        for container in snapshot.containers {
            if !container.name.starts_with(PREFIX) {
                continue;
            }
            let volumes = container.anonymous.iter();
            self.volumes
                .extend(volumes.map(|volume| volume.host.clone()));
            assert_eq!(
                self.engine.inspect(&container.id).await.unwrap().as_ref(),
                Some(&container)
            );
            assert_eq!(
                self.engine.find(&container.name).await.unwrap().as_ref(),
                Some(&container)
            );
            let line = self.describe(&container, spec, image_id.map(String::as_str));
            self.lines.push(line);
        }
    }

    fn describe(&self, container: &Container, spec: &Spec, image_id: Option<&str>) -> String {
        let id = self.ids.iter().find(|(_, id)| **id == container.id);
        let differences = container.compare(spec, image_id);
        let fields = |changes: Vec<crate::core::change::Change>| -> BTreeSet<String> {
            changes.into_iter().map(|change| change.field).collect()
        };
        format!(
            "  {} is {}: {:?}, {} address, {}, {:?}, in place {:?}, by replacing {:?}, {} volumes",
            container.name,
            id.map_or("unknown", |(name, _)| name),
            container.state,
            if container.ip.is_some() { "an" } else { "no" },
            container.image,
            container.labels.get("compared"),
            fields(differences.in_place),
            fields(differences.replace),
            container.anonymous.len(),
        )
    }
}

/// Calls everything that the ensemble calls, in the order of replacements, with their failures. Returns
/// the transcript, and the anonymous volumes of the containers, which are removed at the end.
async fn record(
    engine: &dyn Containers,
    folders: &Path,
    port: u16,
) -> (Vec<String>, BTreeSet<String>) {
    let mut on = Recorder {
        engine,
        folders,
        port,
        ids: BTreeMap::new(),
        lines: Vec::new(),
        volumes: BTreeSet::new(),
    };
    let published = port.to_string();
    let one = on.spec(DATA_IMAGE, &[("ports", &published), ("stop_timeout", "1s")]);
    let two = on.spec(
        DATA_IMAGE,
        &[
            ("ports", &published),
            ("stop_timeout", "1s"),
            ("environment", "A=1"),
            ("max_memory", "64m"),
        ],
    );
    let missing = on.spec("missing-hitc-compared:1", &[]);
    let owner = Owner {
        project: "compared".to_owned(),
        manifest: None,
    };
    on.create("none", "x", &missing, None).await;
    for (name, spec) in [("data", &one), ("broken", &on.spec(BROKEN_IMAGE, &[]))] {
        let provided = engine.provide_image(spec, &owner, &|_| ()).await;
        on.note(&format!("provide {name}"), provided);
    }
    on.create("a", "web", &one, None).await;
    on.look(&one).await;
    on.create("none", "web", &one, None).await;
    on.start("a").await;
    on.start("a").await;
    on.look(&one).await;
    on.look(&two).await;
    on.create("b", "web.new", &two, Some("a")).await;
    on.start("b").await;
    on.look(&two).await;
    on.rename("b", "web").await;
    on.rename("a", "web.old").await;
    on.stop("a").await;
    on.stop("a").await;
    on.start("b").await;
    on.rename("b", "web").await;
    on.look(&two).await;
    on.remove("a").await;
    on.remove("a").await;
    on.start("a").await;
    on.stop("a").await;
    on.rename("a", "gone").await;
    on.update("a", &two).await;
    on.disable_restart("a").await;
    on.look(&one).await;
    let limited = on.spec(
        DATA_IMAGE,
        &[
            ("ports", &published),
            ("stop_timeout", "1s"),
            ("environment", "A=1"),
            ("max_memory", "32m"),
            ("cpus", "0.5"),
            ("restart", "always"),
        ],
    );
    on.update("b", &limited).await;
    on.look(&limited).await;
    on.disable_restart("b").await;
    on.look(&limited).await;
    let broken = on.spec(BROKEN_IMAGE, &[("restart", "no")]);
    on.create("c", "broken", &broken, None).await;
    on.start("c").await;
    on.wait("c", &broken).await;
    on.remove("c").await;
    on.remove("b").await;
    on.look(&one).await;
    (on.lines, on.volumes)
}

/// Removes what an earlier run of this test left, and what this one leaves.
async fn clean(engine: &dyn Containers) {
    for container in engine.snapshot().await.unwrap().containers {
        if container.name.starts_with(PREFIX) && container.labels.contains_key("compared") {
            engine.remove(&container.id).await.unwrap();
        }
    }
}

#[test]
fn the_simulated_engine_answers_as_the_real_one() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folders = tempfile::tempdir().unwrap();
    for (name, dockerfile) in [("data", DATA_DOCKERFILE), ("broken", BROKEN_DOCKERFILE)] {
        fs::create_dir(folders.path().join(name)).unwrap();
        fs::write(folders.path().join(name).join("Dockerfile"), dockerfile).unwrap();
    }
    let port = TcpListener::bind("0.0.0.0:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();

    let real = runtime.block_on(async {
        let local = Local::new("HITC-compared-", folders.path().to_owned());
        let events = Events::new(Arc::new(Consenting));
        local
            .set_up(&events.start("local", "setting up"))
            .await
            .unwrap();
        let engine = docker::Engine::here().await.unwrap();
        clean(&engine).await;
        let (lines, volumes) = record(&engine, folders.path(), port).await;
        clean(&engine).await;
        assert!(!volumes.is_empty());
        for volume in volumes {
            let found = engine.api().inspect_volume(&volume).await;
            assert!(found.is_err(), "{volume} is left");
        }
        lines
    });
    let simulated = runtime.block_on(async {
        let world = Simulated::new(State::default());
        let manifest =
            load("a:\n  provider: local\n  containers: {app: {image: \"app:1\"}}\n").unwrap();
        bring_up(&world, &manifest, &Request::default())
            .await
            .unwrap();
        let node = world.state().server("a").node.clone();
        let _lock = world
            .lock(&node, "test", std::time::Duration::ZERO)
            .await
            .unwrap();
        let engine = world.engine(&node).await.unwrap().unwrap();
        let (lines, _) = record(&*engine, folders.path(), port).await;
        let engine = &world.state().server("a").engine.clone().unwrap();
        assert!(engine.volumes.is_empty());
        lines
    });
    assert_eq!(simulated.join("\n"), real.join("\n"));
}
