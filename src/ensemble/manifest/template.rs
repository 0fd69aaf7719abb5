//! Templates: maps that are laid under others.

use crate::core::{
    diagnostic::{Diagnostic, did_you_mean},
    value::{Data, Entry, Invalid, Value},
};

/// The key that names a template.
const TEMPLATE: &str = "template";

/// Lays under a map the template that its `template` key names, with whatever that one names. What
/// the map says itself wins, key by key; maps in maps are merged in the same way.
pub(in crate::ensemble) fn expand(value: &Value, templates: &[Entry]) -> Result<Value, Invalid> {
    merge_template(value, templates, &mut Vec::new())
}

fn merge_template(
    value: &Value,
    templates: &[Entry],
    path: &mut Vec<String>,
) -> Result<Value, Invalid> {
    let Data::Map(entries) = &value.data else {
        return Ok(value.clone());
    };
    let Some(at) = entries.iter().position(|entry| entry.key == TEMPLATE) else {
        return Ok(value.clone());
    };
    let reference = &entries[at].value;
    let name = reference.to_text(TEMPLATE)?;
    let Some(template) = templates.iter().find(|entry| entry.key == name) else {
        let known: Vec<&str> = templates.iter().map(|entry| entry.key.as_str()).collect();
        let help =
            did_you_mean(&name, known.iter().copied()).unwrap_or_else(|| match known.as_slice() {
                [] => "write it under `templates`".to_owned(),
                known => format!("there is {}", known.join(", ")),
            });
        return Err(Invalid::new(reference, format!("there is no template `{name}`")).help(help));
    };
    if path.contains(&name) {
        path.push(name);
        let message = format!("templates use each other: {}", path.join(" → "));
        return Err(Invalid::new(reference, message));
    }
    path.push(name.clone());
    if !matches!(template.value.data, Data::Map(_)) {
        return Err(template
            .value
            .to_map(&format!("template `{name}`"))
            .err()
            .unwrap_or_else(|| {
                Invalid::new(&template.value, format!("template `{name}` is not a map"))
            }));
    }
    let under = merge_template(&template.value, templates, path)?;
    let mut own = entries.clone();
    own.remove(at);
    let over = Value {
        data: Data::Map(own),
        span: value.span.clone(),
    };
    Ok(merge(over, under))
}

/// Lays one value under another.
fn merge(over: Value, under: Value) -> Value {
    match (over.data, under.data) {
        (Data::Map(mut entries), Data::Map(below)) => {
            for entry in below {
                let Some(at) = entries.iter().position(|own| own.key == entry.key) else {
                    entries.push(entry);
                    continue;
                };
                let own = entries.remove(at);
                let merged = Entry {
                    value: merge(own.value, entry.value),
                    ..own
                };
                entries.insert(at, merged);
            }
            Value {
                data: Data::Map(entries),
                span: over.span,
            }
        }
        (data, _) => Value {
            data,
            span: over.span,
        },
    }
}

/// The templates of a manifest.
pub(in crate::ensemble) fn templates(value: Option<&Value>) -> Result<Vec<Entry>, Diagnostic> {
    match value {
        Some(value) => Ok(value.to_map("templates")?),
        None => Ok(Vec::new()),
    }
}
