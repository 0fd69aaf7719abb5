//! What an account may do, as far as it can be tried without changing anything.

/// A permission, a limit or a state of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about, such as `create servers`.
    pub what: String,
    /// What was found.
    pub verdict: Verdict,
    /// A number, a cause, or what to do. May be empty.
    pub detail: String,
}

/// What is known of a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The account has it.
    Ok,
    /// The account does not have it.
    Missing,
    /// The provider did not say.
    Unknown,
}

impl Finding {
    /// A finding.
    pub fn new(what: &str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Finding {
            what: what.to_owned(),
            verdict,
            detail: detail.into(),
        }
    }
}

impl Verdict {
    /// The word for it: `ok`, `missing` or `unknown`.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Missing => "missing",
            Verdict::Unknown => "unknown",
        }
    }
}
