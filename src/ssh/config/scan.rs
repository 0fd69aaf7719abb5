//! Which hosts a configuration tells apart, and what it says where there is no OpenSSH to ask.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use globset::Glob;

use super::answer::Answer;
use crate::{core::diagnostic::plain, ssh::known_hosts::wildcard};

/// Why a file says nothing.
const ABSENT: [io::ErrorKind; 2] = [io::ErrorKind::NotFound, io::ErrorKind::IsADirectory];

/// How deep files may include each other, as in OpenSSH.
const DEPTH: usize = 16;

/// The lines of a configuration and of what it includes, in their order.
#[derive(Debug, Default)]
pub(super) struct Scan {
    blocks: Vec<Block>,
    /// It includes files that are not looked for here.
    opaque: bool,
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
        if depth > DEPTH {
            return Err(fail("files include each other without end"));
        }
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            // As OpenSSH: what is not there, and folders among files, say nothing.
            Err(error) if ABSENT.contains(&error.kind()) => return Ok(()),
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
                        let Some(files) = expand(home, &pattern) else {
                            self.opaque = true;
                            continue;
                        };
                        for included in files {
                            self.file(&included, home, &current, depth + 1)?;
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
            // Printed as they are written.
            "proxycommand" | "controlpath" => false,
            "canonicalizehostname" => !value.eq_ignore_ascii_case("no"),
            _ => value.contains('%'),
        };
        let is_plain = !self.opaque
            && self.blocks.iter().all(|block| {
                !matches!(block.condition, Condition::Match) && !block.lines.iter().any(tells)
            });
        is_plain.then(|| {
            let blocks = self.blocks.iter();
            blocks.map(|block| block.condition.holds(host)).collect()
        })
    }

    /// Whether the configuration gives a host another address than its name.
    pub fn renames(&self, host: &str) -> bool {
        let blocks = self.blocks.iter();
        let mut lines = blocks
            .filter(|block| block.condition.holds(host))
            .flat_map(|block| &block.lines);
        lines.any(|(keyword, _)| keyword == "hostname")
    }

    /// What the configuration says of a host, in our own reading of it: `Host`, `Include` and
    /// plain values. What depends on `Match` is not guessed.
    pub fn answer(&self, host: &str) -> Result<Answer, String> {
        let mut answer = Answer::default();
        if self.opaque {
            return Err("an `Include` of it is understood by OpenSSH only".to_owned());
        }
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

/// The files that an `Include` means: relative to `~/.ssh`, with wildcards in the last part. None
/// if it says more than that.
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
    fn hosts_that_are_alike() {
        let it = scan("Include conf.d/*\nHost web-*\n HostName 10.0.0.1\nHost *\n Port 2222\n");
        assert_eq!(it.alike("a"), it.alike("b"));
        assert!(it.alike("a") != it.alike("shop") && it.alike("a") != it.alike("web-1"));
        assert!(it.renames("web-1") && !it.renames("a"));
        let answer = it.answer("shop").unwrap();
        assert_eq!(
            (answer.get("user"), answer.get("port")),
            (Some("ann"), Some("2222"))
        );
        for own in [
            "Match user x\n",
            "Include conf.d/*/x\n",
            "Host *\n UserKnownHostsFile ~/%k\n",
            "Host *\n HostName %h.example.com\n",
        ] {
            assert_eq!(scan(own).alike("a"), None, "{own}");
        }
        assert!(scan("Match user x\n").answer("a").is_err());
    }
}
