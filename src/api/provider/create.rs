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
    project::ProjectId,
    provider::{self, Create, MOST, Node, Provider, numbered},
    provision::bring_up,
    session::Session,
};

struct Request {
    provider: Arc<dyn Provider>,
    names: Vec<String>,
    options: Value,
}

fn decode(session: &Session, options: &Map) -> Result<Request, Diagnostic> {
    let invalid = |error: Invalid| Diagnostic::from(error);
    let mut fields = Fields::new(&to_options(options), "create").map_err(invalid)?;
    let text = |value: &Value, what: &str| value.to_text(what);
    let provider = fields.decode("provider", text).map_err(invalid)?;
    let provider = provider.unwrap_or_else(|| session.settings.provider.clone());
    let provider = session.providers.get(&provider)?.clone();
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
    let session = &call.session;
    let request = call.check(decode(session, options))?;
    let (new, cost) = call.try_wait(missing(session, &request))?;
    let (count, names) = (plural(new.len(), "server"), new.join(", "));
    if session.settings.dry_run {
        let cost = cost.map(|cost| format!(" ({cost})")).unwrap_or_default();
        call.would(|| format!("create {count}: {names}{cost}"));
        return Ok(Array::new());
    }
    if let Some(cost) = cost {
        let place = request.provider.name();
        let question = format!("{count} at {place}: {cost}. Create {names}?");
        call.check(session.events.confirm(&question, None))?;
    }
    call.try_wait(create_all(session, &request, &new))
}

/// The names of the servers that are not there: a run that failed for some is finished by the next
/// one. And what they cost, if something.
async fn missing(
    session: &Session,
    request: &Request,
) -> Result<(Vec<String>, Option<String>), Failure> {
    let there = request.provider.list().await.map_err(Diagnostic::from)?;
    let project = session.project.id()?;
    let project = project.as_ref().map(ProjectId::as_str);
    for node in there
        .iter()
        .filter(|node| request.names.contains(&node.name))
    {
        node.require_project(project).map_err(Diagnostic::from)?;
    }
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
        session.events.note(message);
    }
    let cost = request.quote(new.len()).await.map_err(Diagnostic::from)?;
    Ok((new, cost))
}

/// One that fails does not stop the others.
async fn create_all(
    session: &Session,
    request: &Request,
    new: &[String],
) -> Result<Array, Failure> {
    let owner = session.project.ensure_owner(&session.events)?;
    let one = async |name: &String| {
        let activity = session.events.start(name.as_str(), "creating");
        let started = std::time::Instant::now();
        let create = Create {
            name: name.clone(),
            options: request.options.clone(),
            owner: owner.clone(),
        };
        let node = bring_up(session, request.provider.as_ref(), &create, &activity).await?;
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
