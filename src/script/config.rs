//! The settings that a hitcfile makes with `config(#{…})`.

use std::path::PathBuf;

use super::unit::span;
use crate::{
    api::Api,
    core::{
        diagnostic::{Diagnostic, Source},
        value::{Fields, Invalid, Value},
    },
};

/// The settings of a hitcfile. Flags and the environment take precedence.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_field_names,
    reason = "they are the names that users write"
)]
pub struct Config {
    /// See [`crate::context::Settings::name_prefix`].
    pub name_prefix: Option<String>,
    /// See [`crate::context::Settings::provider`].
    pub provider: Option<String>,
    /// See [`crate::context::Settings::providers`].
    pub providers: Vec<String>,
    /// See [`crate::context::Settings::ec2_regions`].
    pub ec2_regions: Vec<String>,
    /// See [`crate::context::Settings::forks`].
    pub forks: Option<usize>,
    /// See [`crate::context::Settings::timeout`], in seconds.
    pub timeout: Option<u64>,
    /// See [`crate::context::Settings::user`].
    pub user: Option<String>,
    /// See [`crate::context::Settings::identity`].
    pub identity: Option<PathBuf>,
    /// See [`crate::context::Settings::port`].
    pub port: Option<u16>,
    /// See [`crate::context::Settings::jump`].
    pub jump: Option<String>,
    /// See [`crate::context::Settings::docker_config`].
    pub docker_config: Option<PathBuf>,
    /// See [`crate::context::Settings::shell`].
    pub shell: Option<String>,
}

impl Config {
    /// Reads all calls of `config` in the hitcfile. A later call overrides an earlier one.
    pub(super) fn read(api: &Api, hitcfile: &std::sync::Arc<Source>) -> Result<Self, Diagnostic> {
        let mut config = Config::default();
        for (settings, position) in api.config() {
            config
                .apply(&settings)
                .map_err(|error| Diagnostic::from(error).at(hitcfile, span(hitcfile, position)))?;
        }
        Ok(config)
    }

    fn apply(&mut self, settings: &Value) -> Result<(), Invalid> {
        let mut fields = Fields::new(settings, "config")?;
        let text = Value::to_text;
        let number = |value: &Value, what: &str| value.to_integer(what, 1..65536);
        let unsigned = |number: Option<i64>| number.and_then(|n| usize::try_from(n).ok());
        self.name_prefix = fields
            .decode("name_prefix", text)?
            .or(self.name_prefix.take());
        self.provider = fields.decode("provider", text)?.or(self.provider.take());
        let names = |value: &Value, what: &str| -> Result<Vec<String>, Invalid> {
            let names = value.to_list(what)?;
            names.iter().map(|name| name.to_text(what)).collect()
        };
        if let Some(providers) = fields.decode("providers", names)? {
            self.providers = providers;
        }
        if let Some(regions) = fields.decode("ec2_regions", regions)? {
            self.ec2_regions = regions;
        }
        self.user = fields.decode("user", text)?.or(self.user.take());
        self.jump = fields.decode("jump", text)?.or(self.jump.take());
        let shell = |value: &Value, what: &str| {
            let shell = value.to_text(what)?;
            if shell.trim().is_empty() {
                return Err(Invalid::new(value, format!("{what} is empty")));
            }
            Ok(shell)
        };
        self.shell = fields.decode("shell", shell)?.or(self.shell.take());
        let identity = fields.decode("identity", text)?.map(PathBuf::from);
        self.identity = identity.or(self.identity.take());
        let docker_config = fields.decode("docker_config", text)?.map(PathBuf::from);
        self.docker_config = docker_config.or(self.docker_config.take());
        self.forks = unsigned(fields.decode("forks", number)?).or(self.forks);
        let timeout = fields.decode("timeout", number)?;
        self.timeout = timeout.and_then(|n| u64::try_from(n).ok()).or(self.timeout);
        let port = fields.decode("port", number)?;
        self.port = port.and_then(|n| u16::try_from(n).ok()).or(self.port);
        fields.finish()
    }
}

/// Decodes the names of regions, such as `eu-central-1`.
fn regions(value: &Value, what: &str) -> Result<Vec<String>, Invalid> {
    let region = |value: &Value| {
        let name = value.to_text(what)?;
        let is_good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !name.is_empty() && name.chars().all(is_good) {
            return Ok(name);
        }
        let text = format!("{what}: invalid region `{name}`");
        Err(Invalid::new(value, text).help("write it as `eu-central-1`".to_owned()))
    };
    let mut names = value
        .to_list(what)?
        .iter()
        .map(region)
        .collect::<Result<Vec<String>, Invalid>>()?;
    names.sort();
    names.dedup();
    Ok(names)
}
