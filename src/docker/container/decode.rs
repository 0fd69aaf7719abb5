//! Decoding the options of `docker.run` and of a manifest's container.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::{
    core::{
        units::{duration, parse_bytes, parse_cpus},
        value::{Data, Entry, Fields, Invalid, Value},
    },
    docker::{
        Context, Image, Port, Pull, Ready, Restart, Spec, Volume, image::reference::is_short_id,
    },
};

/// Keys that the manifest reference has and that do not work yet. They are refused, not ignored.
const NOT_YET: [&str; 3] = ["files", "networks", "update"];

impl Spec {
    /// Decodes what a user wrote. Relative paths start at `folder`; `what` names the container
    /// in errors.
    pub fn decode(name: &str, value: &Value, folder: &Path, what: &str) -> Result<Self, Invalid> {
        let mut fields = Fields::new(value, what)?;
        for key in NOT_YET {
            if let Some(value) = fields.take(key) {
                return Err(
                    Invalid::new(&value, format!("{what}: `{key}` does not work yet"))
                        .help("leave it out; this version of hitc cannot do it".to_owned()),
                );
            }
        }
        let image = match (fields.take("image"), fields.take("build")) {
            (Some(image), None) => Image::Named(image_name(&image)?),
            (None, Some(build)) => built_image(&build, folder)?,
            (Some(_), Some(build)) => {
                return Err(Invalid::new(
                    &build,
                    format!("{what}: `image` and `build` exclude each other"),
                ));
            }
            (None, None) => image_name(&fields.require("image")?).map(Image::Named)?,
        };
        let mut spec = Spec::new(name, image);
        spec.command = fields.decode("command", words)?;
        spec.entrypoint = fields.decode("entrypoint", words)?;
        if let Some(files) = fields.decode("env_file", Value::to_list)? {
            for file in files {
                spec.environment.extend(read_env_file(&file, folder)?);
            }
        }
        if let Some(environment) = fields.decode("environment", string_map)? {
            spec.environment.extend(environment);
        }
        spec.ports = fields.decode("ports", ports)?.unwrap_or_default();
        spec.volumes = fields.decode("volumes", volumes)?.unwrap_or_default();
        spec.max_memory = fields.decode("max_memory", |value, what| {
            let text = value.to_text(what)?;
            parse_bytes(&text).ok_or_else(|| {
                Invalid::new(value, format!("max_memory: `{text}` is no size"))
                    .help("write 512m or 2g".to_owned())
            })
        })?;
        spec.nano_cpus = fields.decode("cpus", |value, what| {
            let text = value.to_text(what)?;
            parse_cpus(&text).ok_or_else(|| {
                Invalid::new(value, format!("cpus: `{text}` is no number of processors"))
                    .help("write 2 or 0.5".to_owned())
            })
        })?;
        spec.hostname = fields.decode("hostname", Value::to_text)?;
        spec.user = fields.decode("user", Value::to_text)?;
        spec.privileged = fields
            .decode("privileged", Value::to_bool)?
            .unwrap_or(false);
        spec.labels = fields.decode("labels", string_map)?.unwrap_or_default();
        if let Some(restart) = fields.decode("restart", |value, what| {
            one_of(value, what, Restart::ALL.map(|r| (r.name(), r)))
        })? {
            spec.restart = restart;
        }
        spec.stop_timeout = fields
            .decode("stop_timeout", duration)?
            .map(|duration| duration.as_secs());
        if let Some(pull) = fields.decode("pull", |value, what| {
            let known = [("missing", Pull::Missing), ("never", Pull::Never)];
            one_of(value, what, known)
        })? {
            spec.pull = pull;
        }
        if let Some(ready) = fields.decode("ready", Ready::decode)? {
            spec.ready = ready;
        }
        fields.finish()?;
        Ok(spec)
    }
}

fn image_name(value: &Value) -> Result<String, Invalid> {
    let name = value.to_text("image")?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(Invalid::new(
            value,
            format!("image: `{name}` is no image name"),
        ));
    }
    if is_short_id(&name) {
        return Err(Invalid::new(
            value,
            format!("image: `{name}` is only the beginning of an id"),
        )
        .help("write the image's name, or its full id".to_owned()));
    }
    Ok(name)
}

fn built_image(value: &Value, folder: &Path) -> Result<Image, Invalid> {
    let folder = folder.join(value.to_text("build")?);
    let context =
        Context::read(&folder).map_err(|error| Invalid::new(value, format!("build: {error}")))?;
    Ok(Image::Built {
        name: context.image_name(),
        folder,
    })
}

/// A command line as text, split as a shell would, or as a list.
fn words(value: &Value, what: &str) -> Result<Vec<String>, Invalid> {
    if let Data::List(items) = &value.data {
        return items.iter().map(|item| item.to_text(what)).collect();
    }
    let text = value.to_text(what)?;
    shlex::split(&text)
        .ok_or_else(|| Invalid::new(value, format!("{what}: a quote is not closed in `{text}`")))
}

/// A map to text; maps and lists in it become JSON.
fn string_map(value: &Value, what: &str) -> Result<BTreeMap<String, String>, Invalid> {
    value
        .to_map(what)?
        .into_iter()
        .map(|entry| {
            if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
                let message = format!("{what}: invalid name `{}`", entry.key);
                return Err(Invalid::at(entry.key_span, message));
            }
            let text = match &entry.value.data {
                Data::Null => String::new(),
                Data::List(_) | Data::Map(_) => entry.value.to_json().to_string(),
                _ => entry.value.to_text(what)?,
            };
            Ok((entry.key, text))
        })
        .collect()
}

fn ports(value: &Value, what: &str) -> Result<BTreeSet<Port>, Invalid> {
    let mut ports = BTreeSet::new();
    for item in value.to_list(what)? {
        let port: Port = item.to_text("a port")?.parse().map_err(|error| {
            Invalid::new(&item, format!("ports: {error}"))
                .help("write CONTAINER, CONTAINER:PUBLIC or CONTAINER:PUBLIC/udp".to_owned())
        })?;
        let taken = ports.iter().any(|other: &Port| {
            *other != port && (other.public, other.protocol) == (port.public, port.protocol)
        });
        if taken {
            let message = format!("ports: {} is public twice", port.public);
            return Err(Invalid::new(&item, message));
        }
        ports.insert(port);
    }
    Ok(ports)
}

/// `{HOST: CONTAINER}`, or `HOST:CONTAINER[:ro]` in a list.
fn volumes(value: &Value, what: &str) -> Result<BTreeSet<Volume>, Invalid> {
    let pairs: Vec<(String, Value)> = if let Data::Map(entries) = &value.data {
        let pair = |entry: &Entry| (entry.key.clone(), entry.value.clone());
        entries.iter().map(pair).collect()
    } else {
        let mut pairs = Vec::new();
        for item in value.to_list(what)? {
            let text = item.to_text("a volume")?;
            let Some((host, container)) = text.split_once(':') else {
                return Err(Invalid::new(&item, format!("volumes: `{text}` has no `:`"))
                    .help("write HOST:CONTAINER".to_owned()));
            };
            let container = Value {
                data: Data::Text(container.to_owned()),
                span: item.span.clone(),
            };
            pairs.push((host.to_owned(), container));
        }
        pairs
    };
    pairs.into_iter().map(volume).collect()
}

fn volume((host, container): (String, Value)) -> Result<Volume, Invalid> {
    let text = container.to_text("a volume")?;
    let (path, read_only) = match text.strip_suffix(":ro") {
        Some(path) => (path, true),
        None => (text.as_str(), false),
    };
    let trim = |path: &str| match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        trimmed => trimmed.to_owned(),
    };
    if !path.starts_with('/') {
        return Err(Invalid::new(
            &container,
            format!("volumes: `{path}` is no absolute path"),
        ));
    }
    let is_relative = host.contains('/') && !host.starts_with('/');
    if host.is_empty() || host.starts_with('.') || host.contains(':') || is_relative {
        return Err(Invalid::new(
            &container,
            format!("volumes: `{host}` is neither an absolute path of the server nor a name"),
        ));
    }
    Ok(Volume {
        host: trim(&host),
        container: trim(path),
        read_only,
    })
}

/// The lines `NAME=VALUE` of a file; empty lines and comments are left out.
fn read_env_file(value: &Value, folder: &Path) -> Result<Vec<(String, String)>, Invalid> {
    let path = folder.join(value.to_text("env_file")?);
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Invalid::new(value, format!("env_file `{}`: {error}", path.display())))?;
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| match line.split_once('=') {
            Some((name, value)) => Ok((name.trim().to_owned(), value.to_owned())),
            None => Err(Invalid::new(
                value,
                format!("env_file `{}`: line {number} has no `=`", path.display()),
            )),
        })
        .collect()
}

fn one_of<T: Copy, const N: usize>(
    value: &Value,
    what: &str,
    known: [(&str, T); N],
) -> Result<T, Invalid> {
    let text = value.to_text(what)?;
    known
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, found)| *found)
        .ok_or_else(|| {
            let names = known.map(|(name, _)| name).join(", ");
            Invalid::new(value, format!("{what}: there is no `{text}`"))
                .help(format!("there is {names}"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pairs: &[(&str, &str)]) -> Result<Spec, Invalid> {
        let entries = pairs.iter().map(|(key, value)| Entry {
            key: (*key).to_owned(),
            key_span: None,
            value: Value::text(*value),
        });
        let value = Value {
            data: Data::Map(entries.collect()),
            span: None,
        };
        Spec::decode("x", &value, Path::new("."), "container `x`")
    }

    #[test]
    fn order_does_not_matter_to_the_digest() {
        let one = decode(&[
            ("image", "a"),
            ("ports", "80,81"),
            ("environment", "A=1,B=2"),
        ]);
        let two = decode(&[
            ("environment", "B=2,A=1"),
            ("ports", "81,80:80"),
            ("image", "a"),
        ]);
        assert_eq!(one.unwrap().digest(), two.unwrap().digest());
    }

    #[test]
    fn every_fixed_field_changes_the_digest() {
        let base = decode(&[("image", "a")]).unwrap().digest();
        for (key, value) in [
            ("image", "b"),
            ("command", "x"),
            ("entrypoint", "x"),
            ("environment", "A=1"),
            ("ports", "80"),
            ("volumes", "/a:/b"),
            ("hostname", "h"),
            ("user", "u"),
            ("privileged", "true"),
            ("labels", "l=1"),
            ("stop_timeout", "3"),
        ] {
            let mut pairs = vec![(key, value)];
            if key != "image" {
                pairs.push(("image", "a"));
            }
            assert_ne!(decode(&pairs).unwrap().digest(), base, "{key}");
        }
        for (key, value) in [("max_memory", "64m"), ("cpus", "1"), ("restart", "no")] {
            let same = decode(&[("image", "a"), (key, value)]).unwrap();
            assert_eq!(same.digest(), base, "{key} can be changed in place");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |pairs: &[(&str, &str)]| decode(pairs).unwrap_err().to_string();
        assert_eq!(
            error(&[("imgae", "a")]),
            "container `x`: `image` is missing"
        );
        assert_eq!(
            error(&[("image", "a"), ("port", "80")]),
            "container `x`: unknown option `port`"
        );
        assert_eq!(
            error(&[("image", "a"), ("files", "x=y")]),
            "container `x`: `files` does not work yet"
        );
        assert_eq!(
            error(&[("image", "a"), ("ports", "80:1,81:1")]),
            "ports: 1 is public twice"
        );
        assert_eq!(
            error(&[("image", "a"), ("restart", "sometimes")]),
            "restart: there is no `sometimes`"
        );
        assert_eq!(
            error(&[("image", "a"), ("volumes", "data:rel")]),
            "volumes: `rel` is no absolute path"
        );
        assert_eq!(
            error(&[("image", "a"), ("command", "sh -c 'x")]),
            "command: a quote is not closed in `sh -c 'x`"
        );
    }
}
