//! Stores credentials on a server, for its own docker command.

use std::sync::Arc;

use super::{Registries, config};
use crate::{
    docker::Error,
    machine::{self, Machine, WriteOptions},
    ssh::Command,
};

/// Root's Docker configuration on a server.
const PATH: &str = "/root/.docker/config.json";

impl Registries {
    /// Stores this machine's credentials for a registry in root's Docker configuration on a server,
    /// which keeps everything else. Only root can read it.
    pub async fn store_on(&self, machine: &Arc<dyn Machine>, registry: &str) -> Result<(), Error> {
        let registry = config::registry_of(registry);
        let Some(login) = self.login(registry).await? else {
            return Err(Error::NoLogin {
                registry: registry.to_owned(),
            });
        };
        let fail = |cause: &str| {
            let message = format!("{PATH}: {cause}");
            machine::Error::failed(machine.name(), &message)
        };
        let command = Command::root(format!("if [ -e {PATH} ]; then exec cat {PATH}; fi"));
        let before = machine.run(&command).await?;
        if !before.ok() {
            return Err(fail(&before.tail(1)).into());
        }
        let before = Some(before.stdout.as_slice());
        let content = config::merge(before, registry, &login).map_err(|cause| fail(&cause))?;
        let options = WriteOptions {
            mode: Some("600".to_owned()),
            new_mode: Some("600".to_owned()),
            sudo: true,
            folders: true,
            ..WriteOptions::default()
        };
        machine.put(PATH, content.into(), &options).await?;
        Ok(())
    }
}
