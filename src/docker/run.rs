//! The task `docker.run` on one server.

use std::{net::IpAddr, path::Path, sync::Arc};

use super::{
    Containers, Engine, EngineStatus, Error, Inputs, Port, Progress, Replacement, Restart,
    SetupOptions, Spec,
    container::{Container, is_name},
    set_up,
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        owner::Owner,
        value::{Data, Entry, Fields, Invalid, Value, shorten},
    },
    machine::Machine,
};

/// The options of `docker.run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The container.
    pub spec: Spec,
    /// Whether it may replace a container of that name.
    pub replace: bool,
    /// Whether that container may belong to another owner, or to none.
    pub adopt: bool,
    /// The manifest of this project that it belongs to; none for a container of a task.
    pub manifest: Option<String>,
    /// Whether to show its output until it ends, rather than to wait until it is ready.
    pub attach: bool,
}

impl Run {
    /// Decodes the options of `docker.run`: those of a container, `name`, `replace`, `adopt`,
    /// `manifest`, `masked` and `attach`.
    /// Without a name, the container is named after its image. Relative paths start at `folder`.
    /// `internal_ip` is the server's internal address.
    ///
    /// # Errors
    /// Names the option that is unknown, missing or invalid.
    pub fn decode(
        options: Value,
        folder: &Path,
        internal_ip: Option<IpAddr>,
    ) -> Result<Self, Diagnostic> {
        let Data::Map(mut entries) = options.data else {
            return Err(Diagnostic::new(Kind::Usage, "docker.run: missing options"));
        };
        let mut take = |key: &str| -> Option<Entry> {
            let at = entries.iter().position(|entry| entry.key == key)?;
            Some(entries.remove(at))
        };
        let flag = |entry: Option<Entry>, key: &str| match entry {
            Some(entry) => entry.value.to_bool(key),
            None => Ok(false),
        };
        let replace = flag(take("replace"), "replace")?;
        let adopt = flag(take("adopt"), "adopt")?;
        let attach = flag(take("attach"), "attach")?;
        let manifest = take("manifest").map(|entry| manifest(&entry.value));
        let manifest = manifest.transpose()?;
        // The fields whose values are not shown, besides those of env files and secrets.
        let masked = take("masked").map(|entry| entry.value.to_list("masked"));
        let masked = masked.transpose()?.unwrap_or_default();
        let masked = masked.iter().map(|field| field.to_text("masked"));
        let masked = masked.collect::<Result<Vec<String>, Invalid>>()?;
        let name = take("name").map(|entry| entry.value.to_text("name"));
        if let Some(ports) = entries.iter_mut().find(|entry| entry.key == "ports") {
            let address = internal_ip.map(|ip| ip.to_string()).unwrap_or_default();
            Port::replace_internal(&mut ports.value, &address);
        }
        let value = Value {
            data: Data::Map(entries),
            span: None,
        };
        let mut fields = Fields::new(&value, "docker.run")?;
        let name = name.transpose()?;
        let name = match (name, fields.take("build")) {
            (Some(name), Some(_)) => name,
            // A misspelt key is reported here: the name may depend on the image.
            (name, _) => {
                let image = fields.require("image")?;
                name.map_or_else(|| image.to_text("image").map(|image| name_of(&image)), Ok)?
            }
        };
        // The rule of the engine (moby: `daemon/names`).
        if name.len() < 2
            || !is_name(&name)
            || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
        {
            let message = format!("name: invalid name `{}` for a container", shorten(&name));
            return Err(Diagnostic::new(Kind::Usage, message).help(
                "write at least two letters, digits, dots, dashes and underscores; the first is a letter or a digit"
                    .to_owned(),
            ));
        }
        let inputs = Inputs::load(folder, [&value]);
        let mut spec = Spec::decode(&name, &value, &inputs, &format!("container `{name}`"))?;
        spec.masked.extend(masked);
        if attach {
            refuse_restarts(&value)?;
            spec.options.set_restart(Restart::No);
        }
        Ok(Run {
            spec,
            replace,
            adopt,
            manifest,
            attach,
        })
    }

    /// Provides the image: all that may take long and changes no container.
    ///
    /// # Errors
    /// Those of [`Run::execute`], before the image is provided.
    pub async fn provide_image(
        &self,
        engine: &dyn Containers,
        owner: &Owner,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        self.replaced(engine, owner).await?;
        engine.provide_image(&self.spec, owner, progress).await
    }

    /// Creates or replaces the container, whose image was provided, and waits until it is ready.
    ///
    /// # Errors
    /// [`Error::NameTaken`] if the name is in use and may not be replaced, [`Error::NotOwned`] if
    /// the other container may not be adopted. Nothing was changed then.
    pub async fn execute(
        &self,
        engine: &dyn Containers,
        owner: &Owner,
        progress: Progress<'_>,
    ) -> Result<Container, Error> {
        let old = self.replaced(engine, owner).await?;
        progress(format!("starting {}", self.spec.name));
        let adopted = old.as_ref().filter(|_| self.adopt);
        let replacement = Replacement {
            engine,
            spec: &self.spec,
            owner,
            adopt: adopted.map(|old| old.id.as_str()),
        };
        match &old {
            Some(old) => replacement.replace(&old.id, progress).await,
            None => replacement.create(progress).await,
        }
    }

    /// The container of that name, which may be replaced; none if the name is free.
    pub(super) async fn replaced(
        &self,
        engine: &dyn Containers,
        owner: &Owner,
    ) -> Result<Option<Container>, Error> {
        let old = engine.find(&self.spec.name).await?;
        if let Some(old) = &old {
            let (host, name) = (engine.host().to_owned(), old.name.clone());
            let found = old.ownership();
            if !self.replace {
                let owner = found;
                return Err(Error::NameTaken { host, name, owner });
            }
            if !self.adopt && !found.is(owner) {
                let owner = found;
                return Err(Error::NotOwned { host, name, owner });
            }
        }
        Ok(old)
    }
}

/// The manifest that a container belongs to: the path of its file in the project, without the ending.
fn manifest(value: &Value) -> Result<String, Invalid> {
    let text = value.to_text("manifest")?;
    if text.is_empty() || text.contains(char::is_control) {
        let message = format!("manifest: invalid name `{}`", shorten(&text));
        return Err(Invalid::new(value, message));
    }
    Ok(text)
}

/// Refuses a restart policy for a container that is waited for until it ends.
fn refuse_restarts(options: &Value) -> Result<(), Diagnostic> {
    let restart = Fields::new(options, "docker.run")?.decode("restart", Value::to_text)?;
    match restart {
        Some(policy) if policy != Restart::No.name() => {
            let message = format!("`restart={policy}` cannot be combined with `attach=true`");
            Err(Diagnostic::new(Kind::Usage, message).help("remove `restart`".to_owned()))
        }
        _ => Ok(()),
    }
}

/// The engine of a server. Docker is installed and started if it is absent; an engine that does not
/// answer is an error.
pub async fn ensure_engine(
    status: EngineStatus,
    machine: &Arc<dyn Machine>,
    progress: Progress<'_>,
) -> Result<Engine, Error> {
    match status {
        EngineStatus::Absent { .. } => {
            progress("setting up Docker".to_owned());
            set_up(machine.as_ref(), &SetupOptions::default()).await?;
            Engine::at(machine).await.running()
        }
        status => status.running(),
    }
}

/// `registry/org/app:1.2` → `app`.
fn name_of(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let end = last.find([':', '@']).unwrap_or(last.len());
    last[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_images() {
        assert_eq!(name_of("nginx"), "nginx");
        assert_eq!(name_of("r:5000/org/app:1.2"), "app");
        assert_eq!(name_of("app@sha256:0"), "app");
    }
}
