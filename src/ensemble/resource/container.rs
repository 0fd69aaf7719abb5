//! Decides which operations a container needs.

use std::{collections::BTreeSet, sync::Arc};

pub use super::existing::{Existing, step_of};
use super::{Cause, Decision, Draft, ResourceName, View, decision::Known};
use crate::{
    core::{
        change::Change,
        diagnostic::{Diagnostic, Kind},
        value::{Span, Value},
    },
    docker::{Comparison, Container, Port, Protocol, Pull, Spec, State},
    ensemble::{
        Manifest,
        manifest::Variable,
        observe::{EngineState, Published},
        operation::{self, Operation, Options},
    },
};

/// The operations that a container may need whose options or server are not known yet.
const ANY: [operation::Kind; 5] = [
    operation::Kind::StartContainer,
    operation::Kind::FinishContainer,
    operation::Kind::UpdateContainer,
    operation::Kind::CreateContainer,
    operation::Kind::ReplaceContainer,
];

/// The options that say where the image comes from.
pub const IMAGE_FIELDS: [&str; 3] = ["image", "build", "pull"];

/// Decides about a container of the manifest.
pub fn decision(server: &str, name: &str, view: &View<'_>) -> Result<Decision, Diagnostic> {
    let Some(container) = view.manifest.container(server, name) else {
        return Ok(Decision::default());
    };
    let options = &Options::from(&container.body);
    let facts = |variable: &Variable| view.facts.value(server, variable);
    let resolved = options.resolve(&facts);
    let (spec, unknown) = match resolved {
        Ok(value) => {
            let span = container.span.clone();
            let spec = decode(view.manifest, name, options, &value, span)?;
            (Some(spec), Vec::new())
        }
        Err(unknown) => (None, unknown),
    };
    let ports = ports(options, &facts);
    let mut decision = Decision {
        what: describe(spec.as_ref(), ports.as_ref()),
        ports,
        volumes: spec
            .iter()
            .flat_map(|spec| spec.options.volumes())
            .map(|v| v.host.clone())
            .collect(),
        ..Decision::default()
    };
    let on_server = ResourceName::Server(server.to_owned());
    let server_does = |kind: operation::Kind| {
        let decided = view.decisions.get(&on_server);
        decided.is_some_and(|decided| {
            decided
                .operations
                .iter()
                .any(|d| d.operation.kind() == kind)
        })
    };
    let draft = if server_does(operation::Kind::CreateServer) {
        Some(create(options))
    } else if server_does(operation::Kind::StartServer) {
        Some(deferred(options, "its server is started first"))
    } else if server_does(operation::Kind::ResizeServer) && !restarts(spec.as_ref()) {
        Some(deferred(options, "its server is resized first"))
    } else {
        let missing = EngineState::Missing;
        let state = view.observed.servers.get(server);
        let engine = state.map_or(&missing, |state| &state.engine);
        let existing = Existing::find(view.owner, name, engine);
        let adopts = view.request.adopts(server, Some(name));
        let full_name = format!("{server}.{name}");
        match &spec {
            None if existing.is_nothing() => Some(create(options)),
            None => {
                existing.refuse_foreign(&full_name, adopts)?;
                let on: Vec<String> = unknown.iter().map(ToString::to_string).collect();
                Some(Draft::new(
                    Operation::Deferred {
                        options: options.clone(),
                        on,
                        may: ANY.to_vec(),
                    },
                    Cause::Unknown,
                ))
            }
            Some(spec) => {
                let published = view.observed.published.get(spec.image.name());
                let published = published.filter(|_| spec.pull == Pull::Check);
                if let Some(Published::Unknown(cause)) = published {
                    let image = spec.image.name();
                    decision.unchecked = Some(format!("image `{image}`: {cause}"));
                }
                let decided = decide(
                    &full_name, spec, options, &existing, engine, adopts, published,
                )?;
                let keeps = decided
                    .as_ref()
                    .is_none_or(|d| d.operation.kind() == operation::Kind::UpdateContainer);
                if let Some(current) = existing.current.filter(|_| keeps) {
                    decision.known = Some(Known::Container(server.to_owned(), current.clone()));
                }
                decided
            }
        }
    };
    decision.operations.extend(draft);
    Ok(decision)
}

/// The spec of a container whose variables are resolved. An error points into the manifest; `span`
/// is where the container is written.
pub fn decode(
    manifest: &Manifest,
    name: &str,
    options: &Options,
    value: &Value,
    span: Option<Span>,
) -> Result<Spec, Diagnostic> {
    let what = format!("container `{name}`");
    let decoded = Spec::decode(name, value, &manifest.inputs, &what);
    let mut spec = decoded.map_err(|error| match error.span.clone().or(span) {
        Some(span) => Diagnostic::from(error).at(&manifest.source, span),
        None => error.into(),
    })?;
    spec.masked
        .extend(options.fields_with(Variable::is_confidential));
    Ok(spec)
}

/// The spec of a container, with only the options of its image.
pub fn decode_image(
    manifest: &Manifest,
    name: &str,
    options: &Options,
    known: &dyn Fn(&Variable) -> Option<Value>,
) -> Result<Spec, Diagnostic> {
    let fields = options.select(&IMAGE_FIELDS);
    let value = fields.resolve(known).map_err(|unknown| {
        let names: Vec<String> = unknown.iter().map(ToString::to_string).collect();
        let message = format!(
            "container `{name}`: the value of {} is unknown",
            names.join(", ")
        );
        Diagnostic::new(Kind::Failed, message)
    })?;
    decode(
        manifest,
        name,
        &Options::from(&Arc::new(fields)),
        &value,
        None,
    )
}

/// Describes a container: its image and the ports on which other networks may reach it.
fn describe(spec: Option<&Spec>, ports: Option<&BTreeSet<Port>>) -> String {
    let mut text = "container".to_owned();
    if let Some(spec) = spec {
        text = format!("{text}, {}", spec.image.name());
    }
    let public = ports.into_iter().flatten().filter(|port| port.is_public());
    let public: BTreeSet<(u16, Protocol)> =
        public.map(|port| (port.public, port.protocol)).collect();
    let public: Vec<String> = public
        .iter()
        .map(|(port, protocol)| match protocol {
            Protocol::Tcp => port.to_string(),
            Protocol::Udp => format!("{port}/udp"),
        })
        .collect();
    match public.len() {
        0 => text,
        1 => format!("{text}, public port {}", public[0]),
        _ => format!("{text}, public ports {}", public.join(", ")),
    }
}

/// The public ports that a container will publish; none if they depend on unknown values.
fn ports(options: &Options, known: &dyn Fn(&Variable) -> Option<Value>) -> Option<BTreeSet<Port>> {
    match options.field("ports") {
        None => Some(BTreeSet::new()),
        Some(field) => Spec::decode_ports(&field.resolve(known).ok()?).ok(),
    }
}

/// Decides about a container whose spec is known, on an engine in this state. `published` is what
/// the registry has under the name of its image, if it was asked. None if it is up to date.
pub fn decide(
    full_name: &str,
    spec: &Spec,
    options: &Options,
    existing: &Existing<'_>,
    engine: &EngineState,
    adopts: bool,
    published: Option<&Published>,
) -> Result<Option<Draft>, Diagnostic> {
    existing.refuse_foreign(full_name, adopts)?;
    let image_id = engine.image_id(spec.image.name());
    let draft = match (existing.current, existing.new, existing.old) {
        (Some(current), _, _) => {
            let mut comparison = current.compare(spec, image_id);
            if !comparison
                .replace
                .iter()
                .any(|c| c.field == IMAGE_FIELDS[0])
            {
                let moved = moved(current, engine, published);
                comparison.replace.splice(..0, moved);
            }
            current_or_none(options, existing, current, comparison)
        }
        (None, Some(new), _) if new.compare(spec, image_id).replace.is_empty() => {
            let operation = Operation::FinishContainer {
                id: new.id.clone(),
                options: options.clone(),
            };
            Some(Draft::new(operation, Cause::Interrupted))
        }
        // What an earlier run was replacing comes back, or is replaced now.
        (None, new, Some(old)) => {
            let comparison = old.compare(spec, image_id);
            let name = Change::new("name", Some(old.name.clone()), Some(spec.name.clone()));
            if comparison.replace.is_empty() {
                Some(Draft {
                    operation: Operation::StartContainer {
                        id: old.id.clone(),
                        options: options.clone(),
                    },
                    cause: Cause::Interrupted,
                    changes: vec![name],
                })
            } else if new.is_none() && !adopts {
                // Perhaps an administrator renamed it, to keep it.
                let message = format!(
                    "container `{full_name}` is called `{}` on the server and differs from the \
                     manifest",
                    old.name
                );
                return Err(Diagnostic::new(Kind::Usage, message).help(format!(
                    "rename it to keep it, or replace it with adopt={full_name}"
                )));
            } else {
                let mut draft = replace(options, old, comparison.replace, Cause::Interrupted);
                if let Operation::ReplaceContainer { adopt, .. } = &mut draft.operation {
                    *adopt = adopts;
                }
                Some(draft)
            }
        }
        (None, _, None) => Some(create(options)),
    };
    if draft.is_some() {
        existing.refuse_foreign_steps(full_name)?;
    }
    Ok(draft)
}

/// Decides about a container that has its final name.
fn current_or_none(
    options: &Options,
    existing: &Existing<'_>,
    current: &Container,
    mut comparison: Comparison,
) -> Option<Draft> {
    let owner = current.ownership();
    if !owner.is(existing.owner) {
        let mut changes = vec![Change::new(
            "owner",
            Some(owner.to_string()),
            Some(format!("belongs to {}", existing.owner)),
        )];
        changes.append(&mut comparison.replace);
        changes.append(&mut comparison.in_place);
        let operation = Operation::ReplaceContainer {
            id: current.id.clone(),
            options: options.clone(),
            adopt: true,
        };
        return Some(Draft {
            operation,
            cause: Cause::Adopted,
            changes,
        });
    }
    if !comparison.replace.is_empty() {
        comparison.replace.append(&mut comparison.in_place);
        return Some(replace(
            options,
            current,
            comparison.replace,
            Cause::Changed,
        ));
    }
    let id = current.id.clone();
    let options = options.clone();
    if current.state != State::Running {
        let operation = Operation::StartContainer { id, options };
        return Some(Draft::new(operation, Cause::Stopped));
    }
    let mut changes = comparison.in_place;
    let mut cause = Cause::Changed;
    for leftover in [existing.new, existing.old].into_iter().flatten() {
        let name = leftover.name.clone();
        changes.push(Change::new(
            "left by an interrupted replacement",
            Some(name),
            None,
        ));
        cause = Cause::Interrupted;
    }
    (!changes.is_empty()).then_some(Draft {
        operation: Operation::UpdateContainer { id, options },
        cause,
        changes,
    })
}

/// The change of a container whose registry has another image under the name of its image by now.
fn moved(
    current: &Container,
    engine: &EngineState,
    published: Option<&Published>,
) -> Option<Change> {
    let Some(Published::Digest(new)) = published else {
        return None;
    };
    if engine.has_digest(&current.image_id, new) {
        return None;
    }
    // One that was not pulled has an id, but no digest.
    let old = engine.digests(&current.image_id).next();
    let old = old.unwrap_or(&current.image_id);
    let describe = |digest: &str| {
        let digits = digest.trim_start_matches("sha256:");
        format!("{} ({})", current.image, digits.get(..12).unwrap_or(digits))
    };
    Some(Change::new(
        IMAGE_FIELDS[0],
        Some(describe(old)),
        Some(describe(new)),
    ))
}

fn create(options: &Options) -> Draft {
    let options = options.clone();
    Draft::new(Operation::CreateContainer { options }, Cause::Missing)
}

fn replace(options: &Options, old: &Container, changes: Vec<Change>, cause: Cause) -> Draft {
    Draft {
        operation: Operation::ReplaceContainer {
            id: old.id.clone(),
            options: options.clone(),
            adopt: false,
        },
        cause,
        changes,
    }
}

fn deferred(options: &Options, why: &str) -> Draft {
    let operation = Operation::Deferred {
        options: options.clone(),
        on: vec![why.to_owned()],
        may: ANY.to_vec(),
    };
    Draft::new(operation, Cause::Unknown)
}

/// Whether the engine starts the container again when its server restarts.
fn restarts(spec: Option<&Spec>) -> bool {
    spec.is_some_and(|spec| spec.options.restarts_with_server())
}
