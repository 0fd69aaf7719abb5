//! Output of commands that is held back and shown per host, or once for equal output.

use std::{
    collections::BTreeMap,
    io::{Read, Seek, SeekFrom, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};
use tempfile::SpooledTempFile;

use crate::core::event::Stream;

/// How the output of several hosts is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputStyle {
    /// Immediately, each line prefixed with its host.
    #[default]
    Prefix,
    /// One block per host, when the host ended.
    Group,
    /// One block for all hosts with the same output, at the end.
    Fold,
    /// Immediately and unchanged.
    Raw,
    /// All events, one JSON object a line.
    Json,
}

/// The part of a host's output that is held in memory, in bytes. A larger output goes to a file.
const MAX_IN_MEMORY: usize = 256 * 1024;

/// Output of commands that is shown later, by host.
#[derive(Default)]
pub(super) struct HeldOutput(Mutex<BTreeMap<String, HostOutput>>);

/// The lines of one host in order, and their digest.
struct HostOutput {
    file: SpooledTempFile,
    digest: Sha256,
}

/// Output that is shown under one heading.
pub(super) struct Block {
    /// The hosts that wrote it.
    pub hosts: Vec<String>,
    /// The lines, without line ends.
    pub lines: Vec<(Stream, Vec<u8>)>,
}

impl HeldOutput {
    /// Appends a line of a host. Fails if the temporary file cannot be written.
    pub fn push(&self, host: &str, stream: Stream, line: &[u8]) -> std::io::Result<()> {
        let mut held = self.lock();
        let output = held.entry(host.to_owned()).or_insert_with(|| HostOutput {
            file: SpooledTempFile::new(MAX_IN_MEMORY),
            digest: Sha256::new(),
        });
        let mut frame = vec![stream as u8];
        frame.extend((line.len() as u64).to_be_bytes());
        frame.extend(line);
        output.digest.update(&frame);
        output.file.write_all(&frame)
    }

    /// Removes and returns the output of a host.
    pub fn take(&self, host: &str) -> std::io::Result<Option<Block>> {
        let output = self.lock().remove(host);
        output
            .map(|output| {
                Ok(Block {
                    hosts: vec![host.to_owned()],
                    lines: output.lines()?,
                })
            })
            .transpose()
    }

    /// Removes and returns all output: one block for hosts with the same output. The block with the
    /// most hosts comes first.
    pub fn fold(&self) -> std::io::Result<Vec<Block>> {
        let held = std::mem::take(&mut *self.lock());
        let mut groups: BTreeMap<Vec<u8>, (Vec<String>, HostOutput)> = BTreeMap::new();
        for (host, output) in held {
            let digest = output.digest.clone().finalize().to_vec();
            let (hosts, _) = groups.entry(digest).or_insert_with(|| (Vec::new(), output));
            hosts.push(host);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        groups
            .into_iter()
            .map(|(hosts, output)| {
                Ok(Block {
                    hosts,
                    lines: output.lines()?,
                })
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, HostOutput>> {
        // The map is consistent even if a thread panicked while holding the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostOutput {
    fn lines(mut self) -> std::io::Result<Vec<(Stream, Vec<u8>)>> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut lines = Vec::new();
        let mut head = [0; 9];
        while self.file.read_exact(&mut head).is_ok() {
            let [stream, length @ ..] = head;
            let length = u64::from_be_bytes(length);
            let mut line = Vec::new();
            (&mut self.file).take(length).read_to_end(&mut line)?;
            let stream = if stream == Stream::Stdout as u8 {
                Stream::Stdout
            } else {
                Stream::Stderr
            };
            lines.push((stream, line));
        }
        Ok(lines)
    }
}

/// Returns the heading of a block.
pub(super) fn heading(hosts: &[String]) -> String {
    match hosts {
        [host] => format!("{host}:"),
        hosts => format!("{} hosts: {}", hosts.len(), hosts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_the_same_output_share_a_block() {
        let held = HeldOutput::default();
        for host in ["b", "a", "c"] {
            held.push(host, Stream::Stdout, b"same").unwrap();
        }
        held.push("c", Stream::Stderr, b"more").unwrap();
        let folded = held.fold().unwrap();
        let headings: Vec<String> = folded.iter().map(|block| heading(&block.hosts)).collect();
        assert_eq!(headings, ["2 hosts: a, b", "c:"]);
        assert_eq!(
            folded[1].lines,
            [
                (Stream::Stdout, b"same".to_vec()),
                (Stream::Stderr, b"more".to_vec())
            ]
        );
        assert!(held.fold().unwrap().is_empty());
    }
}
