//! Networks of an engine, for containers that share one by name.

use std::collections::{BTreeMap, HashMap};

use bollard::{
    errors::Error as BollardError,
    models::{NetworkConnectRequest, NetworkCreateRequest},
    query_parameters::ListNetworksOptionsBuilder,
};

use tokio::sync::Mutex;

use super::{Engine, Error, Spec, labels};

/// The networks that every engine has.
pub(super) const BUILT_IN: [&str; 3] = ["bridge", "host", "none"];

/// Held while networks are created: older engines allow several of one name.
static CREATING: Mutex<()> = Mutex::const_new(());

impl Engine {
    /// Creates the networks of a container that do not exist, as bridges with the labels of its owner.
    pub(super) async fn create_networks(
        &self,
        spec: &Spec,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let names = spec.options.networks().iter();
        let names: Vec<&String> = names
            .filter(|name| !BUILT_IN.contains(&name.as_str()))
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let _one = CREATING.lock().await;
        for name in names {
            let doing = || format!("creating network `{name}`");
            let pattern = format!("^{}$", name.replace('.', "\\."));
            let filters = HashMap::from([("name".to_owned(), vec![pattern])]);
            let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
            let listed = self.docker.list_networks(Some(options)).await;
            let listed = listed.map_err(|error| self.error(doing(), &error))?;
            if listed
                .iter()
                .any(|network| network.name.as_ref() == Some(name))
            {
                continue;
            }
            let request = NetworkCreateRequest {
                name: name.clone(),
                driver: Some("bridge".to_owned()),
                labels: Some(labels::of_owner(labels)),
                ..NetworkCreateRequest::default()
            };
            match self.docker.create_network(request).await {
                // 409: another run has created it in the meantime.
                Ok(_)
                | Err(BollardError::DockerResponseServerError {
                    status_code: 409, ..
                }) => {}
                Err(error) => return Err(self.error(doing(), &error)),
            }
        }
        Ok(())
    }

    /// Connects a container to all networks of its spec but the first, to which the engine connected
    /// it.
    pub(super) async fn connect_networks(&self, id: &str, spec: &Spec) -> Result<(), Error> {
        for name in spec.options.networks().iter().skip(1) {
            let request = NetworkConnectRequest {
                container: id.to_owned(),
                endpoint_config: None,
            };
            let connected = self.docker.connect_network(name, request).await;
            connected.map_err(|error| {
                let container = self.name_of(id);
                self.error(
                    format!("connecting container `{container}` to network `{name}`"),
                    &error,
                )
            })?;
        }
        Ok(())
    }
}
