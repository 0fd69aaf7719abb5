//! Orders servers: finds those that are missing, quotes their cost, and creates them.

use std::{collections::HashMap, sync::Arc, time::Instant};

use futures_util::future::join_all;

use super::wait::bring_up;
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        owner::Owner,
        value::{Data, Fields, Invalid, Value},
    },
    inventory::{Access, Providers},
    provider::{
        self, Create, MOST, NAME_RULE, Node, Provider, is_name, numbered, refuse_shared_address,
    },
};

/// An order for servers of one provider, which differ only in their names.
pub struct Order {
    /// The provider.
    pub provider: Arc<dyn Provider>,
    names: Vec<String>,
    options: Value,
}

/// The servers that an order would create, and their cost.
pub struct Quote {
    /// The names of the servers that do not exist yet, or whose creation was interrupted.
    pub names: Vec<String>,
    /// Their cost, if any.
    pub cost: Option<String>,
    /// The existing servers among them, whose creation is continued.
    unfinished: HashMap<String, Node>,
}

/// Fails if a server cannot have this name.
pub fn check_name(name: &str) -> Result<(), Diagnostic> {
    if is_name(name) {
        return Ok(());
    }
    let message = format!("invalid server name `{name}`");
    Err(Diagnostic::new(Kind::Usage, message).help(NAME_RULE.to_owned()))
}

impl Order {
    /// Decodes an order from a user's options: `provider`, `name`, `count`, and the provider's own.
    pub fn decode(
        options: &Value,
        providers: &Providers,
        default_provider: &str,
    ) -> Result<Self, Diagnostic> {
        let invalid = |error: Invalid| Diagnostic::from(error);
        let mut fields = Fields::new(options, "create").map_err(invalid)?;
        let text = |value: &Value, what: &str| value.to_text(what);
        let provider = fields.decode("provider", text).map_err(invalid)?;
        let provider = provider.unwrap_or_else(|| default_provider.to_owned());
        let provider = providers.get(&provider)?.clone();
        let name = fields.require("name").map_err(|mut error| {
            let example = || "write `hitc run create name=web`".to_owned();
            error.help.get_or_insert_with(example);
            Diagnostic::from(error)
        })?;
        let name = name.to_text("name").map_err(invalid)?;
        check_name(&name)?;
        let count = fields
            .decode("count", |value, what| value.to_integer(what, 1..MOST + 1))
            .map_err(invalid)?
            .unwrap_or(1);
        let options = Value {
            data: Data::Map(fields.rest()),
            span: None,
        };
        provider.validate(&options).map_err(invalid)?;
        refuse_shared_address(&options, count).map_err(invalid)?;
        Ok(Order {
            provider,
            names: numbered(&name, count),
            options,
        })
    }

    /// Checks the options with the provider, and returns what `count` servers cost.
    async fn price(&self, count: usize) -> Result<Option<String>, provider::Error> {
        // All names follow one rule, so that one is checked for all.
        let name = self.names.last().map_or("", String::as_str);
        Ok(self.provider.quote(name, &self.options).await?.of(count))
    }

    /// Finds the servers that do not exist yet, and their cost, so that the next run completes an
    /// order that failed for some servers. `note` is called for those that exist.
    ///
    /// A server of another owner under one of the names is an error. `project` is the id of the
    /// user's project, if it has one.
    pub async fn quote(
        &self,
        project: Option<&str>,
        note: impl Fn(String),
    ) -> Result<Quote, Failure> {
        let existing = self.provider.list().await.map_err(Diagnostic::from)?;
        let owner = project.map(|project| Owner {
            project: project.to_owned(),
            manifest: None,
        });
        let is_wanted = |node: &Node| self.names.contains(&node.name);
        let looked_up = existing.into_iter().filter(is_wanted).map(async |node| {
            // A list may lag behind, and show servers that are gone.
            let is_gone = matches!(self.provider.find(&node).await, Ok(None));
            (!is_gone).then_some(node)
        });
        let existing: Vec<Node> = join_all(looked_up).await.into_iter().flatten().collect();
        for node in &existing {
            node.require_owner(owner.as_ref())
                .map_err(Diagnostic::from)?;
        }
        // The creation of an unfinished server continues.
        let exists = |name: &String| {
            let made = |node: &&Node| node.state.is_made();
            existing.iter().filter(made).any(|node| node.name == *name)
        };
        let all = self.names.iter().cloned();
        let (old, new): (Vec<String>, Vec<String>) = all.partition(exists);
        for (index, name) in old.iter().enumerate() {
            let message = format!("server `{name}` already exists");
            if new.is_empty() && index == 0 {
                return Err(Diagnostic::new(Kind::Usage, message)
                    .help("choose another name, or terminate it first".to_owned())
                    .into());
            }
            note(message);
        }
        let cost = self.price(new.len()).await.map_err(Diagnostic::from)?;
        let unfinished = existing.into_iter().filter(|node| new.contains(&node.name));
        Ok(Quote {
            unfinished: unfinished.map(|node| (node.name.clone(), node)).collect(),
            names: new,
            cost,
        })
    }

    /// Creates the servers of a quote, all at the same time, and waits until they are ready. A
    /// failure does not stop the others.
    pub async fn create(
        &self,
        access: &dyn Access,
        quote: &Quote,
        owner: &Owner,
    ) -> Result<Vec<Node>, Failure> {
        let one = async |name: &String| {
            let activity = access.events().start(name.as_str(), "creating");
            let started = Instant::now();
            let create = Create {
                name: name.clone(),
                options: self.options.clone(),
                owner: owner.clone(),
                unfinished: quote.unfinished.get(name).cloned(),
            };
            let node = bring_up(access, self.provider.as_ref(), &create, &activity).await?;
            activity.done(format!(
                "ready after {:.1} s",
                started.elapsed().as_secs_f64()
            ));
            Ok::<_, Diagnostic>(node)
        };
        let names = &quote.names;
        let (mut nodes, mut failures) = (Vec::new(), Vec::new());
        for (name, created) in names.iter().zip(join_all(names.iter().map(one)).await) {
            match created {
                Ok(node) => nodes.push(node),
                Err(error) => failures.push(error.of_host(name)),
            }
        }
        if failures.is_empty() {
            Ok(nodes)
        } else {
            Err(Failure(failures))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(check_name("web-1").is_ok());
        for bad in ["", "-a", "a-", "a b", "a.b", "ä", &"x".repeat(51)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
