//! What the ensemble decides and does, in a simulated world: data files, random manifests,
//! interruptions at any operation, two runs at once.

mod against_the_real_engine;
mod batches;
mod cases;
mod generate;
mod interruptions;
mod ports;
mod properties;
mod scale;
mod world;

use std::{path::PathBuf, sync::LazyLock};

use self::world::{Simulated, State};
use super::{
    Manifest, Plan, Request, World,
    converge::{Converging, Goal},
    manifest::read,
};
use crate::core::{
    diagnostic::{Failure, Source},
    event::Events,
    owner::Owner,
};

/// The owner of the manifests of these tests.
fn owner() -> Owner {
    Owner {
        project: "0123456789abcdef0123456789abcdef".to_owned(),
        manifest: Some("it".to_owned()),
    }
}

fn load(text: &str) -> Result<Manifest, Failure> {
    let world = Simulated::new(State::default());
    read(
        "it",
        Source::new("it.yml", text),
        PathBuf::from("."),
        world.providers(),
        &Events::silent(),
    )
}

async fn bring_up(
    world: &Simulated,
    manifest: &Manifest,
    request: &Request,
) -> Result<(), Failure> {
    Converging::new(world, Goal::Up, manifest, owner(), request)?
        .go()
        .await
}

async fn take_down(world: &Simulated, manifest: &Manifest) -> Result<(), Failure> {
    let request = Request {
        prune: true,
        ..Request::default()
    };
    Converging::new(world, Goal::Down, manifest, owner(), &request)?
        .go()
        .await
}

/// The plan that bringing up a manifest would execute.
async fn plan(world: &Simulated, manifest: &Manifest, request: &Request) -> Result<Plan, Failure> {
    let converging = Converging::new(world, Goal::Up, manifest, owner(), request)?;
    Ok(converging.look().await?.made.plan)
}

/// The text of a plan.
fn text_of(plan: &Plan) -> String {
    plan.lines()
        .iter()
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Fails if the JSON form of a plan does not follow `docs/plan.schema.json`.
fn assert_matches_schema(plan: &Plan) {
    static COMPILED: LazyLock<(boon::Schemas, boon::SchemaIndex)> = LazyLock::new(|| {
        const URL: &str = "file:///plan.schema.json";
        let text = include_str!("../../../docs/plan.schema.json");
        let mut compiler = boon::Compiler::new();
        compiler
            .add_resource(URL, serde_json::from_str(text).unwrap())
            .unwrap();
        let mut schemas = boon::Schemas::new();
        let schema = compiler.compile(URL, &mut schemas).unwrap();
        (schemas, schema)
    });
    let (schemas, schema) = &*COMPILED;
    let json = serde_json::to_value(plan).unwrap();
    if let Err(error) = schemas.validate(&json, *schema) {
        panic!("{error:#}\n{json:#}");
    }
}

/// Drives a future of the simulated world to its end.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}
