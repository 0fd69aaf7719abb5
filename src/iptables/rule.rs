//! One rule of a packet filter.

use std::fmt;

/// Which of the two packet filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// iptables.
    V4,
    /// ip6tables.
    V6,
}

impl Family {
    /// The command that prints all rules in the form that [`super::parse`] reads.
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
    /// The packet filter it belongs to.
    pub family: Family,
    /// Its table: `filter`, `nat`, …
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// What it matches, in the words of iptables; empty for a policy.
    pub matches: String,
    /// What happens then: `ACCEPT`, `DROP`, another chain; with the target's options. Empty for a
    /// rule that only counts.
    pub target: String,
}
