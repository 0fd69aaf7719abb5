//! What scripts can call: one file a namespace. They convert, call the layers below and convert
//! back; there is no logic here.

mod call;
mod current;
mod docker;
mod ec2;
mod ensemble;
mod env;
mod failure;
mod fs;
mod host;
mod hosts;
mod http;
mod iptables;
mod json;
mod local;
mod namespace;
mod provider;
mod secret;
mod ssh;
mod task;
mod test;
mod time;
mod ui;
mod value;
mod yaml;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use current::{current_host, on_host};
use failure::{Thrown, throw_all};
pub use failure::{failure_of, message, throw, thrown_by};
pub use host::Host;
use namespace::Namespace;
use rhai::{Dynamic, Engine, Map, NativeCallContext, Position};
pub use value::{to_json, to_table};

use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        value::Value,
    },
    session::Session,
};

/// Runs a task by name on hosts, or where it says itself, with values for its parameters.
pub type Runner = Box<
    dyn Fn(&Arc<Session>, &str, Option<Vec<Host>>, Map) -> Result<Dynamic, Failure> + Send + Sync,
>;

/// What the functions of all namespaces share.
#[derive(Default)]
pub struct Api {
    session: OnceLock<Arc<Session>>,
    runner: OnceLock<Runner>,
    config: Mutex<Vec<(Value, Position)>>,
}

impl Api {
    /// From now on functions work. Before that, while scripts are being loaded, they refuse: a
    /// hitcfile that did something just by being read would do it for `hitc tasks` too.
    pub fn start(&self, session: Arc<Session>) {
        // A second start cannot happen: there is one session a run.
        let _ = self.session.set(session);
    }

    /// Says how tasks are run by name: who knows them is not known here.
    pub fn set_runner(&self, runner: Runner) {
        // As for `start`.
        let _ = self.runner.set(runner);
    }

    fn run_task(
        &self,
        session: &Arc<Session>,
        name: &str,
        hosts: Option<Vec<Host>>,
        values: Map,
    ) -> Result<Dynamic, Failure> {
        match self.runner.get() {
            Some(runner) => runner(session, name, hosts, values),
            None => Err(Diagnostic::new(Kind::Usage, "no tasks can be run here").into()),
        }
    }

    /// What the hitcfile gave to `config(…)`, with the places of the calls.
    pub fn config(&self) -> Vec<(Value, Position)> {
        self.config
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Registers all namespaces.
pub fn register(engine: &mut Engine, api: &Arc<Api>) {
    value::register(engine);
    host::register(engine);
    http::register(engine);
    secret::register(engine);
    ui::register(engine);
    for namespace in namespaces(api) {
        namespace.register(engine);
    }
    let api = api.clone();
    rhai::FuncRegistration::new("config")
        .with_comments(["/// Sets defaults for the flags of hitc; at the top of a hitcfile."])
        .with_params_info(["settings: map"])
        .register_into_engine(engine, move |ctx: NativeCallContext, settings: Map| {
            let mut config = api.config.lock().unwrap_or_else(PoisonError::into_inner);
            config.push((value::to_options(&settings), ctx.call_position()));
            Dynamic::UNIT
        });
}

fn namespaces(api: &Arc<Api>) -> Vec<Namespace> {
    vec![
        docker::namespace(api),
        ec2::namespace(api),
        ensemble::namespace(api),
        env::namespace(api),
        fs::namespace(api),
        hosts::namespace(api),
        http::namespace(api),
        iptables::namespace(api),
        json::namespace(api),
        local::namespace(api),
        provider::namespace(api),
        secret::namespace(api),
        ssh::namespace(api),
        task::namespace(api),
        test::namespace(api),
        time::namespace(api),
        ui::namespace(api),
        yaml::namespace(api),
    ]
}

/// The names of all namespaces, and what they are for.
pub fn docs() -> Vec<(&'static str, String)> {
    let namespaces = namespaces(&Arc::default());
    namespaces.iter().map(Namespace::doc).collect()
}
