//! Decodes the options of `docker.run` and of a manifest's container.

use std::collections::BTreeSet;

use super::{
    kind::Kind,
    table::ROWS,
    values::{one_of, ports},
};
use crate::{
    core::value::{Fields, Invalid, Value},
    docker::{Image, Inputs, Port, Pull, Ready, Spec, image::reference::is_short_id},
};

/// Keys of the design that this version does not support. They are refused, not ignored.
const UNSUPPORTED: [&str; 2] = ["files", "update"];

impl Spec {
    /// Decodes what the user wrote. Touches no file: `inputs` has the content of env files and
    /// the names of images to build. `what` names the container in errors.
    pub fn decode(name: &str, value: &Value, inputs: &Inputs, what: &str) -> Result<Self, Invalid> {
        let mut fields = Fields::new(value, what)?;
        for key in UNSUPPORTED {
            // Not `take`, which would suggest the key for a misspelled one.
            if let Some(value) = fields.peek(key) {
                return Err(Invalid::new(
                    value,
                    format!("{what}: this version of hitc does not support `{key}`"),
                )
                .help(format!("remove `{key}`")));
            }
        }
        let image = match (fields.take("image"), fields.take("build")) {
            (Some(image), None) => Image::Named(image_name(&image)?),
            (None, Some(build)) => inputs.image(&build)?,
            (Some(_), Some(build)) => {
                return Err(Invalid::new(
                    &build,
                    format!("{what}: `image` and `build` cannot be used together"),
                ));
            }
            (None, None) => image_name(&fields.require("image")?).map(Image::Named)?,
        };
        let mut spec = Spec::new(name, image);
        let mut from_files = Vec::new();
        for file in fields
            .decode("env_file", Value::to_list)?
            .unwrap_or_default()
        {
            from_files.extend(inputs.environment(&file)?.iter().cloned());
        }
        for row in &ROWS {
            if let Some(value) = fields.take(row.key) {
                let setting = row.kind.decode(&value, row.key)?;
                spec.options.set(row, setting);
                if row.kind == Kind::Environment && value.has_secret() {
                    let secrets = value.to_map(row.key)?.into_iter();
                    let secrets = secrets.filter(|entry| entry.value.has_secret());
                    spec.masked
                        .extend(secrets.map(|entry| format!("{}.{}", row.key, entry.key)));
                }
            }
            if row.kind == Kind::Environment {
                // What is written out wins.
                let written = spec.options.environment();
                from_files.retain(|(name, _)| !written.contains_key(name));
                let names = from_files.iter().map(|(name, _)| name);
                spec.masked
                    .extend(names.map(|name| format!("{}.{name}", row.key)));
                if !from_files.is_empty() {
                    spec.options.add_environment(from_files.drain(..));
                }
            }
        }
        if let Some(pull) = fields.decode("pull", |value, what| {
            let known = [
                ("missing", Pull::Missing),
                ("check", Pull::Check),
                ("never", Pull::Never),
            ];
            one_of(value, what, known)
        })? {
            spec.pull = pull;
        }
        if let Some(ready) = fields.decode("ready", Ready::decode)? {
            spec.ready = ready;
        }
        fields.finish()?;
        let without_ports = ["host", "none"].map(str::to_owned);
        if let [network] = spec.options.networks()
            && without_ports.contains(network)
            && !spec.options.ports().is_empty()
        {
            let message = format!("{what}: ports cannot be published with network `{network}`");
            return Err(
                Invalid::new(value, message).help("remove `ports` or `networks`".to_owned())
            );
        }
        Ok(spec)
    }
}

impl Spec {
    /// Decodes published ports alone: the value of `ports`.
    pub fn decode_ports(value: &Value) -> Result<BTreeSet<Port>, Invalid> {
        ports(value, "ports")
    }
}

fn image_name(value: &Value) -> Result<String, Invalid> {
    let name = value.to_text("image")?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(Invalid::new(value, format!("image: invalid name `{name}`")));
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

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Value {
        Value::map(pairs.iter().map(|(key, value)| (*key, Value::text(*value))))
    }

    fn decode(pairs: &[(&str, &str)]) -> Result<Spec, Invalid> {
        let value = map(pairs);
        let inputs = Inputs::load(Path::new("."), [&value]);
        Spec::decode("x", &value, &inputs, "container `x`")
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
            "container `x`: this version of hitc does not support `files`"
        );
        assert_eq!(
            error(&[("image", "a"), ("ports", "80:1,81:1")]),
            "ports: public port 1 is published twice"
        );
        assert_eq!(
            error(&[("image", "a"), ("restart", "sometimes")]),
            "restart: unknown value `sometimes`"
        );
        assert_eq!(
            error(&[("image", "a"), ("volumes", "data:rel")]),
            "volumes: `rel` is not an absolute path"
        );
        assert_eq!(
            error(&[("image", "a"), ("command", "sh -c 'x")]),
            "command: a quote is not closed in `sh -c 'x`"
        );
    }

    #[test]
    fn env_files_are_masked_and_give_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.env");
        fs::write(&path, "# secrets\n\nA=1\n  B = x=y\n").unwrap();
        let value = map(&[
            ("image", "a"),
            ("env_file", "app.env"),
            ("environment", "A=2"),
        ]);
        let inputs = Inputs::load(folder.path(), [&value]);
        fs::remove_file(&path).unwrap();
        let spec = Spec::decode("x", &value, &inputs, "container `x`").unwrap();
        let environment = spec.options.environment();
        assert_eq!(environment["A"], "2");
        assert_eq!(environment["B"], " x=y");
        assert!(spec.masks("environment.B"));
        assert!(!spec.masks("environment.A"), "it is in the manifest");
    }

    #[test]
    fn errors_in_env_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.env");
        let value = map(&[("image", "a"), ("env_file", "app.env")]);
        for (text, error) in [
            ("A=1\nexport B=2", "line 2: invalid name; remove `export`"),
            ("A hunter2B=1", "line 1: invalid name"),
            ("=1", "line 1: invalid name"),
            ("A", "line 1: missing `=`"),
        ] {
            fs::write(&path, text).unwrap();
            let inputs = Inputs::load(folder.path(), [&value]);
            let found = Spec::decode("x", &value, &inputs, "container `x`");
            let expected = format!("env_file `{}`: {error}", path.display());
            assert_eq!(found.unwrap_err().to_string(), expected);
        }
    }
}
