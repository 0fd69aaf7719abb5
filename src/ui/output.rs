//! Output of commands that is held back and shown per host, or once for equal output.

use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom, Write},
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
/// The most output that is held of one host, and of all, in bytes. What follows is not shown.
const MAX_OF_HOST: u64 = 256 * 1024 * 1024;
const MAX_OF_ALL: u64 = 4 * 1024 * 1024 * 1024;

/// Output of commands that is shown later, by host.
#[derive(Default)]
pub(super) struct HeldOutput(Mutex<Held>);

#[derive(Default)]
struct Held {
    hosts: BTreeMap<String, HostOutput>,
    size: u64,
}

/// The lines of one host in order, and their digest.
struct HostOutput {
    file: SpooledTempFile,
    digest: Sha256,
    size: u64,
    /// Lines were discarded.
    is_cut: bool,
}

/// Output that is shown under one heading.
pub(super) struct Block {
    /// The hosts that wrote it.
    pub hosts: Vec<String>,
    /// The lines.
    pub lines: HeldLines,
}

/// The lines of a block, without line ends, which are read from the file one by one.
pub(super) struct HeldLines(HostOutput);

impl HeldOutput {
    /// Appends a line of a host. Fails if the temporary file cannot be written.
    pub fn push(&self, host: &str, stream: Stream, line: &[u8]) -> io::Result<()> {
        let mut held = self.lock();
        let Held { hosts, size } = &mut *held;
        let output = hosts.entry(host.to_owned()).or_insert_with(|| HostOutput {
            file: SpooledTempFile::new(MAX_IN_MEMORY),
            digest: Sha256::new(),
            size: 0,
            is_cut: false,
        });
        let mut frame = vec![stream as u8];
        frame.extend((line.len() as u64).to_be_bytes());
        frame.extend(line);
        let length = frame.len() as u64;
        output.is_cut |= output.size + length > MAX_OF_HOST || *size + length > MAX_OF_ALL;
        if output.is_cut {
            return Ok(());
        }
        output.size += length;
        *size += length;
        output.digest.update(&frame);
        output.file.write_all(&frame)
    }

    /// Removes and returns the output of a host.
    pub fn take(&self, host: &str) -> io::Result<Option<Block>> {
        let mut held = self.lock();
        let Some(output) = held.hosts.remove(host) else {
            return Ok(None);
        };
        held.size -= output.size;
        let lines = output.lines()?;
        let hosts = vec![host.to_owned()];
        Ok(Some(Block { hosts, lines }))
    }

    /// Removes and returns all output: one block for hosts with the same output. The block with the
    /// most hosts comes first.
    pub fn fold(&self) -> io::Result<Vec<Block>> {
        let held = std::mem::take(&mut *self.lock());
        let mut groups: BTreeMap<Vec<u8>, (Vec<String>, HostOutput)> = BTreeMap::new();
        for (host, output) in held.hosts {
            let mut digest = output.digest.clone().finalize().to_vec();
            digest.push(u8::from(output.is_cut));
            let (hosts, _) = groups.entry(digest).or_insert_with(|| (Vec::new(), output));
            hosts.push(host);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let block = |(hosts, output): (Vec<String>, HostOutput)| {
            let lines = output.lines()?;
            Ok(Block { hosts, lines })
        };
        groups.into_iter().map(block).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // The map is consistent even if a thread panicked while holding the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostOutput {
    fn lines(mut self) -> io::Result<HeldLines> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(HeldLines(self))
    }
}

impl Iterator for HeldLines {
    type Item = (Stream, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut head = [0; 9];
        if self.0.file.read_exact(&mut head).is_err() {
            let is_cut = std::mem::take(&mut self.0.is_cut);
            let text = b"[more output was not kept; use `-o prefix`]";
            return is_cut.then(|| (Stream::Stderr, text.to_vec()));
        }
        let [stream, length @ ..] = head;
        let mut line = Vec::new();
        let mut rest = (&mut self.0.file).take(u64::from_be_bytes(length));
        rest.read_to_end(&mut line).ok()?;
        let stream = if stream == Stream::Stdout as u8 {
            Stream::Stdout
        } else {
            Stream::Stderr
        };
        Some((stream, line))
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
        let mut folded = held.fold().unwrap();
        let headings: Vec<String> = folded.iter().map(|block| heading(&block.hosts)).collect();
        assert_eq!(headings, ["2 hosts: a, b", "c:"]);
        let lines: Vec<_> = folded[1].lines.by_ref().collect();
        assert_eq!(
            lines,
            [
                (Stream::Stdout, b"same".to_vec()),
                (Stream::Stderr, b"more".to_vec())
            ]
        );
        assert!(held.fold().unwrap().is_empty());
    }

    #[test]
    fn endless_output_of_a_host_is_cut() {
        let held = HeldOutput::default();
        let line = vec![b'x'; 64 * 1024];
        let count = MAX_OF_HOST / line.len() as u64;
        for _ in 0..count + 100 {
            held.push("a", Stream::Stdout, &line).unwrap();
        }
        held.push("b", Stream::Stdout, b"short").unwrap();
        let block = held.take("a").unwrap().unwrap();
        let (mut kept, mut last) = (0, Vec::new());
        for (_, line) in block.lines {
            kept += 1;
            last = line;
        }
        assert!(kept <= count && kept + 10 > count, "{kept}");
        assert!(last.starts_with(b"[more output was not kept"));
        assert_eq!(held.fold().unwrap()[0].lines.by_ref().count(), 1);
    }
}
