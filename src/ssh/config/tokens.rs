//! What stands for something else in a value.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::answer::Answer;
use crate::ssh::Login;

/// What `%h` and its like stand for (TOKENS in ssh_config(5)).
pub(super) struct Tokens {
    home: PathBuf,
    /// The name under which the configuration knows the host.
    pub alias: String,
    pub address: String,
    pub port: u16,
    pub user: String,
    local_user: String,
}

impl Tokens {
    pub fn new(home: &Path, login: &Login, answer: &Answer, renamed: bool) -> Self {
        let local_user = ["USER", "LOGNAME"]
            .iter()
            .find_map(|name| env::var(name).ok())
            .unwrap_or_else(|| "root".to_owned());
        let hostname = answer.get("hostname").filter(|_| renamed);
        let address = hostname.unwrap_or(&login.address);
        let port = answer.get("port").and_then(|text| text.parse().ok());
        let user = login.user.as_deref().or(answer.get("user"));
        Tokens {
            home: home.to_owned(),
            alias: login.address.clone(),
            address: address.to_owned(),
            port: login.port.or(port).unwrap_or(22),
            user: user.unwrap_or(&local_user).to_owned(),
            local_user,
        }
    }

    pub fn fill(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                filled.push(c);
                continue;
            }
            match rest.next() {
                Some('h') => filled.push_str(&self.address),
                Some('n' | 'k') => filled.push_str(&self.alias),
                Some('p') => filled.push_str(&self.port.to_string()),
                Some('r') => filled.push_str(&self.user),
                Some('u') => filled.push_str(&self.local_user),
                Some('d') => filled.push_str(&self.home.to_string_lossy()),
                Some('%') | None => filled.push('%'),
                Some(other) => filled.extend(['%', other]),
            }
        }
        filled
    }

    pub fn path(&self, text: &str) -> PathBuf {
        match text.trim_matches('"').strip_prefix("~/") {
            Some(rest) => self.home.join(self.fill(rest)),
            None => PathBuf::from(self.fill(text.trim_matches('"'))),
        }
    }
}
