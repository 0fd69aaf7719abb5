//! Templates: maps that are merged under others.

use crate::core::{
    diagnostic::did_you_mean,
    value::{Data, Entry, Invalid, Value, shorten},
};

/// The key that names a template.
pub(super) const TEMPLATE: &str = "template";

/// The templates of a manifest.
#[derive(Default)]
pub(super) struct Templates(Vec<Entry>);

impl Templates {
    /// The templates under a manifest's key `templates`.
    pub fn read(value: Value) -> Result<Self, Invalid> {
        Ok(Templates(value.into_map("templates")?))
    }

    /// Merges the template that the key `template` of a map names under the map, with the templates
    /// that it uses itself. The map's own keys take precedence, one by one; maps in maps are merged
    /// in the same way. Returns any other value unchanged.
    pub fn expand(&self, value: Value) -> Result<Value, Invalid> {
        self.merge_under(value, &mut Vec::new())
    }

    fn merge_under(&self, mut value: Value, path: &mut Vec<String>) -> Result<Value, Invalid> {
        let Data::Map(entries) = &mut value.data else {
            return Ok(value);
        };
        let Some(at) = entries.iter().position(|entry| entry.key == TEMPLATE) else {
            return Ok(value);
        };
        let reference = entries.remove(at).value;
        let under = self.find(&reference, path)?;
        Ok(merge(value, under))
    }

    /// Returns the template that a value names, expanded. `path` has the templates that led here.
    fn find(&self, reference: &Value, path: &mut Vec<String>) -> Result<Value, Invalid> {
        let name = literal(reference, TEMPLATE)?.to_text(TEMPLATE)?;
        let Some(template) = self.0.iter().find(|entry| entry.key == name) else {
            let known: Vec<&str> = self.0.iter().map(|entry| entry.key.as_str()).collect();
            let near = did_you_mean(&name, known.iter().copied());
            let help = near.unwrap_or_else(|| match known.as_slice() {
                [] => "write it under `templates`".to_owned(),
                known => format!("the templates are {}", list(known)),
            });
            let message = format!("template `{}` not found", shorten(&name));
            return Err(Invalid::new(reference, message).help(help));
        };
        if path.contains(&name) {
            path.push(name);
            let message = format!("templates form a cycle: {}", path.join(" → "));
            return Err(Invalid::new(reference, message));
        }
        if !matches!(template.value.data, Data::Map(_)) {
            // For the error; a template without content is an empty map.
            template.value.to_map(&format!("template `{name}`"))?;
        }
        path.push(name);
        self.merge_under(template.value.clone(), path)
    }
}

/// Merges one value under another.
pub(super) fn merge(over: Value, under: Value) -> Value {
    match (over.data, under.data) {
        (Data::Map(mut entries), Data::Map(below)) => {
            for entry in below {
                match entries.iter_mut().find(|own| own.key == entry.key) {
                    Some(own) => {
                        let value = std::mem::replace(&mut own.value, Value::new(Data::Null));
                        own.value = merge(value, entry.value);
                    }
                    None => entries.push(entry),
                }
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

/// Refuses variables in a value that is needed before any variable is known.
pub(super) fn literal<'a>(value: &'a Value, what: &str) -> Result<&'a Value, Invalid> {
    let is_variable = match &value.data {
        Data::Text(text) => ["${", "$internal_ips", "$servers"]
            .iter()
            .any(|form| text.contains(form)),
        _ => false,
    };
    if is_variable {
        let message = format!("{what} cannot contain variables");
        return Err(Invalid::new(value, message)
            .help("it is needed before any variable is known: write the value".to_owned()));
    }
    Ok(value)
}

/// The maximum number of names that an error lists.
const LISTED: usize = 10;

/// Names for an error: all of them, or the first ones if there are many.
pub(super) fn list(names: &[&str]) -> String {
    match names.get(..LISTED) {
        Some(first) if names.len() > LISTED => {
            format!("{}, … ({} in all)", first.join(", "), names.len())
        }
        _ => names.join(", "),
    }
}
