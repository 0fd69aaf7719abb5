//! A simple parser for SSH configurations: decides which hosts share their settings, and is the
//! fallback if OpenSSH is not installed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use globset::Glob;

use super::settings::Settings;
use crate::{core::diagnostic::plain, ssh::known_hosts::wildcard};

/// Errors for which a configuration file is skipped, as in OpenSSH.
const SKIPPED: [io::ErrorKind; 2] = [io::ErrorKind::NotFound, io::ErrorKind::IsADirectory];

/// The maximum depth of nested `Include`s, as in OpenSSH.
const MAX_DEPTH: usize = 16;

/// The blocks of a configuration and of its included files, in their order.
#[derive(Debug, Default)]
pub(super) struct Scan {
    blocks: Vec<Block>,
    /// An `Include` could not be resolved.
    has_unresolved_include: bool,
}

/// A `Host` or `Match` line, and the lines below it.
#[derive(Debug)]
struct Block {
    /// The file and line, for messages.
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
    /// Whether a `Host` line matches. `Match` lines are never evaluated.
    fn matches(&self, host: &str) -> bool {
        match self {
            Condition::Always => true,
            Condition::Match => false,
            Condition::Host(patterns) => {
                let host = host.to_lowercase();
                let matches = |pattern: &str| wildcard(&pattern.to_lowercase(), &host);
                let (negated, plain): (Vec<&str>, Vec<&str>) = patterns
                    .iter()
                    .map(String::as_str)
                    .partition(|pattern| pattern.starts_with('!'));
                plain.into_iter().any(matches) && !negated.into_iter().any(|p| matches(&p[1..]))
            }
        }
    }
}

impl Scan {
    /// Reads these files and their included files. Skips files that do not exist.
    pub fn read(files: &[PathBuf], home: &Path) -> Result<Self, String> {
        let mut scan = Scan::default();
        for file in files {
            scan.file(file, home, &Condition::Always, 0)?;
        }
        Ok(scan)
    }

    fn file(
        &mut self,
        path: &Path,
        home: &Path,
        within: &Condition,
        depth: usize,
    ) -> Result<(), String> {
        let fail = |text: &str| format!("{}: {text}", path.display());
        if depth > MAX_DEPTH {
            return Err(fail("too many nested `Include`s"));
        }
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            // As OpenSSH, which also skips folders that an `Include` matches.
            Err(error) if SKIPPED.contains(&error.kind()) => return Ok(()),
            Err(error) => return Err(fail(&plain(error))),
        };
        self.start_block(path, 0, within.clone());
        for (index, line) in text.lines().enumerate() {
            let Some((keyword, value)) = split(line) else {
                continue;
            };
            match keyword.as_str() {
                "host" => self.start_block(path, index + 1, Condition::Host(words(&value))),
                "match" if value.eq_ignore_ascii_case("all") => {
                    self.start_block(path, index + 1, Condition::Always);
                }
                "match" => self.start_block(path, index + 1, Condition::Match),
                "include" => {
                    let current = self.current_condition();
                    for pattern in words(&value) {
                        let Some(files) = expand(home, &pattern) else {
                            self.has_unresolved_include = true;
                            continue;
                        };
                        for included in files {
                            self.file(&included, home, &current, depth + 1)?;
                        }
                    }
                    self.start_block(path, index + 1, current);
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

    fn start_block(&mut self, path: &Path, line: usize, condition: Condition) {
        self.blocks.push(Block {
            place: format!("{}: line {line}", path.display()),
            condition,
            lines: Vec::new(),
        });
    }

    fn current_condition(&self) -> Condition {
        self.blocks
            .last()
            .map_or(Condition::Always, |block| block.condition.clone())
    }

    /// Returns which blocks match a host: hosts with the same matches have the same settings. None if
    /// the settings may depend on the host in another way, so that each host must be queried.
    pub fn matching_blocks(&self, host: &str) -> Option<Vec<bool>> {
        let depends_on_host = |(keyword, value): &(String, String)| match keyword.as_str() {
            // `ssh -G` prints them without expanding the tokens.
            "proxycommand" | "controlpath" => false,
            "canonicalizehostname" => !value.eq_ignore_ascii_case("no"),
            _ => value.contains('%'),
        };
        let is_plain = !self.has_unresolved_include
            && self.blocks.iter().all(|block| {
                !matches!(block.condition, Condition::Match)
                    && !block.lines.iter().any(depends_on_host)
            });
        is_plain.then(|| {
            let blocks = self.blocks.iter();
            blocks.map(|block| block.condition.matches(host)).collect()
        })
    }

    /// Whether the configuration sets the address of a host (`HostName`).
    pub fn has_hostname(&self, host: &str) -> bool {
        let blocks = self.blocks.iter();
        let mut lines = blocks
            .filter(|block| block.condition.matches(host))
            .flat_map(|block| &block.lines);
        lines.any(|(keyword, _)| keyword == "hostname")
    }

    /// Returns the settings of a host by `Host`, `Include` and plain values. A `Match` is an error:
    /// only OpenSSH can evaluate it.
    pub fn settings(&self, host: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        if self.has_unresolved_include {
            return Err("an `Include` requires OpenSSH".to_owned());
        }
        for block in &self.blocks {
            if matches!(block.condition, Condition::Match) {
                return Err(format!("{}: `Match` requires OpenSSH", block.place));
            }
            if block.condition.matches(host) {
                for (keyword, value) in &block.lines {
                    settings.add(keyword, value);
                }
            }
        }
        Ok(settings)
    }
}

/// Splits a line into its keyword, in lower case, and its value.
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

/// Splits a value into words, which may be quoted.
pub(super) fn words(text: &str) -> Vec<String> {
    shlex::split(text).unwrap_or_else(|| text.split_whitespace().map(str::to_owned).collect())
}

/// The files of an `Include`: relative to `~/.ssh`, with wildcards in the last part. None if it uses
/// any other feature.
fn expand(home: &Path, pattern: &str) -> Option<Vec<PathBuf>> {
    let path = match pattern.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None => home.join(".ssh").join(pattern),
    };
    let (parent, name) = (path.parent()?, path.file_name()?.to_str()?);
    let is_wild = |text: &str| text.contains(['*', '?', '[']);
    if pattern.starts_with('~') && !pattern.starts_with("~/")
        || pattern.contains(['%', '$'])
        || is_wild(&parent.to_string_lossy())
    {
        return None;
    }
    if !is_wild(name) {
        return Some(vec![path]);
    }
    let glob = Glob::new(name).ok()?.compile_matcher();
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| glob.is_match(entry.file_name()))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Scan {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".ssh");
        fs::create_dir_all(folder.join("conf.d/folder")).unwrap();
        fs::write(folder.join("conf.d/a"), "Host shop\n User ann\n").unwrap();
        fs::write(folder.join("config"), text).unwrap();
        Scan::read(&[folder.join("config")], home.path()).unwrap()
    }

    #[test]
    fn hosts_that_share_their_settings() {
        let config = scan("Include conf.d/*\nHost web-*\n HostName 10.0.0.1\nHost *\n Port 2222\n");
        let blocks = |host: &str| config.matching_blocks(host);
        assert_eq!(blocks("a"), blocks("b"));
        assert!(blocks("a") != blocks("shop") && blocks("a") != blocks("web-1"));
        assert!(config.has_hostname("web-1") && !config.has_hostname("a"));
        let settings = config.settings("shop").unwrap();
        assert_eq!(
            (settings.get("user"), settings.get("port")),
            (Some("ann"), Some("2222"))
        );
        for own in [
            "Match user x\n",
            "Include conf.d/*/x\n",
            "Host *\n UserKnownHostsFile ~/%k\n",
            "Host *\n HostName %h.example.com\n",
        ] {
            assert_eq!(scan(own).matching_blocks("a"), None, "{own}");
        }
        assert!(scan("Match user x\n").settings("a").is_err());
    }
}
