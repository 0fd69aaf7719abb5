//! Local ports that lead to a port of a container.

use super::Inside;
use crate::{
    core::diagnostic::Diagnostic,
    machine,
    ssh::{Endpoint, Forward},
};

impl Inside {
    /// Listens on the local machine and forwards to a port of the container, at the address that it
    /// has at the time: it gets another one when it is restarted. `on_error` gets the errors of
    /// connections.
    pub async fn tunnel(
        &self,
        from: &Endpoint,
        port: u16,
        on_error: impl Fn(Diagnostic) + Clone + Send + Sync + 'static,
    ) -> Result<Forward, machine::Error> {
        let inside = self.clone();
        let dial = move || {
            let (inside, on_error) = (inside.clone(), on_error.clone());
            async move {
                let dialed = inside.dial_port(port).await;
                dialed.map_err(|error| on_error(error.into()))
            }
        };
        Ok(Forward::dialing(&self.name, from, dial).await?)
    }
}
