//! The functions that scripts can call, one file per namespace.
//!
//! A function here converts its arguments, calls one function of a layer below, and converts the
//! result.

mod call;
mod current;
mod docker;
mod ec2;
mod ensemble;
mod env;
mod failure;
mod frame;
mod fs;
mod functions;
mod host;
mod hosts;
mod http;
mod iptables;
mod json;
mod local;
mod local_file;
mod mocked;
mod namespace;
mod provider;
mod secret;
mod ssh;
mod state;
mod task;
mod test;
mod time;
mod ui;
mod value;
mod yaml;

use std::sync::Arc;

pub use current::{current_host, on_host};
pub use failure::{Thrown, exit_of, failure_of, message, throw, throw_all, thrown_by};
pub use frame::Frame;
pub use host::Host;
use namespace::Namespace;
use rhai::{Dynamic, Engine, Map, NativeCallContext};
pub use state::Api;
pub use value::{to_json, to_table};

/// Registers all namespaces.
pub fn register(engine: &mut Engine, api: &Arc<Api>) {
    failure::register(engine);
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
        .with_comments([
            "/// Sets defaults for the flags of hitc. Call it at the top of a hitcfile.",
        ])
        .with_params_info(["settings: map"])
        .register_into_engine(engine, move |ctx: NativeCallContext, settings: Map| {
            api.configure(value::to_options(&settings), ctx.call_position());
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

/// The names of all namespaces, each with its documentation.
pub fn docs() -> Vec<(&'static str, String)> {
    let namespaces = namespaces(&Arc::default());
    namespaces.iter().map(Namespace::doc).collect()
}

/// All functions that change something, each as `NAMESPACE::NAME/PARAMETERS`.
#[cfg(test)]
pub fn changing() -> Vec<String> {
    let namespaces = namespaces(&Arc::default());
    namespaces.iter().flat_map(Namespace::changing).collect()
}
