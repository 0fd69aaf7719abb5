//! Creating servers, after it was said what they cost.

use std::sync::Arc;

use futures_util::future::join_all;
use rhai::{Array, Dynamic, Map};

use super::check_name;
use crate::{
    api::{
        Host,
        call::{Answer, Call},
        value::to_options,
    },
    core::{
        diagnostic::{Diagnostic, Failure, Kind, plural},
        value::{Data, Fields, Invalid, Value},
    },
    inventory::Inventory,
    provider::{self, Create, MOST, Node, Provider, numbered},
    provision::bring_up,
};

struct Request {
    provider: Arc<dyn Provider>,
    names: Vec<String>,
    options: Value,
}

fn decode(inventory: &Inventory, options: &Map) -> Result<Request, Diagnostic> {
    let invalid = |error: Invalid| Diagnostic::from(error);
    let mut fields = Fields::new(&to_options(options), "create").map_err(invalid)?;
    let text = |value: &Value, what: &str| value.to_text(what);
    let provider = fields.decode("provider", text).map_err(invalid)?;
    let provider = provider.unwrap_or_else(|| inventory.context.settings.provider.clone());
    let provider = inventory.providers.get(&provider)?.clone();
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
    Ok(Request {
        provider,
        names: numbered(&name, count),
        options,
    })
}

impl Request {
    /// Checks with the provider whether there could be these servers, and what so many cost.
    async fn quote(&self, count: usize) -> Result<Option<String>, provider::Error> {
        // The rule for one name is the rule for all.
        let name = self.names.last().map_or("", String::as_str);
        Ok(self.provider.quote(name, &self.options).await?.of(count))
    }
}

pub(super) fn create(call: &Call, options: &Map) -> Answer<Array> {
    let request = call.check(decode(&call.inventory, options))?;
    let (new, cost) = call.try_wait(missing(&call.inventory, &request))?;
    let (count, names) = (plural(new.len(), "server"), new.join(", "));
    let what = || {
        let cost = cost.as_ref().map(|cost| format!(" ({cost})"));
        format!("create {count}: {names}{}", cost.unwrap_or_default())
    };
    if call.would(what) {
        return Ok(Array::new());
    }
    if let Some(cost) = cost {
        let place = request.provider.name();
        let question = format!("{count} at {place}: {cost}. Create {names}?");
        call.check(call.context.events.confirm(&question, None))?;
    }
    call.try_wait(create_all(&call.inventory, &request, &new))
}

/// The names of the servers that are not there: a run that failed for some is finished by the next
/// one. And what they cost, if something.
async fn missing(
    inventory: &Inventory,
    request: &Request,
) -> Result<(Vec<String>, Option<String>), Failure> {
    let there = request.provider.list().await.map_err(Diagnostic::from)?;
    // One that was left half made is finished.
    let is_there = |name: &String| {
        let made = |node: &&Node| node.state.is_made();
        there.iter().filter(made).any(|node| node.name == *name)
    };
    let all = request.names.iter().cloned();
    let (old, new): (Vec<String>, Vec<String>) = all.partition(is_there);
    for (index, name) in old.iter().enumerate() {
        let message = format!("there is a server `{name}` already");
        if new.is_empty() && index == 0 {
            return Err(Diagnostic::new(Kind::Usage, message)
                .help("choose another name, or terminate it first".to_owned())
                .into());
        }
        inventory.context.events.note(message);
    }
    let cost = request.quote(new.len()).await.map_err(Diagnostic::from)?;
    Ok((new, cost))
}

/// One that fails does not stop the others.
async fn create_all(
    inventory: &Inventory,
    request: &Request,
    new: &[String],
) -> Result<Array, Failure> {
    let one = async |name: &String| {
        let activity = inventory.context.events.start(name.as_str(), "creating");
        let started = std::time::Instant::now();
        let create = Create {
            name: name.clone(),
            options: request.options.clone(),
            tags: Vec::new(),
        };
        let node = bring_up(inventory, request.provider.as_ref(), &create, &activity).await?;
        activity.done(format!(
            "ready after {:.1} s",
            started.elapsed().as_secs_f64()
        ));
        Ok::<_, Diagnostic>(Dynamic::from(Host::from(node)))
    };
    let (mut hosts, mut failures) = (Array::new(), Vec::new());
    for (name, created) in new.iter().zip(join_all(new.iter().map(one)).await) {
        match created {
            Ok(host) => hosts.push(host),
            Err(error) => failures.push(error.of_host(name)),
        }
    }
    if failures.is_empty() {
        Ok(hosts)
    } else {
        Err(Failure(failures))
    }
}
