//! Errors as the user sees them: what is wrong, where, and what to do.
//!
//! Every layer has its own error type; each becomes a [`Diagnostic`] when it leaves the layer.
//! Nothing here prints: `ui/report.rs` renders it.

use std::{fmt, ops::Range, sync::Arc};

use crate::core::secrets::Secrets;

/// The kind of an error. It decides the exit status (design §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A task or a command failed.
    Failed,
    /// The command line, a script or a manifest is wrong. Nothing was contacted.
    Usage,
    /// A task, host or manifest was not found.
    NotFound,
    /// A host could not be reached.
    Unreachable,
    /// `--dry-run --exit-code` found changes.
    Pending,
    /// A timeout expired.
    Timeout,
    /// The user pressed Ctrl-C.
    Interrupted,
}

impl Kind {
    /// The process's exit status for this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::NotFound => 3,
            Kind::Unreachable => 4,
            Kind::Pending => 5,
            Kind::Timeout => 124,
            Kind::Interrupted => 130,
        }
    }

    /// The word that scripts see as `e.kind`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Failed => "failed",
            Kind::Usage => "usage",
            Kind::NotFound => "not_found",
            Kind::Unreachable => "unreachable",
            Kind::Pending => "pending",
            Kind::Timeout => "timeout",
            Kind::Interrupted => "interrupted",
        }
    }
}

/// A text that errors point into: a script or a manifest.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The path, as the user would write it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A source that errors can share.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Source {
            name: name.into(),
            text: text.into(),
        })
    }

    /// The byte offset of a line and column. Both are counted from 1, the column in characters.
    /// Beyond the end of the line or of the text, the offset of that end.
    pub fn offset(&self, line: usize, column: usize) -> usize {
        let start = match line {
            0 | 1 => 0,
            _ => self
                .text
                .match_indices('\n')
                .nth(line - 2)
                .map_or(self.text.len(), |(at, _)| at + 1),
        };
        let rest = &self.text[start..];
        let rest = &rest[..rest.find('\n').unwrap_or(rest.len())];
        start
            + rest
                .char_indices()
                .nth(column.saturating_sub(1))
                .map_or(rest.len(), |(at, _)| at)
    }

    /// The span of the word that starts at a byte offset, for carets when only the start is known.
    /// At least one character, unless the text ends there.
    pub fn word_at(&self, offset: usize) -> Range<usize> {
        let rest = &self.text[offset..];
        let word = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        let one = rest.chars().next().map_or(0, char::len_utf8);
        offset..offset + word.max(one)
    }
}

/// A span in a source, with a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The text.
    pub source: Arc<Source>,
    /// The byte range in the text.
    pub span: Range<usize>,
    /// The text beside the caret. May be empty.
    pub label: String,
}

impl Excerpt {
    /// The number of the line in which the span begins, counted from 1.
    pub fn line(&self) -> usize {
        let text = &self.source.text;
        let before = &text[..self.span.start.min(text.len())];
        before.matches('\n').count() + 1
    }
}

/// An error, ready to be rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The kind, which decides the exit status.
    pub kind: Kind,
    /// What is wrong, the subject first, lower case: ``host `web-1`: connection refused``.
    pub message: String,
    /// The host where the error occurred.
    pub host: Option<String>,
    /// The exit status of the command that failed.
    pub code: Option<u32>,
    /// The places in scripts and manifests that led to the error, the innermost first.
    pub excerpts: Vec<Excerpt>,
    /// Further facts, such as the last lines of a command's output.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error with only a message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Diagnostic {
            kind,
            message: message.into(),
            host: None,
            code: None,
            excerpts: Vec::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// Adds the place in a script or manifest.
    #[must_use]
    pub fn at(mut self, source: &Arc<Source>, span: Range<usize>) -> Self {
        self.excerpts.push(Excerpt {
            source: source.clone(),
            span,
            label: String::new(),
        });
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Sets what to do. `None` changes nothing.
    #[must_use]
    pub fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into().or(self.help);
        self
    }

    /// Sets the host.
    #[must_use]
    pub fn on(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }
}

impl Diagnostic {
    /// The error with its secrets masked, also in excerpts of files.
    #[must_use]
    pub fn masked(self, secrets: &Secrets) -> Self {
        let excerpt = |excerpt: Excerpt| {
            let (text, span) = secrets.masked_with_span(&excerpt.source.text, &excerpt.span);
            Excerpt {
                source: Source::new(secrets.masked(excerpt.source.name.clone()), text),
                span,
                label: secrets.masked(excerpt.label),
            }
        };
        Diagnostic {
            kind: self.kind,
            code: self.code,
            message: secrets.masked(self.message),
            host: self.host.map(|host| secrets.masked(host)),
            excerpts: self.excerpts.into_iter().map(excerpt).collect(),
            notes: self
                .notes
                .into_iter()
                .map(|note| secrets.masked(note))
                .collect(),
            help: self.help.map(|help| secrets.masked(help)),
        }
    }

    /// Names the host in the message, for runs on several hosts, unless the error has a host.
    #[must_use]
    pub fn of_host(mut self, host: &str) -> Self {
        if self.host.is_none() {
            self.message = format!("host `{host}`: {}", self.message);
            self.host = Some(host.to_owned());
        }
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

/// The errors of one run, such as all errors of a manifest. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub Vec<Diagnostic>);

impl Failure {
    /// The kind that decides the exit status: that of the first error. `Unreachable` only if all
    /// errors are.
    pub fn kind(&self) -> Kind {
        self.0
            .iter()
            .map(|d| d.kind)
            .find(|kind| *kind != Kind::Unreachable)
            .or(self.0.first().map(|d| d.kind))
            .unwrap_or(Kind::Failed)
    }
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Failure(vec![diagnostic])
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// The candidate that `name` is probably a misspelling of.
///
/// The Damerau-Levenshtein distance may be up to a third of the longer name, and at least 1.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lowered = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&lowered, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| {
            *distance <= (candidate.chars().count().max(name.chars().count()) / 3).max(1)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Help for a misspelt name: ``did you mean `x`?``. `None` if no candidate is near enough.
pub fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(name, candidates).map(|near| format!("did you mean `{near}`?"))
}

/// The text of a system error as part of a message: `connection refused` instead of
/// `Connection refused (os error 111)`.
pub fn plain(error: impl fmt::Display) -> String {
    let text = error.to_string();
    let text = match text.find(" (os error ") {
        Some(end) => &text[..end],
        None => &text,
    };
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        // A word in capitals, such as an acronym, stays as it is.
        (Some(first), Some(second)) if second.is_lowercase() => {
            let rest = &text[first.len_utf8()..];
            first.to_lowercase().chain(rest.chars()).collect()
        }
        _ => text.to_owned(),
    }
}

/// `1 server`, `2 servers`.
pub fn plural(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_characters() {
        let source = Source::new("x", "é = 1\nfoo bar\n");
        assert_eq!(source.offset(1, 3), 3);
        assert_eq!(source.offset(2, 5), 11);
        assert_eq!(source.offset(2, 99), 14);
        assert_eq!(source.offset(9, 1), source.text.len());
        assert_eq!(source.word_at(11), 11..14);
    }

    #[test]
    fn nearest_is_near() {
        assert_eq!(nearest("imgae", ["image", "name"]), Some("image"));
        assert_eq!(nearest("port", ["ports", "environment"]), Some("ports"));
        assert_eq!(nearest("xyz", ["image", "name"]), None);
    }

    #[test]
    fn unreachable_only_if_nothing_else() {
        let lost = Diagnostic::new(Kind::Unreachable, "a");
        let failed = Diagnostic::new(Kind::Failed, "b");
        assert_eq!(Failure(vec![lost.clone()]).kind(), Kind::Unreachable);
        assert_eq!(Failure(vec![lost, failed]).kind(), Kind::Failed);
    }
}
