//! The selection of servers that the user made with `-H`, `-R`, `--all`, `--limit` and `-x`.
//!
//! This is only the data. [`crate::inventory`] applies it to the servers that exist.

/// The servers that the user selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names, addresses, ids or globs; `SERVER/CONTAINER` is a container.
    pub hosts: Vec<String>,
    /// Roles or globs.
    pub roles: Vec<String>,
    /// Selects every server of the project.
    pub all: bool,
    /// Keeps only the hosts that also match one of these names, addresses, roles or globs.
    pub limit: Vec<String>,
    /// Names, addresses, roles or globs of hosts that are left out. Applied last.
    pub exclude: Vec<String>,
    /// Lets `hosts` name servers of other owners.
    pub any_owner: bool,
}

impl Selection {
    /// Whether nothing was selected.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.roles.is_empty() && !self.all
    }

    /// Whether it names each server, so that it does not depend on which others exist.
    pub fn is_exact(&self) -> bool {
        let is_glob = |text: &String| text.contains(['*', '?', '{']);
        !self.all && self.roles.is_empty() && !self.hosts.iter().any(is_glob)
    }
}
