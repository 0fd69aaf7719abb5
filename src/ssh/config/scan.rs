//! Which hosts a configuration tells apart, and what it says where there is no OpenSSH to ask.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use globset::Glob;

use super::answer::Answer;
use crate::{diagnostic::plain, ssh::known_hosts::wildcard};

/// How deep files may include each other, as in OpenSSH.
const DEPTH: usize = 16;

/// The lines of a configuration and of what it includes, in their order.
#[derive(Debug, Default)]
pub(super) struct Scan {
    blocks: Vec<Block>,
}

/// A `Host` or `Match` line, and the lines below it.
#[derive(Debug)]
struct Block {
    place: String,
    condition: Condition,
    lines: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
enum Condition {
    Always,
    Host(Vec<String>),
    Match,
}

impl Condition {
    fn holds(&self, host: &str) -> bool {
        match self {
            Condition::Always => true,
            Condition::Match => false,
            Condition::Host(patterns) => {
                let host = host.to_lowercase();
                let is = |pattern: &str| wildcard(&pattern.to_lowercase(), &host);
                let (negated, plain): (Vec<&str>, Vec<&str>) = patterns
                    .iter()
                    .map(String::as_str)
                    .partition(|pattern| pattern.starts_with('!'));
                plain.into_iter().any(is) && !negated.into_iter().any(|p| is(&p[1..]))
            }
        }
    }
}

impl Scan {
    /// Reads these files and what they include. One that is not there says nothing.
    pub fn read(files: &[PathBuf]) -> Result<Self, String> {
        let mut scan = Scan::default();
        for file in files {
            scan.file(file, &Condition::Always, 0)?;
        }
        Ok(scan)
    }

    fn file(&mut self, path: &Path, within: &Condition, depth: usize) -> Result<(), String> {
        let fail = |text: &str| format!("{}: {text}", path.display());
        if depth > DEPTH {
            return Err(fail("files include each other without end"));
        }
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fail(&plain(error))),
        };
        self.begin(path, 0, within.clone());
        for (index, line) in text.lines().enumerate() {
            let Some((keyword, value)) = split(line) else {
                continue;
            };
            match keyword.as_str() {
                "host" => self.begin(path, index + 1, Condition::Host(words(&value))),
                "match" if value.eq_ignore_ascii_case("all") => {
                    self.begin(path, index + 1, Condition::Always);
                }
                "match" => self.begin(path, index + 1, Condition::Match),
                "include" => {
                    let current = self.current();
                    for pattern in words(&value) {
                        for included in expand(path, &pattern) {
                            self.file(&included, &current, depth + 1)?;
                        }
                    }
                    self.begin(path, index + 1, current);
                }
                _ => {
                    if let Some(block) = self.blocks.last_mut() {
                        block.lines.push((keyword, value));
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, path: &Path, line: usize, condition: Condition) {
        self.blocks.push(Block {
            place: format!("{}: line {line}", path.display()),
            condition,
            lines: Vec::new(),
        });
    }

    fn current(&self) -> Condition {
        self.blocks
            .last()
            .map_or(Condition::Always, |block| block.condition.clone())
    }

    /// What two hosts have in common if the configuration says the same of both; nothing if it
    /// cannot be known without asking about each.
    pub fn alike(&self, host: &str) -> Option<Vec<bool>> {
        let tells = |(keyword, value): &(String, String)| match keyword.as_str() {
            "hostname" => value.contains('%'),
            "canonicalizehostname" => !value.eq_ignore_ascii_case("no"),
            _ => false,
        };
        let is_plain = self.blocks.iter().all(|block| {
            !matches!(block.condition, Condition::Match) && !block.lines.iter().any(tells)
        });
        is_plain.then(|| {
            let blocks = self.blocks.iter();
            blocks.map(|block| block.condition.holds(host)).collect()
        })
    }

    /// What the configuration says of a host, in our own reading of it: `Host`, `Include` and
    /// plain values. What depends on `Match` is not guessed.
    pub fn answer(&self, host: &str) -> Result<Answer, String> {
        let mut answer = Answer::default();
        for block in &self.blocks {
            if matches!(block.condition, Condition::Match) {
                return Err(format!(
                    "{}: `Match` is understood by OpenSSH only",
                    block.place
                ));
            }
            if block.condition.holds(host) {
                for (keyword, value) in &block.lines {
                    answer.add(keyword, value);
                }
            }
        }
        Ok(answer)
    }
}

/// The keyword of a line, in lower case, and the rest of it.
fn split(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=')?;
    let (keyword, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim();
    Some((keyword.to_lowercase(), rest.to_owned()))
}

/// Words, which may be quoted.
pub(super) fn words(text: &str) -> Vec<String> {
    shlex::split(text).unwrap_or_else(|| text.split_whitespace().map(str::to_owned).collect())
}

/// The files that an `Include` means: relative to the file it stands in, with wildcards in the
/// last part.
fn expand(from: &Path, pattern: &str) -> Vec<PathBuf> {
    let folder = from.parent().unwrap_or(Path::new("/"));
    let path = match pattern.strip_prefix("~/") {
        // `~/.ssh/config` is what includes it.
        Some(rest) => folder.parent().unwrap_or(folder).join(rest),
        None => folder.join(pattern),
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return vec![path];
    };
    if !name.contains(['*', '?', '[']) {
        return vec![path];
    }
    let Ok(glob) = Glob::new(name) else {
        return Vec::new();
    };
    let glob = glob.compile_matcher();
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| glob.is_match(entry.file_name()))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}
