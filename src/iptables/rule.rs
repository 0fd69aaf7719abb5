//! Rules of a packet filter.

use std::fmt;

/// The address family of a packet filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 (iptables).
    V4,
    /// IPv6 (ip6tables).
    V6,
}

impl Family {
    /// The command that prints all rules, for [`super::parse`].
    pub fn save_command(self) -> &'static str {
        match self {
            Family::V4 => "iptables-save",
            Family::V6 => "ip6tables-save",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "v4",
            Family::V6 => "v6",
        })
    }
}

/// A rule, or the policy of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The address family.
    pub family: Family,
    /// The table: `filter`, `nat`, …
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The matches, as iptables prints them; empty for a policy.
    pub matches: String,
    /// The target with its options: `ACCEPT`, `DROP`, another chain. Empty for a rule that only
    /// counts.
    pub target: String,
}
