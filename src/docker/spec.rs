//! What a container should be: the options of `docker.run` and of a manifest's container.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Context, Port, Ready};
use crate::value::{Data, Fields, Invalid, Value};

/// The version of [`Spec::digest`]'s form. Containers labelled with another one are compared by
/// what they are, never made anew because hitc changed.
const DIGEST_VERSION: &str = "v1";

/// Where a container's image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// By name, from a registry or from what is there already.
    Named(String),
    /// Built on this machine from a folder with a Dockerfile.
    Built {
        /// The folder.
        folder: PathBuf,
        /// The name it gets: it contains a digest of the folder's content.
        name: String,
    },
}

impl Image {
    /// The name the engine knows it by.
    pub fn name(&self) -> &str {
        match self {
            Image::Named(name) | Image::Built { name, .. } => name,
        }
    }
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// When the server does not have it.
    Missing,
    /// Not at all.
    Never,
}

/// When the engine starts a container again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Not at all.
    No,
    /// When it fails.
    OnFailure,
    /// Always, but not after somebody stopped it.
    UnlessStopped,
    /// Always.
    Always,
}

impl Restart {
    const ALL: [Restart; 4] = [
        Restart::No,
        Restart::OnFailure,
        Restart::UnlessStopped,
        Restart::Always,
    ];

    /// The engine's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Restart::No => "no",
            Restart::OnFailure => "on-failure",
            Restart::UnlessStopped => "unless-stopped",
            Restart::Always => "always",
        }
    }
}

/// Something of the server's that the container sees.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Volume {
    /// A path on the server, or the name of a volume.
    pub host: String,
    /// The path inside the container.
    pub container: String,
    /// The container cannot write to it.
    pub read_only: bool,
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.container)?;
        if self.read_only {
            f.write_str(":ro")?;
        }
        Ok(())
    }
}

/// A field that differs between what is and what should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The field's name, as in the manifest.
    pub field: String,
    /// What it is now; none if it is not there.
    pub old: Option<String>,
    /// What it should be; none if it should not be there.
    pub new: Option<String>,
}

/// What a container should be. Only what the user wrote is set; the rest is the image's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The container's name.
    pub name: String,
    /// Where its image comes from.
    pub image: Image,
    /// The command, instead of the image's.
    pub command: Option<Vec<String>>,
    /// The entry point, instead of the image's.
    pub entrypoint: Option<Vec<String>>,
    /// Environment variables, beside the image's.
    pub environment: BTreeMap<String, String>,
    /// Published ports.
    pub ports: BTreeSet<Port>,
    /// What of the server it sees.
    pub volumes: BTreeSet<Volume>,
    /// Memory limit in bytes.
    pub max_memory: Option<u64>,
    /// Limit of processor time, in billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// Its host name.
    pub hostname: Option<String>,
    /// The user it runs as.
    pub user: Option<String>,
    /// Whether it may do everything.
    pub privileged: bool,
    /// The user's own labels.
    pub labels: BTreeMap<String, String>,
    /// When the engine starts it again.
    pub restart: Restart,
    /// How long it has to stop, in seconds.
    pub stop_timeout: Option<u64>,
    /// When its image is pulled.
    pub pull: Pull,
    /// How to tell that it is ready.
    pub ready: Ready,
}

/// Keys that the manifest reference has and that do not work yet. They are refused, not ignored.
const NOT_YET: [&str; 3] = ["files", "networks", "update"];

impl Spec {
    /// A container that is nothing but its name and its image.
    pub fn new(name: impl Into<String>, image: Image) -> Self {
        Spec {
            name: name.into(),
            image,
            command: None,
            entrypoint: None,
            environment: BTreeMap::new(),
            ports: BTreeSet::new(),
            volumes: BTreeSet::new(),
            max_memory: None,
            nano_cpus: None,
            hostname: None,
            user: None,
            privileged: false,
            labels: BTreeMap::new(),
            restart: Restart::UnlessStopped,
            stop_timeout: None,
            pull: Pull::Missing,
            ready: Ready::default(),
        }
    }

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

    /// What the container is recognized by: a digest of everything that cannot be changed while
    /// it runs. The order in which things were written makes no difference; how readiness is
    /// checked, when the image is pulled, and what can be changed in place do not count.
    pub fn digest(&self) -> String {
        let canonical = json!({
            "image": self.image.name(),
            "command": self.command,
            "entrypoint": self.entrypoint,
            "environment": self.environment,
            "ports": self.ports.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "volumes": self.volumes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "hostname": self.hostname,
            "user": self.user,
            "privileged": self.privileged,
            "labels": self.labels,
            "stop_timeout": self.stop_timeout,
        });
        let digest = Sha256::digest(canonical.to_string());
        format!("{DIGEST_VERSION}:{}", HEXLOWER.encode(&digest))
    }

    /// Whether a digest is of the form that [`Spec::digest`] has now.
    pub fn comparable(digest: &str) -> bool {
        digest.split_once(':').map(|(version, _)| version) == Some(DIGEST_VERSION)
    }

    /// The names of what the user set, for the label that tells later what was removed.
    pub fn keys(&self) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        let mut set = |key: &str, is_set: bool| {
            if is_set {
                keys.insert(key.to_owned());
            }
        };
        set("command", self.command.is_some());
        set("entrypoint", self.entrypoint.is_some());
        set("hostname", self.hostname.is_some());
        set("user", self.user.is_some());
        set("stop_timeout", self.stop_timeout.is_some());
        keys.extend(
            self.environment
                .keys()
                .map(|key| format!("environment.{key}")),
        );
        keys.extend(self.labels.keys().map(|key| format!("labels.{key}")));
        keys
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
                return Err(Invalid {
                    message: format!("{what}: `{}` is no name", entry.key),
                    span: entry.key_span,
                    help: None,
                });
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
        let pair = |entry: &crate::value::Entry| (entry.key.clone(), entry.value.clone());
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
    if host.is_empty() || host.starts_with('.') || host.contains(':') {
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

/// A time such as `30s`, `5m` or, in seconds, `30`.
pub(super) fn duration(value: &Value, what: &str) -> Result<Duration, Invalid> {
    let text = value.to_text(what)?;
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text.as_str(), "s"),
    };
    let seconds = match (number.trim().parse::<f64>(), unit) {
        (Ok(number), "ms") => number / 1000.0,
        (Ok(number), "s") => number,
        (Ok(number), "m") => number * 60.0,
        (Ok(number), "h") => number * 3600.0,
        _ => f64::NAN,
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        Invalid::new(value, format!("{what}: `{text}` is no time"))
            .help("write 30s or 5m".to_owned())
    })
}

/// A size such as `512m`, `2g` or, in bytes, `1024`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let (number, shift) = match text.chars().last()? {
        'k' => (&text[..text.len() - 1], 10),
        'm' => (&text[..text.len() - 1], 20),
        'g' => (&text[..text.len() - 1], 30),
        't' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The size in the largest unit that divides it: `512m`.
pub fn format_bytes(bytes: u64) -> String {
    for (shift, unit) in [(40, "t"), (30, "g"), (20, "m"), (10, "k")] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// A number of processors such as `2` or `0.5`, in billionths.
fn parse_cpus(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<9}").parse().ok()?;
    let nano = whole.checked_mul(1_000_000_000)?.checked_add(fraction)?;
    (nano > 0).then_some(nano)
}

impl Spec {
    /// Processors in billionths, from text such as `0.5`; for providers whose sizes say it too.
    pub fn parse_cpus(text: &str) -> Option<u64> {
        parse_cpus(text)
    }

    /// Billionths of a processor as text: `0.5`.
    pub fn format_cpus(nano: u64) -> String {
        let (whole, fraction) = (nano / 1_000_000_000, nano % 1_000_000_000);
        let fraction = format!("{fraction:09}");
        match fraction.trim_end_matches('0') {
            "" => whole.to_string(),
            digits => format!("{whole}.{digits}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pairs: &[(&str, &str)]) -> Result<Spec, Invalid> {
        let entries = pairs.iter().map(|(key, value)| crate::value::Entry {
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
    fn sizes_and_times() {
        assert_eq!(parse_bytes("512m"), Some(512 << 20));
        assert_eq!(parse_bytes("2GB"), Some(2 << 30));
        assert_eq!(parse_bytes("1.5g"), None);
        assert_eq!(parse_bytes(""), None);
        assert_eq!(format_bytes(512 << 20), "512m");
        assert_eq!(format_bytes(1000), "1000");
        assert_eq!(parse_cpus("0.5"), Some(500_000_000));
        assert_eq!(parse_cpus("2"), Some(2_000_000_000));
        assert_eq!(parse_cpus("0"), None);
        assert_eq!(parse_cpus("-1"), None);
        assert_eq!(Spec::format_cpus(1_500_000_000), "1.5");
        let time = |text| duration(&Value::text(text), "timeout");
        assert_eq!(time("1500ms").unwrap(), Duration::from_millis(1500));
        assert_eq!(time("2m").unwrap(), Duration::from_mins(2));
        assert!(time("soon").is_err());
        assert!(time("-1").is_err());
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
            "container `x`: there is no `port`"
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
