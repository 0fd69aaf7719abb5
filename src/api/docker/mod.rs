//! `docker::`: containers and images on servers.
//!
//! A file registers the functions of one noun.

mod bind;
mod container;
mod copy;
mod details;
mod engine;
mod image;
mod inside;
mod registry;
mod resources;
mod setup;
mod shell;
mod tunnel;
mod watch;

use std::sync::Arc;

pub(super) use engine::{change_container, ensure_engine, project_owner};

use super::{Api, namespace::Namespace};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut docker = Namespace::new(
        api,
        "docker",
        "Containers on servers. `run`, `kill`, `stop`, `start`, `restart`, `bind`, `unbind`, `prune` and
         `setup` lock the server for the time of the call, `run` without the time that its image takes. They
         wait for another run that changes the server: for as long as `--wait-lock` says, without it for a
         minute.",
    );
    setup::register(&mut docker);
    container::register(&mut docker);
    bind::register(&mut docker);
    image::register(&mut docker);
    details::register(&mut docker);
    watch::register(&mut docker);
    copy::register(&mut docker);
    resources::register(&mut docker);
    inside::register(&mut docker);
    shell::register(&mut docker);
    tunnel::register(&mut docker);
    registry::register(&mut docker);
    docker
}
