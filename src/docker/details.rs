//! `docker.inspect` and `docker.top`: what the engine knows about one container.

use bollard::query_parameters::TopOptionsBuilder;
use serde_json::Value as Json;

use super::{Containers, Engine, Error, container::Container, container::labels};

/// The mask of a secret value.
const MASK: &str = "***";

/// The processes of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// The titles of the columns.
    pub titles: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

impl Engine {
    /// All that the engine says about the container with exactly this name. Values that were secret
    /// when hitc created it are masked.
    pub async fn details(&self, name: &str) -> Result<Json, Error> {
        let found = self.named(name).await?;
        let inspected = self.inspected(&found.id).await;
        let inspected = inspected.map_err(|error| self.of(&found.id, "inspecting", &error))?;
        let mut json = serde_json::to_value(inspected).map_err(|error| Error::Api {
            host: self.host().to_owned(),
            what: format!("reading container `{name}`"),
            cause: error.to_string(),
        })?;
        mask(&mut json, &found);
        Ok(json)
    }

    /// The processes of the container with exactly this name.
    pub async fn processes(&self, name: &str) -> Result<Processes, Error> {
        let found = self.named(name).await?;
        let options = TopOptionsBuilder::new().ps_args("-ef").build();
        let top = self.docker.top_processes(&found.id, Some(options)).await;
        let top = top.map_err(|error| self.of(&found.id, "listing the processes of", &error))?;
        Ok(Processes {
            titles: top.titles.unwrap_or_default(),
            rows: top.processes.unwrap_or_default(),
        })
    }
}

/// Masks the options whose names the container's label lists: `environment.NAME`, `command`.
fn mask(json: &mut Json, container: &Container) {
    let masked = container.labels.get(labels::MASKED);
    let masked: Vec<&str> = masked.map_or("", String::as_str).split(',').collect();
    if let Some(Json::Array(variables)) = json.pointer_mut("/Config/Env") {
        for variable in variables {
            let text = variable.as_str().unwrap_or_default();
            let name = text.split('=').next().unwrap_or_default();
            let field = format!("environment.{name}");
            if masked.contains(&field.as_str()) || masked.contains(&"environment") {
                *variable = format!("{name}={MASK}").into();
            }
        }
    }
    if let Some(Json::Object(all)) = json.pointer_mut("/Config/Labels") {
        for (name, value) in all.iter_mut() {
            if masked.contains(&format!("labels.{name}").as_str()) || masked.contains(&"labels") {
                *value = MASK.into();
            }
        }
    }
    for (option, places) in [
        ("command", &["/Config/Cmd", "/Args", "/Path"][..]),
        ("entrypoint", &["/Config/Entrypoint", "/Args", "/Path"][..]),
    ] {
        if masked.contains(&option) {
            for place in places {
                if let Some(value) = json.pointer_mut(place) {
                    *value = MASK.into();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::docker::{Image, Spec, as_made};

    #[test]
    fn secret_values_are_masked() {
        let spec = Spec::new("shop", Image::Named("shop:1".to_owned()));
        let mut shop = as_made(&spec, &std::collections::BTreeMap::new(), "172.17.0.2");
        let masked = "environment.KEY,command,labels.token".to_owned();
        shop.labels.insert(labels::MASKED.to_owned(), masked);
        let mut json = json!({
            "Args": ["-p", "hunter2"], "Path": "run",
            "Config": {"Cmd": ["run", "-p", "hunter2"], "Entrypoint": null,
                "Env": ["KEY=hunter2", "KEYS=1", "A=b=c"], "Labels": {"token": "hunter2", "a": "b"}}
        });
        mask(&mut json, &shop);
        let expected = json!({
            "Args": "***", "Path": "***",
            "Config": {"Cmd": "***", "Entrypoint": null,
                "Env": ["KEY=***", "KEYS=1", "A=b=c"], "Labels": {"token": "***", "a": "b"}}
        });
        assert_eq!(json, expected);
    }
}
