//! `depends_on` of a container: the containers that are ready before it is created or replaced.

use super::{
    Manifest, Server,
    template::{list, literal},
};
use crate::core::{
    diagnostic::did_you_mean,
    value::{Data, Fields, Invalid, Span, Value, shorten},
};

/// A container that another one depends on, with all its copies.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// Its server; none for that of the container that depends on it.
    server: Option<String>,
    /// Its name.
    container: String,
    /// The span of the name in the manifest.
    pub span: Option<Span>,
}

/// Reads `[NAME, SERVER.NAME]`, or docker-compose's `{NAME: {condition: service_healthy}}`.
pub(super) fn read(value: &Value, what: &str) -> Result<Vec<Dependency>, Invalid> {
    if let Data::Map(entries) = &value.data {
        let entries = entries.iter();
        return entries
            .map(|entry| {
                condition(&entry.value, &format!("{what}: `{}`", shorten(&entry.key)))?;
                Ok(Dependency::of(&entry.key, entry.key_span.clone()))
            })
            .collect();
    }
    let names = value.to_list(what)?.into_iter();
    names
        .map(|name| {
            let text = literal(&name, what)?.to_text(what)?;
            Ok(Dependency::of(&text, name.span.clone()))
        })
        .collect()
}

/// Refuses conditions of docker-compose that hitc does not wait for.
fn condition(value: &Value, what: &str) -> Result<(), Invalid> {
    let mut fields = Fields::new(value, what)?;
    if let Some(condition) = fields.take("condition") {
        let text = literal(&condition, "condition")?.to_text("condition")?;
        if !["service_healthy", "service_started"].contains(&text.as_str()) {
            let message = format!("{what}: unsupported condition `{}`", shorten(&text));
            return Err(Invalid::new(&condition, message).help(
                "hitc waits until a container is ready, as its `ready` says: write a list of names"
                    .to_owned(),
            ));
        }
    }
    fields.finish()
}

impl Dependency {
    fn of(text: &str, span: Option<Span>) -> Self {
        // Names of containers have no dots; addresses of servers have.
        match text.rsplit_once('.') {
            Some((server, container)) => Dependency {
                server: Some(server.to_owned()),
                container: container.to_owned(),
                span,
            },
            None => Dependency {
                server: None,
                container: text.to_owned(),
                span,
            },
        }
    }

    /// The containers that are meant, as the names of their servers and their own. The name of the first
    /// copy that a `count` makes stands for all copies.
    pub fn targets<'a>(
        &'a self,
        manifest: &'a Manifest,
        host: &'a Server,
    ) -> Vec<(&'a str, &'a str)> {
        let servers = match &self.server {
            None => vec![host],
            Some(name) => manifest.servers_named(name),
        };
        let of = |server: &'a Server| {
            let named = server.containers_named(&self.container).into_iter();
            named.map(|container| (server.name.as_str(), container.name.as_str()))
        };
        servers.into_iter().flat_map(of).collect()
    }

    /// Fails if there is no such container.
    pub(super) fn check(&self, manifest: &Manifest, host: &Server) -> Result<(), Invalid> {
        let not_found = |what: &str, name: &str, known: &[&str]| {
            let near = did_you_mean(name, known.iter().copied());
            let help = near.or_else(|| {
                let some = !known.is_empty();
                some.then(|| format!("the {what}s are {}", list(known)))
            });
            let message = format!("depends_on: {what} `{}` not found", shorten(name));
            Invalid::at(self.span.clone(), message).help(help)
        };
        let server = match &self.server {
            None => host,
            Some(name) => manifest.server(name).ok_or_else(|| {
                let known: Vec<&str> = manifest.servers.iter().map(|s| s.name.as_str()).collect();
                not_found("server", name, &known)
            })?,
        };
        server.container(&self.container).map(drop).ok_or_else(|| {
            let known = server.containers.iter().map(|c| c.name.as_str());
            not_found("container", &self.container, &known.collect::<Vec<_>>())
        })
    }
}
