//! Expands `%h`-style tokens (TOKENS in ssh_config(5)).

use std::{
    env,
    path::{Path, PathBuf},
};

use super::settings::Settings;
use crate::ssh::Login;

/// The values of the tokens for one host.
pub(super) struct Tokens {
    home: PathBuf,
    /// The name of the host in the configuration.
    pub alias: String,
    pub address: String,
    pub port: u16,
    pub user: String,
    local_user: String,
}

impl Tokens {
    /// Determines the values. With `has_hostname`, the `hostname` in the settings is that of this
    /// host; otherwise the settings are shared with other hosts.
    pub fn new(home: &Path, login: &Login, settings: &Settings, has_hostname: bool) -> Self {
        let local_user = ["USER", "LOGNAME"]
            .iter()
            .find_map(|name| env::var(name).ok())
            .unwrap_or_else(|| "root".to_owned());
        let hostname = settings.get("hostname").filter(|_| has_hostname);
        let address = hostname.unwrap_or(&login.address);
        let port = settings.get("port").and_then(|text| text.parse().ok());
        let user = login.user.as_deref().or(settings.get("user"));
        Tokens {
            home: home.to_owned(),
            alias: login.address.clone(),
            address: address.to_owned(),
            port: login.port.or(port).unwrap_or(22),
            user: user.unwrap_or(&local_user).to_owned(),
            local_user,
        }
    }

    /// Expands the tokens in a value. Unknown tokens remain.
    pub fn expand(&self, text: &str) -> String {
        let mut expanded = String::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                expanded.push(c);
                continue;
            }
            match rest.next() {
                Some('h') => expanded.push_str(&self.address),
                Some('n' | 'k') => expanded.push_str(&self.alias),
                Some('p') => expanded.push_str(&self.port.to_string()),
                Some('r') => expanded.push_str(&self.user),
                Some('u') => expanded.push_str(&self.local_user),
                Some('d') => expanded.push_str(&self.home.to_string_lossy()),
                Some('%') | None => expanded.push('%'),
                Some(other) => expanded.extend(['%', other]),
            }
        }
        expanded
    }

    /// Expands the tokens and a leading `~/` in a path.
    pub fn path(&self, text: &str) -> PathBuf {
        match text.trim_matches('"').strip_prefix("~/") {
            Some(rest) => self.home.join(self.expand(rest)),
            None => PathBuf::from(self.expand(text.trim_matches('"'))),
        }
    }
}
