//! Local ports that lead to a port of a container.

use super::Inside;
use crate::{
    core::diagnostic::Diagnostic,
    machine::{self, Machine},
    ssh::{Endpoint, Forward},
};

impl Inside {
    /// Listens on the local machine and forwards to an address of the container, at the address that it
    /// has at the time: it gets another one when it is restarted. `on_error` gets the errors of
    /// connections.
    pub async fn tunnel(
        &self,
        from: &Endpoint,
        to: &Endpoint,
        on_error: impl Fn(Diagnostic) + Clone + Send + Sync + 'static,
    ) -> Result<Forward, machine::Error> {
        let (inside, to) = (self.clone(), to.clone());
        let dial = move || {
            let (inside, to, on_error) = (inside.clone(), to.clone(), on_error.clone());
            async move {
                let dialed = inside.dial(&to).await;
                dialed.map_err(|error| on_error(error.into()))
            }
        };
        Ok(Forward::dialing(&self.name, from, dial).await?)
    }
}
